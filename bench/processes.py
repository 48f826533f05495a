"""What a second process adds: deliveries a second of one server process, and of two at once.

Each has as many watchers of its own and is told of the next change as soon as all were told of the
last one, so that each takes a whole core. The browsers' ends read afterwards, since they would need
a core as well. The reference is one of the two alone, in turns with both. Prints medians.

On a machine of two cores a second process has the second one; what a third would add is not known.
"""

import argparse
import asyncio
import sys
from contextlib import AsyncExitStack
from statistics import median

import uvloop

from bench import ground
from bench.browsers import let_open
from bench.fanout import FILES_FOR_OTHERS, crowd

NO_WINDOW = "1e-9"
WARMING = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=40, help="in a measurement")
    parser.add_argument("--watchers", type=int, default=2500, help="of each process")
    options = parser.parse_args()
    let_open(2 * options.watchers + FILES_FOR_OTHERS)
    uvloop.run(measure(options.watchers, options.times, options.rounds))


async def measure(watchers: int, times: int, rounds: int) -> None:
    print(f"machine: {ground.machine()}; {watchers} watchers of each process")
    command = (sys.executable, "-m", "bench.fanout_server", "", NO_WINDOW)
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(crowd(watchers, *command))
        other = await stack.enter_async_context(crowd(watchers, *command))
        await asyncio.gather(one.rate(WARMING), other.rate(WARMING))
        alone, both = [], []
        for _ in range(times):
            alone.append(await one.rate(rounds))
            both.append(sum(await asyncio.gather(one.rate(rounds), other.rate(rounds))))
    ratios = [two / single for single, two in zip(alone, both, strict=True)]
    print(f"  one process     {median(alone):8.0f} deliveries a second")
    print(f"  two processes   {median(both):8.0f} deliveries a second")
    print(f"ratio of two to one  {median(ratios):.2f}  ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
