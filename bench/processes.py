"""What a second server process adds: one that tells all watchers of a showtime, and two that share
them.

The storm of `bench.storm` on real servers, as `rowlock serve --workers` runs them, on one Valkey;
each of two has half of the watchers, hears every change, and tells its own. What is asked: does a
delivery cost the same, so that each process brings what its core can do. In turns; prints medians,
and ratios of turns. How late a change arrives is told beside it: browsers' ends and whoever changes
seats take a core as well, so that on two cores the two servers never have one each.
"""

import argparse
from collections.abc import Sequence
from contextlib import AsyncExitStack
from statistics import median

import uvloop

from bench import ground
from bench.browsers import let_open
from bench.fanout import FILES_FOR_OTHERS
from bench.storm import CHANGES_A_SECOND, Run, changing, watching

ALONE, SHARED = "sho_alone", "sho_shared"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--watchers", type=int, default=4000)
    options = parser.parse_args()
    let_open(2 * options.watchers + FILES_FOR_OTHERS)
    uvloop.run(measure(options.watchers, options.times))


async def measure(watchers: int, times: int) -> None:
    print(f"machine: {ground.machine()}; servers, browsers' ends and stores share it")
    async with AsyncExitStack() as stack:
        stores = await stack.enter_async_context(ground.stores())
        first, *both = [
            await stack.enter_async_context(ground.server(stores, BACKGROUND_WORK="off"))
            for _ in range(3)
        ]
        await stack.enter_async_context(ground.worker(stores))
        store = await stack.enter_async_context(changing(stores, ALONE, SHARED))
        alone = await watching(store, ALONE, {first: watchers})
        shared = await watching(store, SHARED, dict.fromkeys(both, watchers // 2))
        one, two = [], []
        for n in range(times):
            one.append(await Run(store, ALONE, alone, n).go())
            two.append(await Run(store, SHARED, shared, n).go())
    report(watchers, one, two)


def report(watchers: int, one: Sequence[Run], two: Sequence[Run]) -> None:
    print(f"{watchers} watchers, {CHANGES_A_SECOND} changes a second on one showtime")
    for name, runs in ("one process", one), ("two processes", two):
        cost, late = median(run.cpu_us for run in runs), median(run.percentile(99) for run in runs)
        flushes, load = median(run.flushes for run in runs), median(run.load for run in runs)
        print(
            f"  {name:14} {cost:6.2f} us of CPU a delivery, script to socket p99 {late:4.0f} ms,"
            f" {flushes:.0f} flushes a second, {100 * load:.0f} % of a core"
        )
    ratios = [b.cpu_us / a.cpu_us for a, b in zip(one, two, strict=True)]
    spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
    print(f"ratio of two to one, CPU of a delivery  {median(ratios):.2f}  {spread}")


if __name__ == "__main__":
    main()
