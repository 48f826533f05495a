"""Seats that are locked and released all the time, over HTTP, at a steady rate."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

from tests.keepalive import Connection
from tests.processes import token_for

SEATS_EACH = 50
"""Many, so that few changes are much to tell; the servers have to allow as many to a person."""


class SeatTraffic:
    """`rate` changes a second while it runs. Each of `people` has some of `seats` to itself, and
    locks and releases them in turns at whichever of `ports` answers."""

    def __init__(
        self, showtime: str, seats: Sequence[str], ports: Sequence[int], *, rate: float, people: int
    ) -> None:
        self.ports = list(ports)
        self.rate = rate
        self.answers: Counter[int] = Counter()
        """By status; 0: the connection broke."""
        self._path = f"/api/showtimes/{showtime}/seats/lock"
        self._shares = [seats[n * SEATS_EACH :][:SEATS_EACH] for n in range(people)]
        assert all(len(share) == SEATS_EACH for share in self._shares), "too few seats"
        self._flowing = asyncio.Event()
        self._busy = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "SeatTraffic":
        self._tasks = [
            asyncio.create_task(self._person(f"usr_{number}", share))
            for number, share in enumerate(self._shares)
        ]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def flow(self) -> None:
        self._flowing.set()

    async def rest(self) -> None:
        """Ask for nothing more, and wait until all that was asked for is answered."""
        self._flowing.clear()
        async with asyncio.timeout(20):
            while self._busy:
                await asyncio.sleep(0.005)

    async def _person(self, user: str, seats: Sequence[str]) -> None:
        headers = {"Authorization": f"Bearer {token_for(user)}"}
        connection, body, locked = None, {"seats": [*seats]}, False
        try:
            while True:
                await asyncio.sleep(random.uniform(0, 2) * len(self._shares) / self.rate)
                await self._flowing.wait()
                connection = connection or Connection(random.choice(self.ports))
                self._busy += 1
                try:
                    verb = "DELETE" if locked else "POST"
                    told = None if locked else body
                    answer = await connection.request(verb, self._path, told, headers)
                    self.answers[answer.status] += 1
                    locked = locked != (answer.status == 200)
                except (OSError, EOFError):
                    self.answers[0] += 1
                    connection.close()
                    connection = None
                finally:
                    self._busy -= 1
        finally:
            if connection:
                connection.close()
