"""5,000 browsers join one showtime, 500 at a time: CPU, commands to Redis and memory for each.

A real `rowlock serve`, whose showtime no process has watched before, with BACKGROUND_WORK=off and
RATE_LIMITS=off: limits cost Redis one command more for every few sockets of an address. However
many join, it may read the seats once; the benchmark fails when it reads them more often. Beside it,
in turns, a plain Starlette server (`bench.plain_server`) whose route accepts, reads the states from
Redis and sends them. CPU time, user and system, of the server alone; joins per second are of the
whole machine, which browsers' ends and stores share. Memory is what the server's process holds more
of (resident, not shared) when all have joined and nothing happens; what the kernel holds is not in
it.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import httpx
import psutil
import uvloop

from bench import ground
from bench.browsers import connected, let_open
from server.repo.keys import showtime_keys
from server.repo.redis import connect

SEATS = 900
AT_ONCE = 500
WARMING = 200
TARGET_KIB = 16
READ = "hgetall"
"""The command that reads the seats, inside a script or not."""
_UNSEEN = {"info", "client|setinfo", "client|setname", "hello", "select", "ping"}
"""Commands of connections, and of those who count."""


@dataclass(frozen=True, slots=True)
class Joined:
    """What one crowd cost: CPU in us and KiB for each, joins per second, commands in all."""

    cpu: float
    memory: float
    per_second: float
    commands: dict[str, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--watchers", type=int, default=5000)
    options = parser.parse_args()
    let_open(options.watchers + WARMING + 500)
    uvloop.run(measure(options.watchers, options.times))


async def measure(watchers: int, times: int) -> None:
    print(f"machine: {ground.machine()}; servers, browsers' ends and stores share it")
    showtimes = ["sho_warm", *(f"sho_{n}" for n in range(times))]
    ours: list[Joined] = []
    plain: list[Joined] = []
    async with ground.stores() as stores:
        await ground.plan(stores.mongo_uri, showtimes, SEATS)
        for showtime in showtimes[1:]:
            async with ground.server(stores, BACKGROUND_WORK="off") as rowlock:
                await loaded(rowlock.address, showtime)
                paths = [f"/api/showtimes/{each}/live" for each in ("sho_warm", showtime)]
                ours.append(await crowd(stores, rowlock, paths, watchers))
                read_once(ours[-1])
            async with plain_server(stores, showtime) as server:
                plain.append(await crowd(stores, server, ["/join", "/join"], watchers))
    report(watchers, ours, plain)


async def loaded(address: str, showtime: str) -> None:
    """See to it that Redis has the showtime; the live map of this process does not know it yet."""
    async with httpx.AsyncClient(base_url=address) as client:
        (await client.get(f"/api/showtimes/{showtime}/seat-map")).raise_for_status()


@asynccontextmanager
async def plain_server(stores: ground.Stores, showtime: str) -> AsyncIterator[ground.Process]:
    key = showtime_keys(showtime)["seats_key"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.plain_server", stores.redis_url, key),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout
        port = int(await process.stdout.readline())
        yield ground.Process(f"http://127.0.0.1:{port}", process.pid)
    finally:
        process.terminate()
        await process.wait()


async def crowd(
    stores: ground.Stores, server: ground.Process, paths: list[str], count: int
) -> Joined:
    """Let some come to the first path, so that the server has done everything once, and then all
    to the second."""
    sinks = await connected(server.port, paths[0], WARMING)
    before = await commands(stores)
    cpu, memory, began = server.cpu_seconds(), held(server), perf_counter()
    sinks += await connected(server.port, paths[1], count, AT_ONCE)
    seconds = perf_counter() - began
    cpu, memory = server.cpu_seconds() - cpu, held(server) - memory
    after = await commands(stores)
    for sink in sinks:
        sink.transport.abort()  # type: ignore[attr-defined]
    issued = {name: n - before.get(name, 0) for name, n in after.items() if n > before.get(name, 0)}
    return Joined(1e6 * cpu / count, memory / count / 1024, count / seconds, issued)


def read_once(joined: Joined) -> None:
    """Raise RuntimeError unless the one process has read the seats once for all who came."""
    reads = joined.commands.get(READ, 0)
    if reads != 1:
        raise RuntimeError(f"the seats were read {reads} times from Redis, and once is enough")


async def commands(stores: ground.Stores) -> dict[str, int]:
    """Return how often each command was sent to Redis so far."""
    redis = connect(stores.redis_url)
    try:
        stats = await redis.info("commandstats")
    finally:
        await redis.aclose()
    counts = {name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()}
    return {name: count for name, count in counts.items() if name not in _UNSEEN}


def held(server: ground.Process) -> int:
    memory = psutil.Process(server.pid).memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))


def report(watchers: int, ours: list[Joined], plain: list[Joined]) -> None:
    print(f"{watchers} browsers join one showtime of {SEATS} seats, {AT_ONCE} at a time")
    for name, found in (("Rowlock", ours), ("Starlette, plain", plain)):
        print(
            f"  {name:18} {median(each.per_second for each in found):6.0f} joins/s"
            f"  {median(each.cpu for each in found):5.0f} us CPU"
            f"  {median(each.memory for each in found):5.1f} KiB each"
        )
        few = ", ".join(f"{n} {name}" for name, n in sorted(found[-1].commands.items()))
        print(f"  {'':18} commands to Redis, those inside scripts included: {few}")
    for name in ("cpu", "memory"):
        ratios = [getattr(o, name) / getattr(p, name) for o, p in zip(ours, plain, strict=True)]
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"  ratio of {name} to plain {median(ratios):.2f} {spread}")
    print(f"  target: {TARGET_KIB} KiB or less; one read of the showtime, which was kept to")


if __name__ == "__main__":
    main()
