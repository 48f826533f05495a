"""A sale under load: real server processes, buyers, watchers, and a recorder of it all."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

from redis.asyncio import Redis

from server.catalogue import Auditorium, Layout, Row, Seat
from server.events import AVAILABLE
from server.models import new_id
from server.repo.keys import showtime_keys
from server.repo.mongo import Database
from tests import verdict
from tests.buyers import Buyer, Diary, Habits, Person
from tests.history import UNKNOWN, History, Violation
from tests.processes import REPOSITORY, RowlockProcess, servers, until
from tests.programme import CINEMA, a_showtime, store
from tests.recorder import Recorder
from tests.watcher import Sight, Watcher

LOCK_SECONDS = 2


def hall(count: int, width: int = 20) -> Layout:
    """Draw a hall of `count` seats in rows of `width`."""
    rows = (range(first, min(first + width, count)) for first in range(0, count, width))
    return Layout(
        tuple(
            Row(f"R{label}", tuple(Seat(f"R{label}-{n - row[0] + 1}", n - row[0]) for n in row))
            for label, row in enumerate(rows, 1)
        )
    )


async def plan(database: Database, layout: Layout) -> str:
    """Store a showtime of tomorrow in a hall of that layout; returns its id."""
    room = Auditorium("aud_a", "Hall A", layout.id)
    showtime = a_showtime(
        new_id("sho"),
        datetime.now(UTC) + timedelta(days=1),
        layout=layout,
        auditorium=room,
        cinema=CINEMA,
    )
    await store(database, showtime)
    return showtime.id


class Floor:
    """Hands out turns, so many in all, and can hold everybody up for a moment."""

    def __init__(self, turns: int) -> None:
        self.taken = 0
        self.turns = turns
        self._open = asyncio.Event()
        self._open.set()
        self._waiting = 0
        self._inside = 0

    async def turn(self) -> bool:
        """Wait while the floor is closed; False when no turn is left."""
        self._waiting += 1
        await self._open.wait()
        self._waiting -= 1
        if self.taken == self.turns:
            return False
        self.taken += 1
        return True

    async def run(self, buyer: Buyer) -> None:
        self._inside += 1
        try:
            await buyer.shop(self.turn)
        finally:
            self._inside -= 1

    @property
    def over(self) -> bool:
        return self._inside == 0

    @asynccontextmanager
    async def closed(self) -> AsyncIterator[None]:
        """Have all buyers stand still, with no request under way."""
        self._open.clear()
        await until(lambda: self._waiting == self._inside, 30, "everybody stands still")
        try:
            yield
        finally:
            self._open.set()


@dataclass
class Sale:
    """One showtime on sale at several servers."""

    database: Database
    redis: Redis
    processes: list[RowlockProcess]
    showtime: str
    layout: Layout
    recorder: Recorder
    watchers: list[Watcher]
    diary: Diary
    violations: list[Violation] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)
    newcomers: list[Watcher] = field(default_factory=list)
    checkpoints: int = 0
    history: History | None = None

    @property
    def seats(self) -> Sequence[str]:
        return self.layout.seat_ids

    @property
    def ports(self) -> list[int]:
        return [process.port for process in self.processes]

    def person(self, user: str) -> Person:
        """Let somebody in, whose requests are judged with those of all others."""
        person = Person(user, self.ports, self.showtime, self.diary)
        self.people.append(person)
        return person

    async def sell(
        self, *, buyers: int, tries: int, checkpoints: int = 0, habits: Habits | None = None
    ) -> None:
        """Let the buyers in until they have tried to lock so often, with checks in between.

        Every tenth of them is the same person as the one before, in another window.
        """
        floor = Floor(tries)
        crowd = [
            Buyer(
                f"usr_{number - (number % 10 == 9)}",
                self.ports,
                self.showtime,
                self.diary,
                self.seats,
                habits or Habits(),
            )
            for number in range(buyers)
        ]
        self.people += crowd
        async with asyncio.TaskGroup() as together:
            for buyer in crowd:
                together.create_task(floor.run(buyer))
            for number in range(1, checkpoints + 1):
                goal = tries * number // (checkpoints + 1)
                await _reached(floor, goal)
                async with floor.closed():
                    await self.checkpoint()

    async def checkpoint(self, seconds: float = 10.0) -> None:
        """Wait until all watchers, a newcomer at each server and the seat map of each server stand
        at one position, and compare them there. Locks go on expiring meanwhile: look again then."""
        newcomers = [self._watcher(f"newcomer at {port}", [port]) for port in self.ports]
        async with AsyncExitStack() as stack:
            for newcomer in newcomers:
                await stack.enter_async_context(newcomer)
            await self._compare([*self.watchers, *newcomers], monotonic() + seconds)
        self.newcomers += newcomers

    async def _compare(self, watchers: list[Watcher], give_up: float) -> None:
        while monotonic() < give_up:
            sights = [await self._seat_map(port) for port in self.ports]
            await asyncio.sleep(0.1)
            watched = [Sight(*w.position, w.states) for w in watchers if w.position]
            if len(watched) == len(watchers) and len(_positions(watched, sights)) == 1:
                self.checkpoints += 1
                if len({sight.states for sight in (*watched, *sights)}) != 1:
                    self._complain("watcher", f"at one position: {watched} {sights}")
                return
        self._complain("watcher", f"no common position: {_positions(watched, sights)}")

    def _watcher(self, name: str, ports: list[int]) -> Watcher:
        return Watcher(name, ports, self.showtime, self.seats)

    async def _seat_map(self, port: int) -> Sight:
        person = Person("usr_checker", [port], self.showtime, self.diary)
        try:
            sight = await person.look()
        finally:
            person.close()
        assert sight is not None
        return sight

    async def settled(self, seconds: float = 60.0) -> None:
        """Wait until no lock, no pending booking and nothing to be mended is left."""
        bookings = self.database["bookings"]
        undone = {
            "showtime_id": self.showtime,
            "$or": [{"status": "pending"}, {"seats_due": True}, {"refund_due": True}],
        }
        locks = showtime_keys(self.showtime)["deadlines_key"]
        give_up = monotonic() + seconds
        while await self.redis.zcard(locks) or await bookings.count_documents(undone):
            assert monotonic() < give_up, "the sale does not come to rest"
            await asyncio.sleep(0.1)

    async def _audited(self, seconds: float = 30.0) -> None:
        """Wait until the relay has copied all that happened."""
        log, outbox = showtime_keys(self.showtime)["log_key"], self.database["audit_outbox"]
        give_up = monotonic() + seconds
        while await self.redis.xlen(log) or await outbox.count_documents({}):
            assert monotonic() < give_up, "the audit relay does not keep up"
            await asyncio.sleep(0.05)

    async def judge(self, *, lossy: bool = False) -> list[Violation]:
        """Compare everything with everything; `lossy`: the store was lost meanwhile."""
        await self._audited()
        rows = self.database["audit_logs"].find(
            {"target.showtime_id": self.showtime, "action": {"$regex": "^seat"}}
        )
        self.history = history = History(
            self.seats,
            self.recorder.heard,
            [row async for row in rows],
            bases=self._bases(lossy=lossy),
            owners=self.diary.owners,
            repairs=lossy,
        )
        bookings = (
            await self.database["bookings"].find({"showtime_id": self.showtime}).to_list(None)
        )
        answers = verdict.Answers(history, self.diary.attempts, bookings, lossy=lossy)
        self.violations += history.violations
        self.violations += answers.violations
        self.violations += verdict.of_sights(history, "a seat map", self.diary.sights)
        for watcher in (*self.watchers, *self.newcomers):
            self.violations += verdict.of_sights(history, watcher.name, watcher.sights)
            for problem in watcher.problems:
                self._complain("watcher", f"{watcher.name}: {problem}")
        self.violations += await verdict.of_claims(self.database, self.showtime)
        self.violations += await verdict.of_redis(self.database, self.redis, self.showtime, history)
        self.violations += await verdict.of_money(self.database, self.showtime)
        return self.violations

    def _bases(self, *, lossy: bool) -> dict[str, str]:
        """Return the states at the beginning of each epoch, as far as anybody has seen them.

        A store that nobody loses begins with an empty hall.
        """
        if not lossy:
            return {change.epoch: AVAILABLE * len(self.seats) for change in self.recorder.heard}
        first: dict[str, Sight] = {}
        for sight in (*self.diary.sights, *(s for w in self.watchers for s in w.sights)):
            if sight.epoch not in first or sight.seq < first[sight.epoch].seq:
                first[sight.epoch] = sight
        bases = {change.epoch: UNKNOWN * len(self.seats) for change in self.recorder.heard}
        for epoch, sight in first.items():
            states = list(sight.states)
            for change in self.recorder.heard:
                if change.epoch == epoch and change.seq <= sight.seq:
                    for event in change.events:
                        for seat in event["seats"]:
                            states[self.layout.index[seat]] = UNKNOWN
            bases[epoch] = "".join(states)
        return bases

    def _complain(self, kind: str, what: str) -> None:
        self.violations.append(Violation(kind, what))

    def report(self) -> str:
        """Say how much happened."""
        assert self.history is not None
        told = Counter(f"{a.kind} {a.status}" for a in self.diary.attempts)
        watched = sum((w.counts for w in self.watchers), Counter())
        tried = sum(n for name, n in told.items() if name.startswith("lock "))
        lines = [
            f"locks tried {tried}, granted {told['lock 200']}, refused {told['lock 409']}",
            f"answers {_listed(told)}",
            f"events {_listed(self.history.counts)}",
            f"change sets {len(self.recorder.heard)}, epochs {len(self.history.epochs)}",
            f"watchers {len(self.watchers)}: {_listed(watched)}",
            f"maps compared {sum(len(w.sights) for w in self.watchers) + len(self.diary.sights)}, "
            f"checkpoints {self.checkpoints}",
        ]
        return "\n".join(lines)


def _positions(*sights: Sequence[Sight]) -> set[tuple[str, int]]:
    return {(sight.epoch, sight.seq) for group in sights for sight in group}


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counts.items()))


async def _reached(floor: Floor, goal: int) -> None:
    while floor.taken < goal and not floor.over:
        await asyncio.sleep(0.02)


async def _restless(watcher: Watcher) -> None:
    """Lose the connection again and again, or come back as somebody who has seen nothing."""
    while True:
        await asyncio.sleep(random.uniform(0.3, 2.0))
        match random.randrange(3):
            case 0:
                watcher.drop()
            case 1:
                await watcher.leave(forget=False)
            case _:
                await watcher.leave(forget=True)


@asynccontextmanager
async def opened(
    directory: Path,
    database: Database,
    redis_url: str,
    *,
    seats: int = 300,
    source: Path = REPOSITORY,
    steady: int = 4,
    restless: int = 2,
    **environment: str,
) -> AsyncIterator[Sale]:
    """Put one showtime on sale at two servers, watched by `steady` watchers and by `restless` ones,
    who come and go with their position."""
    layout = hall(seats)
    showtime = await plan(database, layout)
    await database["users"].insert_many(_people())
    host, port = database.client.address
    mongo_uri = f"mongodb://{host}:{port}/{database.name}?replicaSet=rs0"
    environment = {"SEAT_LOCK_TTL": str(LOCK_SECONDS), **environment}
    async with AsyncExitStack() as stack:
        processes = await stack.enter_async_context(
            servers(directory, redis_url, mongo_uri, count=2, source=source, **environment)
        )
        redis: Redis = Redis.from_url(redis_url, protocol=2, decode_responses=True)
        stack.push_async_callback(redis.aclose)
        recorder = await stack.enter_async_context(Recorder(redis_url, showtime))
        ports = [process.port for process in processes]
        watchers = [
            await stack.enter_async_context(
                Watcher(
                    f"watcher {n}",
                    [ports[n % 2]] if n < steady else ports,
                    showtime,
                    layout.seat_ids,
                )
            )
            for n in range(steady + restless)
        ]
        await until(lambda: all(w.position for w in watchers), 10, "all watchers see the map")
        droppers = [asyncio.create_task(_restless(w)) for w in watchers[steady:]]
        sale = Sale(database, redis, processes, showtime, layout, recorder, watchers, Diary())
        try:
            yield sale
        finally:
            for dropper in droppers:
                dropper.cancel()
            await asyncio.gather(*droppers, return_exceptions=True)
            for person in sale.people:
                person.close()


def _people() -> list[dict[str, str]]:
    """Everybody who may come to a sale, so that their tickets find an address."""
    names = [*range(200), "ann", "ben", "cat", "dan", "looker"]
    return [
        {
            "_id": f"usr_{name}",
            "provider": "test",
            "sub": f"{name}",
            "email": f"{name}@example.com",
            "name": f"{name}",
            "role": "USER",
        }
        for name in names
    ]
