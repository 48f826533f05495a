"""People who buy at random, each with one request at a time, and keep what they were told."""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from server.bookings import booking_id_for
from server.models import new_id
from tests.keepalive import Answer, Connection
from tests.processes import token_for
from tests.watcher import Sight

MAX_NAMED = 8
"""Nobody asks for more seats than this at a time."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request and its answer. `seats` are those it named, `booking` what it was about."""

    kind: str
    user: str
    request_id: str
    seats: tuple[str, ...]
    booking: str
    answer: Answer

    @property
    def status(self) -> int:
        return self.answer.status


@dataclass(slots=True)
class Diary:
    """What all buyers of a sale have done and seen."""

    attempts: list[Attempt] = field(default_factory=list)
    sights: list[Sight] = field(default_factory=list)
    """Seat maps that were fetched meanwhile."""
    owners: dict[str, str] = field(default_factory=dict)
    """Booking id -> user, also of bookings that were refused."""


class Person:
    """Somebody signed in to a showtime; each request goes to one of the servers."""

    def __init__(self, user: str, ports: Sequence[int], showtime: str, diary: Diary) -> None:
        self.user = user
        self._connections = [Connection(port) for port in ports]
        self._showtime = showtime
        self._path = f"/api/showtimes/{showtime}"
        self._headers = {"Authorization": f"Bearer {token_for(user)}"}
        self._diary = diary

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    async def lock(self, seats: Sequence[str]) -> Attempt:
        path = f"{self._path}/seats/lock"
        return await self._ask("lock", "POST", path, {"seats": [*seats]}, seats)

    async def my_lock(self) -> Attempt:
        return await self._ask("my lock", "GET", f"{self._path}/seats/lock")

    async def extend(self) -> Attempt:
        return await self._ask("extend", "POST", f"{self._path}/seats/lock/extend")

    async def release(self, seats: Sequence[str] = ()) -> Attempt:
        query = f"?seats={','.join(seats)}" if seats else ""
        return await self._ask("release", "DELETE", f"{self._path}/seats/lock{query}", None, seats)

    async def create(self, seats: Sequence[str]) -> Attempt:
        """Make a booking of seats, locked before or not."""
        key = new_id("key")
        booking = booking_id_for(self.user, key)
        self._diary.owners[booking] = self.user
        body = {"showtime_id": self._showtime, "seats": [*seats]}
        return await self._ask("create", "POST", "/api/bookings", body, seats, booking, key)

    async def pay(self, booking: str, method: str = "demo:approve") -> Attempt:
        path, body = f"/api/bookings/{booking}/pay", {"payment_method": method}
        return await self._ask("pay", "POST", path, body, (), booking, new_id("key"))

    async def cancel(self, booking: str) -> Attempt:
        return await self._ask("cancel", "DELETE", f"/api/bookings/{booking}", booking=booking)

    async def look(self) -> Sight | None:
        """Fetch the seat map; None when the server had none to give."""
        connection = random.choice(self._connections)
        answer = await connection.request("GET", f"{self._path}/seat-map")
        if answer.status != 200:
            self._diary.attempts.append(Attempt("look", self.user, "", (), "", answer))
            return None
        body = answer.body
        sight = Sight(body["epoch"], body["seq"], body["states"])
        self._diary.sights.append(sight)
        return sight

    async def _ask(
        self,
        kind: str,
        method: str,
        path: str,
        body: object = None,
        seats: Sequence[str] = (),
        booking: str = "",
        key: str = "",
    ) -> Attempt:
        request_id = new_id("req")
        headers = {**self._headers, "X-Request-ID": request_id}
        if key:
            headers["Idempotency-Key"] = key
        connection = random.choice(self._connections)
        answer = await connection.request(method, path, body, headers)
        attempt = Attempt(kind, self.user, request_id, tuple(seats), booking, answer)
        self._diary.attempts.append(attempt)
        return attempt


@dataclass(frozen=True, slots=True)
class Habits:
    """How likely a buyer does what, once seats were locked; the rest lets the lock expire."""

    release: float = 0.70
    extend: float = 0.05
    book: float = 0.17
    cancel_sale: float = 0.8
    """How likely a sale is taken back later, so that the hall does not fill up."""


class Buyer(Person):
    """Locks at random until its turns are over."""

    def __init__(
        self,
        user: str,
        ports: Sequence[int],
        showtime: str,
        diary: Diary,
        seats: Sequence[str],
        habits: Habits,
    ) -> None:
        super().__init__(user, ports, showtime, diary)
        self._seats = seats
        self._habits = habits
        self._sold: list[str] = []

    async def shop(self, turn: Callable[[], Awaitable[bool]]) -> None:
        """Take one turn after the other, as long as `turn()` says that there is one."""
        while await turn():
            wanted = random.sample(self._seats, random.randint(1, MAX_NAMED))
            locked = await self.lock(wanted)
            if locked.status == 200:
                await self._go_on(locked.answer.body["lock"]["seats"])
            elif random.random() < 0.02:
                await self._meddle()
            if self._sold and random.random() < 0.3:
                await self.cancel(self._sold.pop())

    async def _go_on(self, mine: list[str]) -> None:
        habits, chance = self._habits, random.random()
        if chance < habits.release:
            await self._release(mine)
        elif chance < habits.release + habits.extend:
            await self.extend()
        elif chance < habits.release + habits.extend + habits.book:
            await self._book(mine)

    async def _release(self, mine: list[str]) -> None:
        """All, or some and seats of others with them, which must stay as they are."""
        if random.random() < 0.6:
            await self.release()
            return
        some = random.sample(mine, random.randint(1, len(mine)))
        others = random.sample(self._seats, 3)
        await self.release(sorted({*some, *others}))

    async def _book(self, mine: list[str]) -> None:
        seats = mine if random.random() < 0.8 else random.sample(self._seats, 2)
        created = await self.create(seats)
        if created.status != 201:
            return
        chance = random.random()
        if chance < 0.15:
            await self.cancel(created.booking)
        elif chance < 0.85:
            await self._pay(created.booking)

    async def _pay(self, booking: str) -> None:
        if random.random() < 0.25:
            await self.pay(booking, "demo:decline")
        method = "demo:timeout" if random.random() < 0.01 else "demo:approve"
        paid = await self.pay(booking, method)
        if paid.status == 200 and random.random() < self._habits.cancel_sale:
            self._sold.append(booking)

    async def _meddle(self) -> None:
        """Do what makes no sense, or only look."""
        match random.randrange(4):
            case 0:
                await self.release(random.sample(self._seats, 5))
            case 1:
                await self.extend()
            case 2:
                await self.create(random.sample(self._seats, 2))
            case _:
                await self.look()
