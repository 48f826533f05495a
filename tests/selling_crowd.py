"""A crowd over real servers: watchers of several showtimes, and a few people who lock, let go and
buy all the time. After a fault every watcher has to stand where Redis stands."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from server.embedded import EmbeddedMongo
from server.errors import StoreUnavailable
from server.models import new_id
from server.repo import mongo, redis
from server.repo.seat_answers import ShowtimeNotLoaded
from server.repo.seats import SeatStore
from tests.aftermath import Aftermath, checked, rest
from tests.customers import Customer, Ledger, introduce
from tests.processes import RowlockProcess, servers
from tests.sale import hall, plan
from tests.stored import Stored
from tests.watcher import Watcher

HEAL_SECONDS = 2.0

LOCK_SECONDS = 3
LAYOUT = hall(60)
SEATS = LAYOUT.seat_ids
STIR = SEATS[-1]
"""A seat that is left to the test itself."""


@dataclass
class Crowd:
    """`ledgers`: what people were told, by showtime."""

    stored: Stored
    processes: list[RowlockProcess]
    showtimes: list[str]
    watchers: dict[str, list[Watcher]]
    ledgers: dict[str, Ledger]
    people: list[Customer] = field(default_factory=list)
    _over: bool = False

    async def survive(self, name: str, fault: Awaitable[None]) -> str:
        """Let a fault pass; fails unless every watcher is up to date in time after its end.

        Returns a line that tells of it.
        """
        before, began = self.changes, monotonic()
        await fault
        lasted, during = monotonic() - began, self.changes - before
        healed = await self.caught_up(HEAL_SECONDS)
        return (
            f"{name}: lasted {lasted:.1f} s, {during} acts, "
            f"every watcher up to date {healed * 1000:.0f} ms after its end"
        )

    async def caught_up(self, seconds: float) -> float:
        """Change something in each showtime; return how long it takes until all watchers see it.

        Fails after so many seconds. People may go on meanwhile.
        """
        began, behind = monotonic(), {"nobody was asked": 0}
        wanted = await self._stirred(seconds)
        while monotonic() < began + seconds:
            for _ in range(15):
                behind = {
                    name: sum(not _reached(watcher, wanted[name]) for watcher in watchers)
                    for name, watchers in self.watchers.items()
                }
                if not any(behind.values()):
                    return monotonic() - began
                await asyncio.sleep(0.02)
            wanted = await self._stirred(seconds)  # there may be a new epoch
        raise AssertionError(f"after {seconds} s watchers are behind: {behind}")

    async def _stirred(self, seconds: float) -> dict[str, tuple[str, int]]:
        """Lock a seat that nobody else wants and let it go; returns where each showtime is then.

        Over a connection of its own: one that the pool has may lead to a frozen server.
        """
        client = redis.connect(self.stored.redis_url)
        store = SeatStore(client, redis.Scripts(client), ttl_seconds=1, max_seats_per_user=1)
        try:
            async with asyncio.timeout(seconds):
                for showtime in self.showtimes:
                    await _stir(store, showtime)
            found = await store.positions(self.showtimes)
            pairs = zip(self.showtimes, found, strict=True)
            return {name: at for name, at in pairs if isinstance(at, tuple)}
        finally:
            await client.aclose()

    async def buy_and_let_go(self, showtime: str, person: Customer) -> None:
        """Lock two seats again and again; now and then book and pay them."""
        while not self._over:
            first = random.randrange(0, len(SEATS) - 2)
            pair = SEATS[first : first + 2]
            locked = await person.lock(showtime, *pair)
            if locked and locked.status == 200:
                if random.random() < 0.15:
                    created = await person.create(showtime, *pair)
                    if created and created.status == 201:
                        await person.pay(created.booking)
                else:
                    await person.release(showtime)
            await asyncio.sleep(random.uniform(0.02, 0.08))

    @asynccontextmanager
    async def busy(self) -> AsyncIterator[None]:
        """Let everybody do so for as long as the context lasts."""
        self._over = False
        pairs = zip(self.showtimes * len(self.people), self.people, strict=False)
        tasks = [asyncio.create_task(self.buy_and_let_go(*pair)) for pair in pairs]
        try:
            yield
        finally:
            self._over = True
            await asyncio.gather(*tasks)

    async def judged(self, *, lossy: bool) -> list[str]:
        """Wait for rest; return what is not as it has to be, by what is stored."""
        await self.caught_up(5)
        give_up, problems = monotonic() + LOCK_SECONDS + 20, []
        for showtime in self.showtimes:
            while (left := await rest(self.stored, showtime)) and monotonic() < give_up:
                await asyncio.sleep(0.1)
            problems += [f"{showtime}: {left}"] if left else []
        for showtime in self.showtimes:
            ledger = self.ledgers[showtime]
            problems += await Aftermath(self.stored, showtime, ledger, lossy=lossy).judge()
            problems += await self._not_shown(showtime)
        problems += await checked(self.stored)
        return problems + [line for process in self.processes for line in process.errors()]

    async def _not_shown(self, showtime: str) -> list[str]:
        """Every watcher shows seat by seat what Redis has."""
        stored = await self.stored.seats(showtime)
        letters = {"l": "l", "c": "l", "b": "b", "x": "x"}
        wanted = "".join(letters[stored[seat][0]] if seat in stored else "." for seat in SEATS)
        watchers = self.watchers[showtime]
        wrong = sum(watcher.states != wanted for watcher in watchers)
        complaints = [what for watcher in watchers for what in watcher.problems]
        return complaints + ([f"{wrong} watchers of {showtime} show another map"] if wrong else [])

    @property
    def sold(self) -> int:
        return sum(len(ledger.of("pay", 200)) for ledger in self.ledgers.values())

    @property
    def changes(self) -> int:
        """How many acts were acknowledged."""
        return sum(len(ledger.acks) for ledger in self.ledgers.values())


async def _stir(store: SeatStore, showtime: str) -> None:
    while True:
        try:
            await store.lock(showtime, "usr_stir", [STIR], new_id("req"))
            await store.release(showtime, "usr_stir", [], new_id("req"))
        except (StoreUnavailable, ShowtimeNotLoaded):  # not loaded: nobody has watched it yet
            await asyncio.sleep(0.05)
        else:
            return


def _reached(watcher: Watcher, wanted: tuple[str, int] | None) -> bool:
    at = watcher.position
    return bool(at and wanted and at[0] == wanted[0] and at[1] >= wanted[1])


async def some(here: Crowd, acts: int) -> None:
    """Let people go on for so many acts."""
    goal = here.changes + acts
    async with asyncio.timeout(30):
        while here.changes < goal:
            await asyncio.sleep(0.05)


@asynccontextmanager
async def crowd(
    directory: Path,
    redis_url: str,
    mongo_uri: str,
    showtimes: Sequence[str] = (),
    *,
    watchers: int = 100,
    people: int = 8,
) -> AsyncIterator[Crowd]:
    """Run two servers and the crowd; `showtimes` are planned by the caller, or four are made."""
    database, client = mongo.connect(mongo_uri), redis.connect(redis_url)
    async with AsyncExitStack() as stack:
        stack.callback(database.client.close)
        stack.push_async_callback(client.aclose)
        processes = await stack.enter_async_context(
            servers(directory, redis_url, mongo_uri, count=2, SEAT_LOCK_TTL=str(LOCK_SECONDS))
        )
        ports = [process.port for process in processes]
        planned = [*showtimes] or [await plan(database, LAYOUT) for _ in range(4)]
        stored = Stored(database, client, mongo_uri, redis_url)
        made = Crowd(stored, processes, planned, {}, {name: Ledger() for name in planned})
        for number in range(people):
            ledger = made.ledgers[planned[number % len(planned)]]
            person = Customer(f"usr_{number}", lambda: random.choice(ports), ledger, pause=0.2)
            stack.callback(person.close)
            made.people.append(person)
        await introduce(database, *(person.user for person in made.people))
        for number in range(watchers):
            showtime = planned[number % len(planned)]
            watcher = Watcher(f"{number}", ports, showtime, SEATS)
            made.watchers.setdefault(showtime, []).append(watcher)
            await stack.enter_async_context(watcher)
        await made.caught_up(20)
        yield made


def database_uri(mongod: EmbeddedMongo) -> str:
    """Return the address of a database that nobody has yet."""
    return f"mongodb://127.0.0.1:{mongod.port}/{new_id('t')}?replicaSet=rs0"
