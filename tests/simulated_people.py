"""Who uses the server in a simulation: buyers, an administrator, the house.

They ask any process, give up on an answer that does not come, and try again under the same key, as
good clients do. What they are told goes to the oracle.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from server.booking import Booking
from server.errors import IdempotencyInProgress, RowlockError, StoreUnavailable
from server.idempotency import Answer, fingerprint
from server.models import Caller
from tests.simulated_oracle import Oracle
from tests.simulated_process import HungUp, Process
from tests.simulated_world import ADMIN, HALL, SHOWTIME, World

T = TypeVar("T")

PATIENCE = (1.0, 12.0, 40.0)
"""How many seconds somebody waits for an answer: one of these."""


@dataclass(frozen=True, slots=True)
class Told:
    """An answer: HTTP status and body, as far as anybody here looks into it."""

    status: int
    body: dict[str, Any]


ACTS = ("lock", "extend", "release", "buy", "buy", "cancel", "cancel", "pay_again")
"""What a buyer may do next."""


class Person:
    def __init__(self, world: World, oracle: Oracle, name: str) -> None:
        self.world = world
        self.oracle = oracle
        self.name = name
        self._random = world.random
        self._requests = 0

    # -- asking -----------------------------------------------------------------------------------

    def caller(self) -> Caller:
        self._requests += 1
        return Caller(self.name, f"req_{self.name}_{self._requests}")

    async def think(self, seconds: float) -> None:
        await asyncio.sleep(self._random.random() * seconds)

    async def tell(
        self, what: str, ask: Callable[[Process], Awaitable[T]], tries: int = 4
    ) -> T | RowlockError | None:
        """Ask until there is an answer or a refusal; None after so many tries in vain."""
        world = self.world
        for _ in range(tries):
            living = world.living
            if living:
                process = self._random.choice(living)
                world.note(self.name, what, "asks", process.name)
                try:
                    told = await process.ask(ask, self._random.choice(PATIENCE))
                except (HungUp, StoreUnavailable, IdempotencyInProgress) as error:
                    world.note(self.name, what, "heard", type(error).__name__)
                except RowlockError as refusal:
                    world.note(self.name, what, "is refused:", refusal)
                    return refusal
                except Exception as error:
                    world.note(self.name, what, "heard", type(error).__name__)
                    world.judge(f"{what} of {self.name}", error)
                else:
                    world.note(self.name, what, "is told", told)
                    return told
            await self.think(self._random.choice((1.0, 12.0)))
        return None

    async def once(
        self, kind: str, key: str, body: dict[str, Any], work: Callable[[Process], Awaitable[Any]]
    ) -> Told | None:
        """Ask under an Idempotency-Key, as `server.api.bookings` answers it."""

        async def ask(process: Process) -> Told:
            async def answer() -> Answer:
                return await work(process)

            def refusal(error: RowlockError) -> Answer:
                return Answer(error.status, {"code": error.code})

            found, _ = await process.detached.run(
                process.idempotent.run(
                    f"{self.name}:{kind}", key, fingerprint(kind, body), answer, refusal
                )
            )
            return Told(found.status, found.body)

        twice = self._random.random() < 0.15
        if twice:  # an impatient one, on two lines at once
            async with asyncio.TaskGroup() as both:
                first = both.create_task(self.tell(f"{kind} {key}", ask))
                second = both.create_task(self.tell(f"{kind} {key}", ask))
            answers = [first.result(), second.result()]
        else:
            answers = [await self.tell(f"{kind} {key}", ask)]
        told = [each for each in answers if isinstance(each, Told)]
        for each in told:
            self.oracle.told_once(self.name, kind, key, each.status, each.body)
        return told[0] if told else None


class Buyer(Person):
    """Locks, books, pays, gives back; in no sensible order."""

    def __init__(self, world: World, oracle: Oracle, name: str, habits: list[int]) -> None:
        """`habits`: how often each of ACTS is done, in proportion."""
        super().__init__(world, oracle, name)
        self._keys = 0
        self._habits = habits
        self._mine: list[tuple[str, list[str]]] = []

    async def live(self, acts: int) -> None:
        await self.think(6)
        await self._buy()
        for _ in range(acts - 1):
            await self.think(10)
            if not self.world.faults_on:
                return
            act = self._random.choices(ACTS, [each or 0.1 for each in self._habits])[0]
            await getattr(self, f"_{act}")()

    def _seats(self) -> list[str]:
        """Everybody likes the first rows."""
        seats = HALL.seat_ids if self._random.random() < 0.5 else HALL.seat_ids[:2]
        return self._random.sample(seats, min(len(seats), self._random.choice((1, 2, 2, 3))))

    def _key(self) -> str:
        self._keys += 1
        return f"{self.name}_{self._keys}"

    async def _lock(self, seats: list[str] | None = None) -> None:
        seats, caller = seats or self._seats(), self.caller()
        lock = await self.tell("lock", lambda p: p.locks.lock(caller, SHOWTIME, seats))
        self.oracle.told_lock(caller, seats, lock)

    async def _extend(self) -> None:
        await self._lock()
        await self.think(6)
        caller = self.caller()
        lock = await self.tell("extend", lambda p: p.locks.extend(caller, SHOWTIME), tries=1)
        self.oracle.told_extended(caller, lock)

    async def _release(self) -> None:
        await self._lock()
        caller, seats = self.caller(), self._seats()[: self._random.randint(0, 2)]
        told = await self.tell(
            "release", lambda p: p.locks.release(caller, SHOWTIME, seats), tries=1
        )
        self.oracle.told_released(caller, told)

    async def _buy(self) -> None:
        seats, key = self._seats(), self._key()
        if self._random.random() < 0.3:
            await self._lock(seats)
            await self.think(3)
        told = await self._book(seats, key)
        if self._random.random() < 0.03:  # a careless client
            await self._book(self._seats(), key)
        if told and told.status == 201:
            booking_id = told.body["id"]
            self._mine.append((booking_id, seats))
            await self.think(3)
            if self._random.random() < 0.85:
                await self._pay(booking_id)

    async def _book(self, seats: list[str], key: str) -> Told | None:
        caller = self.caller()

        async def book(process: Process) -> Answer:
            booking = await process.saga.create(caller, SHOWTIME, seats, key)
            return Answer(201, _shown(booking))

        return await self.once("book", key, {"seats": seats}, book)

    async def _pay(self, booking_id: str) -> None:
        for _ in range(3):
            key, method = self._key(), "approve" if self._random.random() < 0.8 else "decline"
            self.oracle.pays(booking_id, key, method)
            told = await self._pay_once(booking_id, key, method)
            if told is None or told.status in (200, 409):
                return
            await self.think(10)  # 202 and 402: another attempt under another key

    async def _pay_once(self, booking_id: str, key: str, method: str) -> Told | None:
        caller = self.caller()

        async def pay(process: Process) -> Answer:
            booking = await process.saga.pay(caller, booking_id, method, key)
            return Answer(202 if booking.status == "paying" else 200, _shown(booking))

        return await self.once("pay", key, {"booking": booking_id, "method": method}, pay)

    async def _pay_again(self) -> None:
        if self._mine:
            await self._pay(self._random.choice(self._mine)[0])

    async def _cancel(self) -> None:
        if not self._mine:
            return
        booking_id, seats = self._random.choice(self._mine)
        async with asyncio.TaskGroup() as together:  # on two lines at once, sometimes
            for _ in range(self._random.choice((1, 1, 2))):
                some = self._random.sample(seats, 1) if self._random.random() < 0.6 else []
                together.create_task(cancel(self, booking_id, seats, some, admin=False))


async def cancel(
    who: Person, booking_id: str, seats: list[str], some: list[str], *, admin: bool
) -> None:
    """Cancel some seats of a booking, or all when none are named."""
    caller = who.caller()
    who.oracle.wants_cancelled(booking_id, some or seats)

    def ask(process: Process) -> Awaitable[Booking]:
        by = process.cancellations
        if admin:
            return process.detached.run(by.by_admin(caller, booking_id, some))
        return process.detached.run(by.by_buyer(caller, booking_id, some))

    told = await who.tell(f"cancel {booking_id[:8]} {some}", ask)
    if isinstance(told, Booking):
        who.oracle.told_cancelled(told, some or seats)


class Administrator(Person):
    """Takes locks back and cancels bookings, whosever; and for the house a whole showtime."""

    def __init__(self, world: World, oracle: Oracle) -> None:
        super().__init__(world, oracle, ADMIN)

    async def live(self, acts: int) -> None:
        for _ in range(acts):
            await self.think(10)
            if not self.world.faults_on:
                return
            if self._random.random() < 0.3:
                await self._revoke()
            else:
                await self._cancel()

    async def _revoke(self) -> None:
        caller, seats = self.caller(), self._random.sample(HALL.seat_ids, 2)
        told = await self.tell("revoke", lambda p: p.locks.revoke(caller, SHOWTIME, seats), tries=1)
        self.oracle.told_revoked(caller, told)

    async def _cancel(self) -> None:
        rows = list(self.world.mongo.table("bookings").rows.values())
        if rows:
            row = self._random.choice(rows)
            seats = row["seats"]
            some = self._random.sample(seats, 1) if self._random.random() < 0.3 else []
            await cancel(self, row["_id"], seats, some, admin=True)

    async def close_house(self, seconds: float) -> None:
        """Cancel the showtime; insists until the server has said that it is closed."""
        await asyncio.sleep(seconds)
        caller = self.caller()
        self.oracle.wants_house_cancelled()

        def order(process: Process) -> Awaitable[int]:
            return process.detached.run(process.house.order(caller, SHOWTIME, "no power"))

        told = await self.tell("cancel the showtime", order, tries=8)
        if isinstance(told, int):
            self.oracle.told_house_cancelled()


def _shown(booking: Booking) -> dict[str, Any]:
    return {"id": booking.id, "status": booking.status, "seats": booking.seats}
