"""A stage to break things on: servers, a crowd before them, seats that change; and what must hold.

    async with staged(directory, database, redis_url, watchers=2000) as stage:
        healing = await stage.survive(fault)      # `fault(stage)` returns once the fault is over
        print(f"healed after {healing.seconds:.2f} s")

`survive` lets the seats change until the fault is over, and fails unless every watcher that reads
shows soon what Redis holds.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import psutil

from server.catalogue import Layout, Row
from server.repo import redis
from server.repo.mongo import Database
from server.repo.seat_answers import SeatStates
from server.repo.seats import SeatStore
from server.seat_maps import draw
from tests.live_crowd import Crowd, Kind
from tests.processes import RowlockProcess, servers
from tests.sale import hall, plan
from tests.seat_traffic import SEATS_EACH, SeatTraffic

HEALED_SECONDS = 2.0
LEAD_SECONDS = 0.5
"""So long the seats change before the fault strikes."""
LOCK_SECONDS = 300

Truth = Callable[[], Awaitable[SeatStates]]


class NotHealed(AssertionError):
    """Somebody who reads does not see what Redis holds."""


@dataclass(frozen=True, slots=True)
class Healing:
    """`seconds` from the end of the fault until all were right; `seen` is what the crowd went
    through since the seats began to change, `answers` are those to the changes, by status."""

    seconds: float
    seen: Counter[str]
    answers: Counter[int]

    def __str__(self) -> str:
        return f"healed after {self.seconds:.2f} s"


class Lags:
    """Seconds from script to arrival of what was told."""

    def __init__(self, values: Sequence[float]) -> None:
        self._values = sorted(values)
        assert self._values, "nothing was told"

    def at(self, share: float) -> float:
        """Return what that share of the deliveries kept within."""
        return self._values[min(int(share * len(self._values)), len(self._values) - 1)]

    def __str__(self) -> str:
        p50, p99, most = (1000 * self.at(share) for share in (0.5, 0.99, 1))
        return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, most {most:.0f} ms"


async def healed(
    crowd: Crowd,
    layout: Layout,
    truth: Truth,
    within: float = HEALED_SECONDS,
    who: Sequence[Kind] = ("reading", "slow"),
) -> float:
    """Return after how many seconds all watchers of these kinds showed what Redis held just then.

    Raises NotHealed when that takes longer than `within`.
    """
    began = time.monotonic()
    while True:
        stored = await truth()
        wrong = crowd.differing(who, stored.epoch, stored.seq, draw(layout, stored.taken))
        passed = time.monotonic() - began
        if not wrong and passed <= within:
            return passed
        if passed > within:
            at = Counter((w.map.seq - stored.seq if w.map else None, w.is_here) for w in wrong)
            raise NotHealed(f"{len(wrong)} of {len(crowd.watchers)} after {passed:.2f} s: {at}")
        await asyncio.sleep(0.01)


@dataclass
class Stage:
    processes: list[RowlockProcess]
    crowd: Crowd
    traffic: SeatTraffic
    layout: Layout
    redis: redis.Redis
    seats: SeatStore
    looked: int = 0
    """How often we have read the seats ourselves."""

    async def stored(self) -> SeatStates:
        self.looked += 1
        states = await self.seats.read(self.crowd.showtime)
        assert states
        return states

    async def healed(
        self, within: float = HEALED_SECONDS, who: Sequence[Kind] = ("reading", "slow")
    ) -> float:
        return await healed(self.crowd, self.layout, self.stored, within, who)

    async def survive(
        self, fault: Callable[["Stage"], Awaitable[None]], within: float = HEALED_SECONDS
    ) -> Healing:
        """Let the fault strike while seats change; raises NotHealed unless it heals in time."""
        seen, answers = self.crowd.counts.copy(), self.traffic.answers.copy()
        self.crowd.maps.forget(watcher.map for watcher in self.crowd.watchers)
        self.traffic.flow()
        await asyncio.sleep(LEAD_SECONDS)
        before = (await self.stored()).seq
        await fault(self)
        over = time.monotonic()
        await self.traffic.rest()
        await self.healed(within - (time.monotonic() - over))
        seconds = time.monotonic() - over
        assert (await self.stored()).seq != before, "no seat has changed"
        return Healing(seconds, self.crowd.counts - seen, self.traffic.answers - answers)

    async def flowing(self, until: Callable[[], Awaitable[bool]], most: float) -> Lags:
        """Let the seats change until that is so; returns how late those who read heard of it."""
        lags = self.crowd.lags["reading"]
        began = len(lags)
        self.traffic.flow()
        async with asyncio.timeout(most):
            while not await until():
                await asyncio.sleep(0.1)
        await self.traffic.rest()
        return Lags(lags[began:])

    async def reads(self) -> int:
        """Return how often the servers have read all seats of a showtime from Redis."""
        stats = await self.redis.info("commandstats")
        return int(stats["cmdstat_hgetall"]["calls"]) - self.looked

    async def subscriptions(self) -> set[str]:
        """Return the connections over which Redis tells of changes."""
        return {each["id"] for each in await self.redis.client_list(_type="pubsub")}

    async def let_go(self) -> int:
        """Return how many watchers the servers have let go because they were too slow."""
        total = 0.0
        async with httpx.AsyncClient(trust_env=False) as client:
            for process in self.processes:
                for line in (await client.get(f"{process.url}/metrics")).text.splitlines():
                    if line.startswith("rowlock_slow_watchers_total"):
                        total += float(line.rpartition(" ")[2])
        return round(total)

    def connected(self) -> int:
        """Return how many of the crowd's connections the servers have open."""
        ours = {(watcher.port, watcher.own_port) for watcher in self.crowd.watchers}
        return sum(
            (end.laddr.port, end.raddr.port) in ours
            for process in self.processes
            for end in psutil.Process(process.pid).net_connections("tcp")
            if end.raddr
        )

    def resident(self) -> int:
        """Return the bytes of memory that the servers take."""
        return sum(psutil.Process(process.pid).memory_info().rss for process in self.processes)


