"""How late a seat change arrives when there are many: 500 a second on one showtime, 5,000 watchers.

A real `rowlock serve`, a real Valkey, the real scripts. The time is from the script's own (TIME of
Redis) to the browsers' ends, which share its clock: taken at 50 of them, spread evenly, that are
read at once. The others are read in turns, about once a second: their kernel keeps what comes.

All of them follow the client's rule to the letter (`bench.map_ends`), and at the end every map has
to be that of Redis.

Browsers' ends, those who lock, Valkey and the server share the machine: on two cores the server
has less than one to itself. No process is pinned to a core, and no reference runs beside it: the
figures are of this machine in this hour and no ratio, unlike those of the other benchmarks. How
long the server could have run and no core was free is told beside them.
"""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median, quantiles

import httpx

from bench import ground
from bench.map_ends import End, States
from server.events import AVAILABLE
from server.repo.redis import Scripts, connect
from server.repo.seats import SeatStore

WATCHERS = 5000
SAMPLES = 50
CHANGES_A_SECOND = 500
SECONDS = 8
TARGET_MS = 150
SHOWTIME = "sho_storm"
SEATS = 900
HELD = 200
"""A seat is released so many locks after it was locked: later than any window."""
TTL_SECONDS = 300.0
SWEEP = 50
SWEEP_SECONDS = 0.01
LATEST = 10.0


async def measure(times: int) -> None:
    async with (
        ground.stores() as stores,
        ground.server(stores) as rowlock,
        changing(stores, SHOWTIME) as store,
    ):
        crowds = await watching(store, SHOWTIME, {rowlock: WATCHERS})
        runs = [await Run(store, SHOWTIME, crowds, n).go() for n in range(times)]
    report(runs)


@asynccontextmanager
async def changing(stores: ground.Stores, *showtimes: str) -> AsyncIterator[SeatStore]:
    """Plan showtimes; yields what changes their seats."""
    await ground.plan(stores.mongo_uri, showtimes, SEATS)
    redis = connect(stores.redis_url)
    yield SeatStore(redis, Scripts(redis), ttl_seconds=TTL_SECONDS, max_seats_per_user=10)
    await redis.aclose()


async def watching(
    store: SeatStore, showtime: str, servers: Mapping[ground.Process, int]
) -> dict[ground.Process, list[End]]:
    """Open a showtime, and so many browsers' ends at each server; returns those."""
    async with httpx.AsyncClient(base_url=next(iter(servers)).address) as client:
        (await client.get(f"/api/showtimes/{showtime}/seat-map")).raise_for_status()
    for n in range(SEATS - HELD, SEATS):
        await store.lock(showtime, f"u{n}", [f"S{n}"], "")
    states, crowds = States(TTL_SECONDS, {f"S{n}": n for n in range(SEATS)}), {}
    for server, count in servers.items():
        ends = crowds[server] = [End(showtime, states) for _ in range(count)]
        for first in range(0, count, 100):
            await asyncio.gather(*(end.open(server.port) for end in ends[first : first + 100]))
    gc.collect()
    gc.freeze()  # a pause of our own would look like the server's
    return crowds


