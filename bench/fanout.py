"""Seat changes to browsers: CPU of the server per delivered message, for one process on one core.

Beside it, in turns and in any order: a loop of send() in C on the same sockets (what the system
alone takes), a plain Starlette server with a task and a queue for each socket, a bare loop of
`send_text` in that server (`bench.plain_server`), and Node with `ws`; these with as many sockets of
their own. A message is one change of three seats; a round is one message to all; each turn begins
with a few rounds that do not count, and nobody is pinged. Every browser's end has to get each
message by itself: two that were folded into one would halve the cost. Prints medians, and ratios of
turns. CPU time, user and system, of the server's process alone: a busy machine disturbs it by its
caches only.

Then `bench.storm`: how late a change arrives when there are many.
"""

import argparse
import asyncio
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import uvloop

from bench import ground, storm
from bench.browsers import Sink, connected, let_open

NAMES = {
    "c": "send() in C",
    "rowlock": "Rowlock",
    "node": "Node ws",
    "loop": "Starlette, bare loop",
    "plain": "Starlette, plain",
}
TARGETS = {"c": (1 / 0.8, "at most"), "node": (1.3, "at least"), "plain": (2.5, "at least")}
"""CPU: ours to that of C, and theirs to ours."""
MESSAGE = b"x" * 171
PAUSE_SECONDS = 0.06
PAUSE_PER_WATCHER = 30e-6
"""Longer together than a round and the window after it: each change is a flush of its own."""
RESTING = 5.0
WARMING = 3
FILES_FOR_OTHERS = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=20, help="in a measurement")
    parser.add_argument("--watchers", type=int, nargs="*", default=[1000, 5000])
    parser.add_argument("--no-storm", action="store_true")
    options = parser.parse_args()
    let_open(3 * max([storm.WATCHERS, *options.watchers]) + FILES_FOR_OTHERS)
    uvloop.run(measure(options.watchers, options.times, options.rounds))
    if not options.no_storm:
        uvloop.run(storm.measure(options.times))


async def measure(sizes: list[int], times: int, rounds: int) -> None:
    print(f"machine: {ground.machine()}; the servers and the browsers' ends share it")
    with tempfile.TemporaryDirectory(prefix="rowlock-bench-") as folder:
        library = compiled(Path(folder))
        node = installed(Path(folder))
        for watchers in sizes:
            async with AsyncExitStack() as stack:
                ours = (sys.executable, "-m", "bench.fanout_server", library)
                crowds = [await stack.enter_async_context(crowd(watchers, *ours))]
                ways = {"rowlock": crowds[0], **({"c": crowds[0]} if library else {})}
                plain = (sys.executable, "-m", "bench.plain_server")
                ways["plain"] = await stack.enter_async_context(crowd(watchers, *plain))
                ways["loop"] = ways["plain"]
                if node:
                    ways["node"] = await stack.enter_async_context(crowd(watchers, "node", node))
                figures: dict[str, list[float]] = {way: [] for way in ways}
                for _ in range(times):
                    for way in random.sample(list(ways), len(ways)):
                        await ways[way].cost(way, WARMING)
                        figures[way].append(await ways[way].cost(way, rounds))
                report(watchers, figures)


def compiled(folder: Path) -> str:
    """Return the path of the C loop as a library; "" when there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        print("send() in C is not measured: install a C compiler (cc)")
        return ""
    library, source = folder / "send_loop.so", Path(__file__).with_name("send_loop.c")
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source)]
    subprocess.run(command, check=True)
    return str(library)


def installed(folder: Path) -> str:
    """Install `ws` into `folder`; returns the path of the server, "" when that cannot be had."""
    if not (shutil.which("node") and (npm := shutil.which("npm"))):
        print("Node ws is not measured: install node and npm")
        return ""
    shutil.copytree(Path(__file__).with_name("fanout_ws"), folder / "ws")
    quiet = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(
        [npm, "install", *quiet], cwd=folder / "ws", capture_output=True, text=True
    )
    if done.returncode:
        print(f"Node ws is not measured: npm install failed: {done.stderr.strip()[-200:]}")
        return ""
    return str(folder / "ws" / "server.mjs")


class Crowd:
    """A server, and so many browsers' ends."""

    def __init__(self, client: httpx.AsyncClient, sinks: list[Sink]) -> None:
        self._client = client
        self._sinks = sinks

    async def cost(self, way: str, rounds: int) -> float:
        """Return the CPU of a delivery in us.

        Raises RuntimeError unless every browser got each message as a frame of its own, no more
        and no less.
        """
        wanted = [sink.frames + rounds for sink in self._sinks]
        pause = PAUSE_SECONDS + PAUSE_PER_WATCHER * len(self._sinks)
        asked = {"way": way, "rounds": rounds, "pause": pause}
        answer = await self._client.post("/measure", params=asked, content=MESSAGE)
        figure: dict[str, Any] = answer.raise_for_status().json()
        assert figure["deliveries"] == rounds * len(self._sinks)
        for _ in range(round(RESTING / 0.05)):
            if self._got() == wanted:
                return 1e6 * float(figure["seconds"]) / int(figure["deliveries"])
            await asyncio.sleep(0.05)
        odd = sum(got != due for got, due in zip(self._got(), wanted, strict=True))
        raise RuntimeError(f"{NAMES[way]}: {odd} of {len(wanted)} got more or less than was sent")

    def _got(self) -> list[int]:
        return [sink.frames for sink in self._sinks]


@asynccontextmanager
async def crowd(watchers: int, *command: str) -> AsyncIterator[Crowd]:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    sinks: list[Sink] = []
    try:
        assert process.stdout
        port = int(await process.stdout.readline())
        sinks = await connected(port, "/watch", watchers)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
            yield Crowd(client, sinks)
    finally:
        for sink in sinks:
            sink.transport.abort()  # type: ignore[attr-defined]
        process.terminate()
        await process.wait()


def report(watchers: int, figures: dict[str, list[float]]) -> None:
    print(f"{watchers} watchers, messages of 175 bytes, CPU of the server for each")
    for way in (way for way in NAMES if way in figures):
        cost, spread = median(figures[way]), f"({min(figures[way]):.2f} to {max(figures[way]):.2f})"
        print(f"  {NAMES[way]:21} {cost:6.2f} us {spread:16} {1e6 / cost:8.0f} /s on one core")
    for way in (way for way in NAMES if way in figures and way != "rowlock"):
        pairs = list(zip(figures["rowlock"], figures[way], strict=True))
        ratios = [ours / theirs if way == "c" else theirs / ours for ours, theirs in pairs]
        of = "Rowlock to C" if way == "c" else f"{NAMES[way]} to Rowlock"
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        target = "{1} {0:.2f}".format(*TARGETS[way]) if way in TARGETS else "-"
        print(f"  CPU, {of:32} {median(ratios):5.2f}  {spread:16} target {target}")


if __name__ == "__main__":
    main()