def long_names(layout: Layout) -> Layout:
    """Give each seat as long an id as the public interface allows: what is told of it takes
    most that way."""
    return Layout(
        tuple(
            Row(row.label, tuple(replace(seat, id=f"{seat.id:_>16}") for seat in row.seats))
            for row in layout.rows
        )
    )


@asynccontextmanager
async def staged(
    directory: Path,
    database: Database,
    redis_url: str,
    *,
    watchers: int,
    count: int = 2,
    rate: float = 100.0,
    people: int = 25,
    **environment: str,
) -> AsyncIterator[Stage]:
    """Put one showtime before so many watchers at `count` servers, the same number at each."""
    layout = long_names(hall(people * SEATS_EACH))
    showtime = await plan(database, layout)
    host, port = database.client.address
    mongo_uri = f"mongodb://{host}:{port}/{database.name}?replicaSet=rs0"
    told = {"LOG_LEVEL": "INFO", "SEAT_LOCK_TTL": str(LOCK_SECONDS)}
    told |= {"MAX_SEATS_PER_USER": str(SEATS_EACH), **environment}
    async with AsyncExitStack() as stack:
        processes = await stack.enter_async_context(
            servers(directory, redis_url, mongo_uri, count=count, **told)
        )
        ports = [process.port for process in processes]
        client = redis.connect(redis_url)
        stack.push_async_callback(client.aclose)
        seats = SeatStore(
            client, redis.Scripts(client), ttl_seconds=LOCK_SECONDS, max_seats_per_user=SEATS_EACH
        )
        crowd = Crowd(showtime, layout.seat_ids, ports, lock_seconds=LOCK_SECONDS)
        stack.callback(lambda: crowd.dismiss(crowd.watchers))
        await crowd.join("reading", watchers)
        traffic = await stack.enter_async_context(
            SeatTraffic(showtime, layout.seat_ids, ports, rate=rate, people=people)
        )
        yield Stage(processes, crowd, traffic, layout, client, seats)
        assert crowd.problems == []
