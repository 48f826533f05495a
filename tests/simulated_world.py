"""The world of a simulation: stores that all share, processes that come and go, and time.

A process is the server's own code, put together as in `server.app`, on lines to the stores on which
anything can go wrong. It answers requests and does its share of the background work.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Any, TypeVar

from server.audit import AuditRelay
from server.booking_image import BookingImage
from server.bookings import BookingSaga
from server.cancellations import Cancellations
from server.catalogue import Auditorium, Layout, Row, Seat, Showtime
from server.detached import Detached
from server.errors import RowlockError
from server.house_cancellations import HouseCancellations
from server.idempotency import IdempotentRequests
from server.image_repair import ImageRepair
from server.lock_sweeper import LockSweeper
from server.models import from_ms
from server.payments import PaymentUnknown
from server.realtime.channel import Channel
from server.rebuild import Rebuilder
from server.reconciler import Reconciler
from server.repo.audit_logs import AuditLogRepo
from server.repo.bookings import BookingRepo
from server.repo.cinemas import CinemaRepo
from server.repo.claims import ClaimStore
from server.repo.idempotency import IdempotencyRepo
from server.repo.keys import partition_of
from server.repo.leases import LeaseRepo
from server.repo.mongo import UNAVAILABLE, BulkWriteError
from server.repo.outbox import Outbox
from server.repo.seat_answers import SeatsTaken, SeatStates
from server.repo.seat_journal import SeatJournal
from server.repo.seat_log import LogEntry
from server.repo.seats import SeatStore
from server.repo.showtimes import ShowtimeRepo
from server.repo.store_runs import StoreRunRepo
from server.repo.users import Users
from server.seats import SeatLocks
from server.settlement import Settlement
from server.showtimes import Showtimes
from tests.memory_mongo import MemoryDatabase, MemoryMongo
from tests.model_scripts import ModelScripts, whole
from tests.programme import CINEMA, a_showtime, store
from tests.seat_model import ModelSeats
from tests.seat_model_state import Stored
from tests.simulated_bank import Bank, BankProvider, Intent
from tests.simulated_faults import Faults, Line
from tests.simulated_time import Clock, moment
from tests.virtual_time import Owner, VirtualLoop

START = 1_800_000_000.0
SHOWTIME = "sho_1"
HALL = Layout(
    (
        Row("A", tuple(Seat(f"A{n}", n) for n in (1, 2, 3))),
        Row("B", (Seat("B1", 1, "premium"),)),
    )
)
ROOM = Auditorium("aud_a", "Hall A", HALL.id)
PLACE = replace(CINEMA, auditoriums=(ROOM,))
PARTITION = partition_of(SHOWTIME)
PEOPLE = ("ann", "ben", "cat", "ada")
ADMIN = "ada"

EXPECTED = (RowlockError, *UNAVAILABLE, BulkWriteError, PaymentUnknown, TimeoutError, SeatsTaken)
"""What may be raised when stores fail, or another is quicker; anything else is a bug."""

T = TypeVar("T")


class World:
    """Everything that outlives a process."""

    def __init__(self, clock: Clock, seed: int) -> None:
        self.random = Random(seed)
        self.loop = clock.loop = VirtualLoop(self.random, START)
        clock.random = self.random
        self.faults = Faults(self.random)
        self.faults_on = True
        self.trace: list[str] | None = None
        self.mongo_skew = 0.0
        self.ttl = 0.0
        self.job_pause = 1.0
        self.watching = False
        self.remembers = False
        self.remembered = [Stored()]
        """What Redis held before each of the last changes, where a replica is to take over."""
        self.house = False
        """Whether the house cancels the showtime at some time."""
        self.mongo = MemoryMongo(self._mongo_now)
        self._moment = 0, moment(0.0)
        self.seats = ModelSeats(self.redis_now, ttl_ms=0, max_seats_per_user=3)
        self.bank = Bank(self._settled)
        self.webhooks = False
        self.processes: list[Process] = []
        self.unexpected: list[str] = []
        self.on_outcome: Callable[[Intent], None] = lambda intent: None
        self.on_announcement: Callable[[list[LogEntry]], None] = lambda entries: None
        self._announce = self.seats.state.announce
        self.seats.state.announce = self._publish  # type: ignore[method-assign]

    @property
    def now(self) -> float:
        return self.loop.time()

    def remembering(self, script: Callable[[], Any]) -> Callable[[], Any]:
        """A script that leaves behind what Redis held before it, if it changed anything."""

        def run() -> Any:
            before, changes = self.seats.snapshot(), len(self.seats.published)
            answer = script()
            if len(self.seats.published) > changes:
                self.remembered = [*self.remembered[-2:], before]
            return answer

        return run

    def _mongo_now(self) -> datetime:
        ms = int((self.loop.time() + self.mongo_skew) * 1000)
        if ms != self._moment[0]:
            self._moment = ms, from_ms(ms)
        return self._moment[1]

    def redis_now(self) -> int:
        return int(self.loop.time() * 1000)

    def plan(self, ttl: float, starts_in: float) -> None:
        """Put a showtime on, and people who may buy."""
        self.ttl = ttl
        self.seats.seats._ttl_ms = round(ttl * 1000)
        starts_at = moment(START) + timedelta(seconds=starts_in)
        self.showtime = a_showtime(SHOWTIME, starts_at, layout=HALL, auditorium=ROOM, cinema=PLACE)
        database: Any = MemoryDatabase(self.mongo)
        whole(store(database, self.showtime))
        for person in PEOPLE:
            row = {"provider": "oidc", "sub": person, "name": person, "role": "USER"}
            row |= {"_id": person, "email": f"{person}@example.com"}
            self.mongo.write("users", None, row)

    def cut(self, count: int) -> int:
        """Of so many documents, say how many are inserted in one step."""
        if self.faults_on and count > 1 and self.random.random() < 0.3:
            return self.random.randint(1, count)
        return count

    # -- processes ----------------------------------------------------------------------------

    def begin(self) -> "Process":
        process = Process(self, f"p{len(self.processes) + 1}", watching=self.watching)
        self.processes.append(process)
        process.work(self.job_pause)
        return process

    def replace(self) -> None:
        """A process has died: start another one."""
        self.note("world", "starts a process", self.begin().name)

    @property
    def living(self) -> "list[Process]":
        return [process for process in self.processes if process.alive]

    def judge(self, what: str, error: Exception) -> None:
        """Keep an error that nothing in this world explains."""
        if not isinstance(error, EXPECTED):
            self.unexpected.append(f"{what}: {error!r}")

    # -- what happens in it ---------------------------------------------------------------------

    def note(self, who: str, what: str, *how: object) -> None:
        """Write it into the trace, when there is one."""
        if self.trace is not None:
            told = " ".join(map(str, how))[:400]
            self.trace.append(f"{self.now - START:9.3f}  {who:<6} {what:<34} {told}")

    def at(self, seconds: float, act: Callable[[], object]) -> None:
        """Let something happen so much later, whoever dies until then."""
        self.loop.at(self.now + seconds, act)

    def _settled(self, intent: Intent) -> None:
        self.note("bank", intent.id, intent.outcome)
        self.on_outcome(intent)
        if self.webhooks and intent.outcome != "cancelled":
            for _ in range(self.random.randint(0, 2)):
                self.at(self.random.random() * 20, partial(self._hear, intent.id))

    def _hear(self, intent_id: str) -> None:
        if self.living:
            process = self.random.choice(self.living)
            hear = partial(process.settlement.hear, intent_id)
            self.loop.spawn(process, process.quietly("hear", hear))

    def _publish(self, showtime: Any, events: Any, request_id: str = "") -> None:
        self._announce(showtime, events, request_id)
        _, change = self.seats.published[-1]
        self.note("redis", change.epoch[:4], change.seq, change.events)
        log = self.seats.state.stored.logs[PARTITION]
        self.on_announcement(log[len(log) - len(events) :])
        listening = [process for process in self.living if process.channel]
        if listening:
            payload = json.dumps(asdict(change))
            for process in listening:
                self.loop.at(self.now, process.hear, payload, owner=process)


class Process(Owner):
    """One server process, as `server.app` puts it together."""

    def __init__(self, world: World, name: str, *, watching: bool) -> None:
        super().__init__(name)
        self.world = world
        self.open: dict[asyncio.Future[Any], None] = {}  # in the order of the requests
        note = world.note if world.trace is not None else None
        lines = {
            each: Line(world.loop, world.faults, each, self, self.crash, note)
            for each in ("redis", "mongo", "bank")
        }
        self._redis = lines["redis"]
        database: Any = MemoryDatabase(world.mongo, lines["mongo"].call, world.cut)
        scripts: Any = ModelScripts(world.seats, self._script)
        redis: Any = None
        metrics: Any = Uncounted()
        outbox, bookings = Outbox(database), BookingRepo(database)
        claims = LinedClaims(scripts, world, lines["redis"])
        repo = OneShowtime(world, database)
        self.showtimes = Showtimes(repo, CinemaRepo(database), timer=world.loop.time)
        store = SeatStore(
            redis,
            scripts,
            ttl_seconds=world.ttl,
            max_seats_per_user=3,
            journal=SeatJournal(outbox),
        )
        self.rebuilder = Rebuilder(claims, bookings, self.showtimes)
        self.locks = SeatLocks(store, self.showtimes, self.rebuilder)
        self.image = BookingImage(bookings, claims, self.rebuilder)
        provider = BankProvider(world.bank, lines["bank"].call)
        self.settlement = Settlement(bookings, self.image, provider, metrics)
        self.saga = BookingSaga(
            bookings,
            claims,
            self.locks,
            self.showtimes,
            self.rebuilder,
            self.image,
            self.settlement,
            provider,
        )
        self.cancellations = Cancellations(
            bookings, self.showtimes, self.image, self.settlement, refund_hours=0
        )
        self.house = HouseCancellations(
            repo, self.showtimes, bookings, store, self.rebuilder, self.cancellations, outbox
        )
        reconciler = Reconciler(self.settlement, self.image, bookings, claims)
        repair = ImageRepair(repo, bookings, claims, self.image, StoreRunRepo(database))
        seat_log: Any = LinedSeatLog(world.seats, lines["redis"].call)
        relay = AuditRelay(
            AuditLogRepo(database),
            seat_log,
            bookings,
            outbox,
            Users(database),
            LeaseRepo(database),
        )
        self.idempotent = IdempotentRequests(IdempotencyRepo(database))
        self.detached = Detached()
        self.store = store
        self.channel = Channel(SHOWTIME, MirrorSource(self)) if watching else None
        self.jobs: dict[str, Callable[[], Awaitable[object]]] = {
            "sweep": LockSweeper(store).run_once,
            "reconcile": reconciler.run_once,
            "settle": reconciler.settle_once,
            "relay": relay.run_once,
            "repair": repair.run_once,
        }
        if world.house:
            self.jobs["house"] = self.house.run_once
        if self.channel:
            self.jobs["tail"] = self.channel.check_tail
            world.loop.at(world.now, self.channel.reload, "subscribed", owner=self)
        self._running: set[str] = set()

    # -- life ---------------------------------------------------------------------------------

    def work(self, pause: float) -> None:
        """Do the background work, two jobs every `pause` seconds in the mean, until it dies."""
        for _ in range(2):
            self.world.loop.spawn(self, self._work(pause))

    async def _work(self, pause: float) -> None:
        names, draw = list(self.jobs), self.world.random
        while self.world.faults_on:
            await asyncio.sleep(draw.random() * 2 * pause)
            name = names[int(draw.random() * len(names))]
            if name not in self._running:
                await self.job(name)

    async def job(self, name: str) -> None:
        """Run one job once; what it raises but may not is kept."""
        self._running.add(name)
        try:
            await self.jobs[name]()
        except Exception as error:
            self.world.judge(f"{name} of {self.name}", error)
        finally:
            self._running.discard(name)

    async def quietly(self, what: str, work: Callable[[], Awaitable[object]]) -> None:
        """Do something whose failure nobody waits for."""
        try:
            await work()
        except Exception as error:
            self.world.judge(f"{what} of {self.name}", error)

    def crash(self) -> None:
        """Everything it was doing vanishes; whoever waits for an answer hears the line go dead."""
        self.alive = False
        world = self.world
        world.note(self.name, "dies")
        for waiting in self.open:
            world.loop.at(world.now + world.random.random() * 0.5, _hang_up, waiting)
        world.at(0.3 + world.random.random() * 4, world.replace)

    async def ask(self, work: Callable[["Process"], Awaitable[T]], patience: float) -> T:
        """Have it done as a request: it goes on when the asker gives up. Raises HungUp."""
        answer: asyncio.Future[T] = self.world.loop.create_future()
        if not self.alive:
            raise HungUp
        self.open[answer] = None
        self.world.loop.spawn(self, self._answer(work, answer))
        try:
            async with asyncio.timeout(patience):
                return await answer
        except TimeoutError:
            raise HungUp from None
        finally:
            self.open.pop(answer, None)

    async def _answer(
        self, work: Callable[["Process"], Awaitable[T]], answer: "asyncio.Future[T]"
    ) -> None:
        try:
            found = await work(self)
        except Exception as error:
            if not answer.done():
                answer.set_exception(error)
        else:
            if not answer.done():
                answer.set_result(found)

    async def _script(self, name: str, effect: Callable[[], Any]) -> Any:
        if self.world.remembers and not name.startswith(("read", "expire")):
            effect = self.world.remembering(effect)
        return await self._redis.call(name, effect)

    def hear(self, payload: str) -> None:
        assert self.channel
        self.channel.hear(payload.encode())

    async def positions(self, showtime_ids: list[str]) -> list[tuple[str, int] | None]:
        seats = self.world.seats.seats
        found: list[tuple[str, int] | None] = await self._redis.call(
            "positions", lambda: whole(seats.positions(showtime_ids))
        )
        return found

    async def states(self, showtime_id: str) -> tuple[Layout, SeatStates]:
        """As SeatMaps does it."""
        showtime = await self.showtimes.get(showtime_id)
        seats = self.world.seats.seats

        def read() -> Awaitable[SeatStates]:
            return self._redis.call("read_seats", lambda: whole(seats.read(showtime_id)))

        return showtime.layout, await self.rebuilder.loaded(showtime_id, read)


class HungUp(Exception):
    """No answer came: the process died, or took too long."""


def _hang_up(waiting: "asyncio.Future[Any]") -> None:
    if not waiting.done():
        waiting.set_exception(HungUp())


class MirrorSource:
    """What the live map reads, as in `server.app`."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def states(self, showtime_id: str) -> tuple[Layout, SeatStates]:
        return await self._process.states(showtime_id)

    async def positions(self, showtime_ids: list[str]) -> list[tuple[str, int] | None]:
        return await self._process.positions(showtime_ids)

    async def renew(self, showtime_id: str, stale_epoch: str) -> None:
        await self._process.rebuilder.rebuild(showtime_id, stale_epoch)


