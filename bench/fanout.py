"""Seat changes to browsers: CPU of the server per delivered message, for one process on one core.

Two references on the same sockets, in turns with the real thing: a loop of send() in C (what the
system alone takes: the floor) and a loop of Starlette's `send_text`. A message is one change of
three seats; a round is one message to all. Prints medians of several measurements.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import uvloop

from bench import ground

WAYS = {"c": "send() in C", "rowlock": "Rowlock", "starlette": "Starlette send_text"}
HELLO = (
    b"GET /watch HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
AT_ONCE = 100
RESTING = 2.0


class Sink(asyncio.Protocol):
    """A browser's end of a connection: what comes is counted and forgotten."""

    def __init__(self) -> None:
        self.received = 0
        self.welcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(HELLO)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if not self.welcome.done() and b"snapshot" in data:
            self.welcome.set_result(None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=20, help="in a measurement")
    parser.add_argument("--watchers", type=int, nargs="*", default=[1000])
    options = parser.parse_args()
    uvloop.run(measure(options.watchers, options.times, options.rounds))


async def measure(sizes: list[int], times: int, rounds: int) -> None:
    print(f"machine: {ground.machine()}; the server and the browsers' ends share it")
    with tempfile.TemporaryDirectory(prefix="rowlock-bench-") as folder:
        library = await compiled(Path(folder))
        for watchers in sizes:
            async with server(library) as port:
                await one_size(port, watchers, times, rounds, with_c=bool(library))


async def compiled(folder: Path) -> str:
    """Return the path of the C loop as a library; "" when there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return ""
    library, source = folder / "send_loop.so", Path(__file__).with_name("send_loop.c")
    process = await asyncio.create_subprocess_exec(
        compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source)
    )
    return str(library) if await process.wait() == 0 else ""


@asynccontextmanager
async def server(library: str) -> AsyncIterator[int]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.fanout_server", library), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout
        yield int(await process.stdout.readline())
    finally:
        process.terminate()
        await process.wait()


async def one_size(port: int, watchers: int, times: int, rounds: int, *, with_c: bool) -> None:
    ways = [way for way in WAYS if with_c or way != "c"]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:

        async def ask(way: str, count: int) -> dict[str, Any]:
            answer = await client.get("/measure", params={"way": way, "rounds": count})
            return dict(answer.raise_for_status().json())

        await ask("rowlock", 1)
        bare = (await ask("starlette", 1))["resident"]
        sinks = await connected(port, watchers)
        idle = await ask("rowlock", 1)
        figures: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
        for _ in range(times):
            for way in ways:
                figures[way].append(await counted(sinks, ask(way, rounds)))
    memory = (idle["resident"] - bare) / watchers / 1024
    report(watchers, figures, memory)


async def connected(port: int, count: int) -> list[Sink]:
    """Open so many watchers, and wait until each has its snapshot."""
    loop, sinks = asyncio.get_running_loop(), list[Sink]()
    while len(sinks) < count:
        some = min(AT_ONCE, count - len(sinks))
        opening = [loop.create_connection(Sink, "127.0.0.1", port) for _ in range(some)]
        opened = [sink for _, sink in await asyncio.gather(*opening)]
        await asyncio.gather(*(sink.welcome for sink in opened))
        sinks += opened
    return sinks


async def counted(sinks: list[Sink], asked: Any) -> dict[str, Any]:
    """Measure, and make sure that every browser got every message."""
    before = sum(sink.received for sink in sinks)
    figure: dict[str, Any] = await asked
    wanted = figure["deliveries"] * (figure["bytes"] - 8)  # numbers grow by a digit now and then
    for _ in range(round(RESTING / 0.05)):
        if sum(sink.received for sink in sinks) - before >= wanted:
            return figure
        await asyncio.sleep(0.05)
    raise RuntimeError("not every message has arrived")


def report(watchers: int, figures: dict[str, list[dict[str, Any]]], memory: float) -> None:
    spent = {
        way: [1e6 * one["seconds"] / one["deliveries"] for one in found]
        for way, found in figures.items()
    }
    size = figures["rowlock"][0]["bytes"]
    print(f"{watchers} watchers, {size} bytes a message, {memory:.1f} KiB for each idle watcher")
    for way, each in spent.items():
        cost = median(each)
        spread = f"({min(each):.2f} to {max(each):.2f})"
        print(f"  {WAYS[way]:20} {cost:6.2f} us {spread:16} {1e6 / cost:8.0f} /s on one core")
    if "c" not in spent:
        print("  send() in C          not measured: install a C compiler (cc)")
    for way, name in (("c", "floor in C"), ("starlette", "Starlette")):
        if way in spent:
            pairs = [ours / theirs for ours, theirs in zip(spent["rowlock"], spent[way])]  # noqa: B905
            low, high = min(pairs), max(pairs)
            print(f"  CPU ratio to {name:11} {median(pairs):.3f}  (from {low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
