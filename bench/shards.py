"""What a second shard adds: the seats of many showtimes on a cluster of one shard, and of two.

The real scripts through the real stores, as a server calls them, on two clusters of Valkey that
stand at once. Each change locks two seats or gives them back, at showtimes in turn, and is counted
before against the limits of a person and of an address who were not here yet. On two cores no
shard has one to itself, so it is the CPU that is counted: what each shard takes for a change. A
shard can do so many as fill its core, and a cluster so many as fill the core of its busiest. What
they cost the caller, who holds a connection to each shard, is told beside it. In turns; medians.
"""

import argparse
import asyncio
import itertools
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import uvloop

from bench import ground
from bench.locks import load
from server.rate_limits import RateLimits
from server.repo.claims import ClaimStore
from server.repo.rate_limits import TokenBuckets
from server.repo.redis import Scripts, connect
from server.repo.seats import SeatStore
from tests.redis_clusters import Cluster, cluster

SHOWTIMES = 2000
CALLERS = 64
"""For each shard: what comes at once goes in one write, which costs less."""


@dataclass(frozen=True, slots=True)
class Run:
    """CPU of one run, in us for each change: of every shard, and of the caller."""

    shards: tuple[float, ...]
    caller: float

    @property
    def busiest(self) -> float:
        return max(self.shards)


class Field:
    """A cluster with showtimes that are open."""

    def __init__(
        self, made: Cluster, store: SeatStore, limits: RateLimits | None, showtimes: list[str]
    ) -> None:
        self._store = store
        self._limits = limits
        self._showtimes = showtimes
        self._people = itertools.count()
        self._shards = [
            ground.Process(node.url, int(node.pid_file.read_text())) for node in made.masters
        ]

    async def run(self, changes: int) -> Run:
        before, began = self._spent(), time.process_time()
        turns = itertools.islice(itertools.cycle(self._showtimes), changes // 2)
        async with asyncio.TaskGroup() as together:
            for caller in range(CALLERS * len(self._shards)):
                together.create_task(self._call(f"usr_{caller}", caller, turns))
        caller = time.process_time() - began
        spent = [now - then for now, then in zip(self._spent(), before, strict=True)]
        return Run(tuple(1e6 * each / changes for each in spent), 1e6 * caller / changes)

    async def _call(self, user: str, number: int, turns: "itertools.islice[str]") -> None:
        seats = [f"S{2 * number}", f"S{2 * number + 1}"]
        for showtime in turns:
            await self._be_counted()
            await self._store.lock(showtime, user, seats, "")
            await self._be_counted()
            await self._store.release(showtime, user, [], "")

    async def _be_counted(self) -> None:
        if self._limits:
            n = next(self._people)
            await self._limits.count("lock", user=f"usr_{n}", address=f"{n}")

    def _spent(self) -> list[float]:
        return [shard.cpu_seconds() for shard in self._shards]


@asynccontextmanager
async def field(folder: Path, shards: int, *, limited: bool) -> AsyncIterator[Field]:
    async with cluster(folder, masters=shards) as made, AsyncExitStack() as stack:
        redis = connect(made.url)
        stack.push_async_callback(redis.aclose)
        scripts, showtimes = Scripts(redis), [f"sho_{n}" for n in range(SHOWTIMES)]
        for showtime in showtimes:
            await load(ClaimStore(scripts), showtime)
        store = SeatStore(redis, scripts, ttl_seconds=300, max_seats_per_user=10)
        limits = RateLimits(TokenBuckets(scripts)) if limited else None
        yield Field(made, store, limits, showtimes)


async def measure(changes: int, times: int, *, limited: bool) -> None:
    print(f"machine: {ground.machine()}; shards and caller share it")
    with tempfile.TemporaryDirectory(prefix="rowlock-bench-") as folder:
        async with (
            field(Path(folder, "one"), 1, limited=limited) as one,
            field(Path(folder, "two"), 2, limited=limited) as two,
        ):
            for each in one, two:
                await each.run(changes // 10)
            alone, shared = [], []
            for _ in range(times):
                alone.append(await one.run(changes))
                shared.append(await two.run(changes))
    report(alone, shared)


def report(alone: list[Run], shared: list[Run]) -> None:
    for name, runs in ("one shard", alone), ("two shards", shared):
        each = " + ".join(f"{median(us):.1f}" for us in zip(*(r.shards for r in runs), strict=True))
        busiest, caller = median(r.busiest for r in runs), median(r.caller for r in runs)
        print(
            f"  {name:10}  {each} us of the shards' CPU a change, {caller:.0f} us of the caller's;"
            f" a core each does {1e6 / busiest:,.0f} changes a second"
        )
    adds = [a.busiest / b.busiest for a, b in zip(alone, shared, strict=True)]
    costs = [b.caller / a.caller for a, b in zip(alone, shared, strict=True)]
    print(
        f"ratio of two to one, capacity  {median(adds):.2f}  ({min(adds):.2f} to {max(adds):.2f})"
        "   2 would be all of it"
    )
    print(f"ratio of two to one, the caller's CPU  {median(costs):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--changes", type=int, default=40_000)
    parser.add_argument("--limits", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    uvloop.run(measure(options.changes, options.times, limited=options.limits))


if __name__ == "__main__":
    main()