class OneShowtime(ShowtimeRepo):
    """The real repository, but a showtime is put together once and not at every reading."""

    def __init__(self, world: World, database: Any) -> None:
        super().__init__(database, None)  # type: ignore[arg-type]
        self._world = world

    async def get(self, showtime_id: str) -> Showtime | None:
        row = await self._rows.find_one({"_id": showtime_id})
        return replace(self._world.showtime, status=row["status"]) if row else None


class LinedClaims(ClaimStore):
    """The real store, but what it reads without a script it reads from the model."""

    def __init__(self, scripts: Any, world: World, line: Line) -> None:
        super().__init__(scripts)
        self._world = world
        self._line = line

    async def shown(self, showtime_id: str) -> dict[str, tuple[str, bool]]:
        claims = self._world.seats.claims
        shown: dict[str, tuple[str, bool]] = await self._line.call(
            "shown", lambda: whole(claims.shown(showtime_id))
        )
        return shown

    async def run_id(self) -> str:
        runs = self._world.faults.runs
        run: str = await self._line.call("run_id", lambda: f"run_{runs['redis']}")
        return run


class LinedSeatLog:
    """The model's log, behind a line."""

    def __init__(self, seats: ModelSeats, call: Any) -> None:
        self._log = seats.log
        self._call = call

    async def read(self, partition: int, limit: int) -> Any:
        return await self._call("read_log", lambda: whole(self._log.read(partition, limit)))

    async def forget(self, partition: int, positions: list[str]) -> None:
        if positions:
            await self._call("forget_log", lambda: whole(self._log.forget(partition, positions)))


class Uncounted:
    """In place of the metrics, which nobody reads here."""

    def __getattr__(self, name: str) -> "Uncounted":
        return self

    def labels(self, *names: str) -> "Uncounted":
        return self

    def inc(self) -> None:
        pass