class Run:
    """Some seconds of the storm, and what was seen."""

    def __init__(
        self,
        store: SeatStore,
        showtime: str,
        crowds: Mapping[ground.Process, Sequence[End]],
        runs_before: int,
    ) -> None:
        """`crowds`: who watches at each server."""
        self._store = store
        self._showtime = showtime
        self._begin = runs_before * SECONDS * CHANGES_A_SECOND
        self._crowds = crowds
        self._ends = [end for ends in crowds.values() for end in ends]
        apart = len(self._ends) // SAMPLES
        self._sampled = [end for ends in crowds.values() for end in ends[::apart]]
        self._others = [end for end in self._ends if end not in set(self._sampled)]
        self.lags: list[float] = []
        """In ms."""
        self.flushes = self.load = self.waited = self.cpu_us = 0.0
        """Flushes a second, cores taken and cores waited for, of the servers together; and the CPU
        of each delivery."""

    def percentile(self, n: int) -> float:
        """Return the lag in ms that so many of a hundred kept within."""
        return quantiles(self.lags, n=100)[n - 1]

    async def go(self) -> "Run":
        loop = asyncio.get_running_loop()
        for end in self._sampled:
            loop.add_reader(end.socket, self._heard, end)
        sweeping = asyncio.create_task(self._sweep())
        before, waited, frames = self._cpu(), self._waited(), self._frames()
        began = loop.time()
        await self._changes()
        seconds = loop.time() - began
        spent = self._cpu() - before
        told = [now - then for now, then in zip(self._frames(), frames, strict=True)]
        sizes = [len(ends) for ends in self._crowds.values()]
        self.load = spent / seconds
        self.waited = (self._waited() - waited) / seconds
        self.flushes = sum(told) / seconds
        self.cpu_us = 1e6 * spent / sum(n * size for n, size in zip(told, sizes, strict=True))
        try:
            await self._all_arrived()
        finally:
            sweeping.cancel()
            for end in self._sampled:
                loop.remove_reader(end.socket)
        return self

    def _heard(self, end: End) -> None:
        locked_at = end.read()
        now = time.time() * 1000
        self.lags += [now - each for each in locked_at]

    async def _sweep(self) -> None:
        while True:
            for first in range(0, len(self._others), SWEEP):
                for end in self._others[first : first + SWEEP]:
                    end.read()
                await asyncio.sleep(SWEEP_SECONDS)

    async def _changes(self) -> None:
        """Lock one seat, release one that was locked a while ago, and so on, evenly spread."""
        loop = asyncio.get_running_loop()
        began, pending = loop.time(), set[asyncio.Task[object]]()
        for n in range(SECONDS * CHANGES_A_SECOND):
            await asyncio.sleep(began + n / CHANGES_A_SECOND - loop.time())
            pending.add(asyncio.create_task(self._change(self._begin + n)))
        await asyncio.gather(*pending)

    async def _change(self, n: int) -> object:
        back = 0 if n % 2 == 0 else SEATS - HELD
        seat = (n // 2 + back) % SEATS
        if n % 2 == 0:
            return await self._store.lock(self._showtime, f"u{seat}", [f"S{seat}"], "")
        return await self._store.release(self._showtime, f"u{seat}", [], "")

    async def _all_arrived(self) -> None:
        """Compare every map with Redis, once all have had the time to be told."""
        stored = await self._store.read(self._showtime)
        assert stored
        try:
            async with asyncio.timeout(LATEST):
                while any(end.state.seq != stored.seq for end in self._ends):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            late = sum(end.state.seq != stored.seq for end in self._ends)
            raise RuntimeError(f"{late} of {len(self._ends)} watchers did not hear all") from None
        wanted = [stored.taken.get(f"S{n}", AVAILABLE) for n in range(SEATS)]
        for state in {end.state for end in self._ends}:
            if (state.epoch, state.states) != (stored.epoch, wanted):
                raise RuntimeError("a watcher's map is not that of Redis")

    def _cpu(self) -> float:
        return sum(server.cpu_seconds() for server in self._crowds)

    def _frames(self) -> list[int]:
        """Return how many frames each server has sent to everybody."""
        return [ends[0].frames for ends in self._crowds.values()]

    def _waited(self) -> float:
        """Seconds that servers could have run, and the machine had no core free for them."""
        try:
            stats = [Path(f"/proc/{server.pid}/schedstat").read_text() for server in self._crowds]
        except OSError:
            return 0.0  # not Linux
        return sum(int(each.split()[1]) for each in stats) / 1e9


def report(runs: list[Run]) -> None:
    ends = [run.percentile(99) for run in runs]
    print(f"{WATCHERS} watchers, {CHANGES_A_SECOND} changes a second on one showtime")
    print(
        f"  script to socket   p50 {median(run.percentile(50) for run in runs):4.0f} ms"
        f"   p99 {median(ends):4.0f} ms ({min(ends):.0f} to {max(ends):.0f})"
        f"   target below {TARGET_MS}"
    )
    flushes, load = median(run.flushes for run in runs), median(run.load for run in runs)
    waited = median(run.waited for run in runs)
    print(
        f"  {flushes:.1f} flushes a second, {CHANGES_A_SECOND / flushes:.0f} changes each;"
        f" {100 * load:.0f} % of a core, and {100 * waited:.0f} % of the time waiting for one"
    )
    print("  no change lost: every map is that of Redis")
