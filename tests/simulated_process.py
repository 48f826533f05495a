"""A process of a simulation: the server's own code, put together as in `server.parts`, on lines to
the stores on which anything can go wrong. It answers requests and does its share of the background
work, until it dies.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from server.audit import AuditRelay
from server.booking_image import BookingImage
from server.bookings import BookingSaga
from server.cancellations import Cancellations
from server.catalogue import Layout
from server.detached import Detached
from server.house_cancellations import HouseCancellations
from server.idempotency import IdempotentRequests
from server.image_repair import ImageRepair
from server.lock_sweeper import LockSweeper
from server.realtime.channel import WINDOW_SECONDS, Channel
from server.rebuild import Rebuilder
from server.reconciler import Reconciler
from server.repo.audit_logs import AuditLogRepo
from server.repo.bookings import BookingRepo
from server.repo.cinemas import CinemaRepo
from server.repo.idempotency import IdempotencyRepo
from server.repo.leases import LeaseRepo
from server.repo.outbox import Outbox
from server.repo.seat_answers import SeatStates
from server.repo.seat_journal import SeatJournal
from server.repo.seats import SeatStore
from server.repo.store_runs import StoreRunRepo
from server.repo.users import Users
from server.seats import SeatLocks
from server.settlement import Settlement
from server.showtimes import Showtimes
from tests.memory_mongo import MemoryDatabase
from tests.model_scripts import ModelScripts, whole
from tests.simulated_bank import BankProvider
from tests.simulated_faults import Line
from tests.simulated_stores import LinedClaims, LinedSeatLog, OneShowtime, Uncounted
from tests.simulated_world import SHOWTIME, World
from tests.virtual_time import Owner

T = TypeVar("T")


class Process(Owner):
    """One server process, as `server.parts` puts it together."""

    def __init__(self, world: World, name: str) -> None:
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
        self.channel = Channel(SHOWTIME, MirrorSource(self)) if world.watching else None
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
            self.jobs["tail"] = self._check_tail
            world.loop.at(world.now, self.channel.reload, "subscribed", owner=self)
        self._running: set[str] = set()

    async def _check_tail(self) -> None:
        """What the hub does for all its channels."""
        if self.channel and (position := self.channel.position):
            (stored,) = await MirrorSource(self).positions([SHOWTIME])
            if await self.channel.is_behind(position, stored):
                await asyncio.sleep(2 * WINDOW_SECONDS)

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
