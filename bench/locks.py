"""Seat locks per second over HTTP: three seats, signed in, 32 connections, one server process.

References, measured in turns with the real thing: an empty route of the same server (what HTTP
costs here), two plain paths, and the bare script under redis-benchmark. One plain path is a server
that does little else (`bench.plain_locks`: verify, validate, one EVALSHA; no audit log, no limits,
no headers), the other is Rowlock with the same promises, but without the remembered tokens, the
shared connection and the gathered writes (`bench.changed_server`). Then Rowlock without its promise
that an audit entry is in MongoDB before the answer, and the real thing in other shapes: one
showtime or ten thousand, a hundred seats in each or eighty thousand.

Each request is the first lock of its user on its showtime, so that all are granted, and their
audit entries are in MongoDB before they are answered. The background work has a process of its own,
as with `rowlock serve --workers`. Prints medians of several rounds; CPU is that of the server.
"""

import argparse
import asyncio
import csv
import json
import shutil
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from statistics import median
from urllib.parse import urlsplit

import uvloop

from bench import ground, http_load
from server import lua
from server.repo.claims import ClaimStore
from server.repo.keys import showtime_keys
from server.repo.redis import Scripts, connect

CONNECTIONS = 32
SEATS_A_LOCK = 3
LOADED_AT_ONCE = 50
EMPTY, PLAIN = "empty route", "plain path"
SAME_PROMISES, UNJOURNALLED = "plain path, same promises", "audit entry left to the relay"
OTHERS = {
    PLAIN: ("bench.plain_locks",),
    SAME_PROMISES: ("bench.changed_server", "plain", "serve"),
    UNJOURNALLED: ("bench.changed_server", "unjournalled", "serve"),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """So many showtimes, and so many seats in each."""

    showtimes: int
    seats: int

    @property
    def ids(self) -> list[str]:
        return [f"sho_{self.showtimes}_{self.seats}_{n}" for n in range(self.showtimes)]

    def __str__(self) -> str:
        return f"{self.showtimes:,} showtimes of {self.seats:,} seats"


USUAL = Shape(30, 900)
SHAPES = (Shape(1, 80_000), Shape(300, 100), USUAL, Shape(10_000, 100))


@dataclass(frozen=True, slots=True)
class Figure:
    per_second: float
    p99_ms: float
    cpu_us: float
    """CPU of the server for each request."""


class Bench:
    def __init__(self, stores: ground.Stores, rowlock: ground.Process, requests: int) -> None:
        self._stores = stores
        self._rowlock = rowlock
        self._requests = requests
        self._people = ground.tokens(requests)
        self._seats: dict[Shape, list[str]] = {}

    async def prepare(self, shapes: Sequence[Shape]) -> None:
        """Plan the showtimes, and have each token and each showtime seen once."""
        for shape in shapes:
            self._seats[shape] = await ground.plan(self._stores.mongo_uri, shape.ids, shape.seats)
        await self.introduce(self._rowlock, shapes)

    async def introduce(self, process: ground.Process, shapes: Sequence[Shape]) -> None:
        for shape in shapes:
            await self._empty_stores(shape)
            looking = [_ask(process.host, "GET", each, self._people[0]) for each in shape.ids]
            await http_load.run(process.address, looking, 8)
        greeting = [_ask(process.host, "GET", shapes[0].ids[0], each) for each in self._people]
        await http_load.run(process.address, greeting, 8)

    async def empty_route(self) -> Figure:
        requests = [http_load.request("GET", self._rowlock.host, "/health/live")]
        return await self._measured(self._rowlock, requests * self._requests)

    async def locks(self, shape: Shape, process: ground.Process | None = None) -> Figure:
        """`process`: another than Rowlock's."""
        process = process or self._rowlock
        await self._empty_stores(shape)
        return await self._measured(process, self._locking(process, shape))

    async def _empty_stores(self, shape: Shape) -> None:
        """Forget every lock, and load the showtimes of `shape` anew."""
        redis = connect(self._stores.redis_url)
        await redis.flushall()
        claims, showtimes = ClaimStore(Scripts(redis)), iter(shape.ids)
        while some := list(islice(showtimes, LOADED_AT_ONCE)):
            await asyncio.gather(*(load(claims, showtime) for showtime in some))
        await redis.aclose()

    def _locking(self, process: ground.Process, shape: Shape) -> list[bytes]:
        seats, ids, count = self._seats[shape], shape.ids, self._requests
        return [
            _ask(
                process.host,
                "POST",
                ids[n % len(ids)],
                self._people[n // len(ids)],
                json.dumps({"seats": seats[n // len(ids) * SEATS_A_LOCK :][:SEATS_A_LOCK]}),
            )
            for n in range(count)
        ]

    async def _measured(self, process: ground.Process, requests: list[bytes]) -> Figure:
        before = process.cpu_seconds()
        result = await http_load.run(process.address, requests, CONNECTIONS)
        spent = process.cpu_seconds() - before
        if result.statuses != {"200": len(requests)}:
            raise RuntimeError(f"not all was granted: {result.statuses}")
        return Figure(result.per_second, result.p99_ms, spent / len(requests) * 1e6)


def _ask(host: str, method: str, showtime: str, token: str, body: str = "") -> bytes:
    path = f"/api/showtimes/{showtime}/seats/lock"
    return http_load.request(method, host, path, token, body.encode())


async def load(claims: ClaimStore, showtime: str) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    await claims.begin_rebuild(showtime, "bench", "")
    await claims.rebuild(showtime, "bench", closes_at=tomorrow, blocked=[], claims=[])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=9_000, help="in a measurement")
    parser.add_argument("--shapes", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    uvloop.run(measure(options.rounds, options.requests, SHAPES if options.shapes else [USUAL]))


async def measure(rounds: int, requests: int, shapes: Sequence[Shape]) -> None:
    print(f"machine: {ground.machine()}; server, worker, load, Valkey and MongoDB share it")
    figures: dict[str, list[Figure]] = {}
    async with AsyncExitStack() as stack:
        stores = await stack.enter_async_context(ground.stores())
        rowlock = await stack.enter_async_context(ground.server(stores, BACKGROUND_WORK="off"))
        others = {
            name: await stack.enter_async_context(
                ground.server(stores, command, BACKGROUND_WORK="off")
            )
            for name, command in OTHERS.items()
        }
        await stack.enter_async_context(ground.worker(stores))
        bench = Bench(stores, rowlock, requests)
        await bench.prepare(shapes)
        for name in (SAME_PROMISES, UNJOURNALLED):
            await bench.introduce(others[name], [USUAL])
        for _ in range(rounds):
            for name, work in (
                (EMPTY, bench.empty_route()),
                *((name, bench.locks(USUAL, other)) for name, other in others.items()),
                *((str(shape), bench.locks(shape)) for shape in shapes),
            ):
                figures.setdefault(name, []).append(await work)
        script = await bare_script(stores.redis_url)
    report(figures, script)


async def bare_script(url: str) -> float | None:
    """Return lock scripts per second as redis-benchmark gets them; None when it is not there."""
    binary = shutil.which("redis-benchmark")
    if binary is None:
        return None
    redis, showtime = connect(url), "sho_bare"
    await load(ClaimStore(Scripts(redis)), showtime)
    script = lua.load("lock_seats")
    sha = await redis.script_load(script.source)
    await redis.aclose()
    keys = [showtime_keys(showtime)[name] for name in script.keys]
    asked = [showtime, "usr___rand_int__", "usr_bench", "lock_bench", "300000", "10"]
    args = [*asked, "0", "", "0", "req_bench"]  # nothing is done against hoarding
    wanted = [f"{letter}__rand_int__" for letter in "ABC"]
    server = urlsplit(url)
    process = await asyncio.create_subprocess_exec(
        *(binary, "-h", str(server.hostname), "-p", str(server.port)),
        *("-c", str(CONNECTIONS), "-n", "100000", "-r", "1000000000000", "--csv"),
        *("EVALSHA", sha, str(len(keys)), *keys, *args, *wanted),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return float(list(csv.reader(output.decode().splitlines()))[-1][1])


def report(figures: dict[str, list[Figure]], script: float | None) -> None:
    for name, found in figures.items():
        per_second, p99, cpu = (
            median(getattr(each, field) for each in found)
            for field in ("per_second", "p99_ms", "cpu_us")
        )
        print(f"  {name:34} {per_second:7.0f} /s   p99 {p99:5.1f} ms   CPU {cpu:4.0f} us")
    usual = figures[str(USUAL)]
    if script is None:
        print("  bare script      not measured: install redis-benchmark (Debian: redis-tools)")
    else:
        print(f"  {'bare script':34} {script:7.0f} /s   under redis-benchmark")
    compare("to the empty route", usual, figures[EMPTY], "at least 0.45")
    compare("to the plain path ", usual, figures[PLAIN], "at least 2")
    compare("to the plain path with the same promises", usual, figures[SAME_PROMISES], "-")
    compare(f"{UNJOURNALLED}, to the empty route", figures[UNJOURNALLED], figures[EMPTY], "-")
    compare(f"{UNJOURNALLED}, to the plain path", figures[UNJOURNALLED], figures[PLAIN], "-")
    for name, found in figures.items():
        if "showtimes" in name and found is not usual:
            compare(f"{name} to {USUAL}", found, usual, "0.85 to 1.15")


def compare(name: str, ours: list[Figure], theirs: list[Figure], target: str) -> None:
    """Print ratios of the rounds, of requests per second and of requests per second of CPU."""
    pairs = list(zip(ours, theirs, strict=True))
    speed = [our.per_second / their.per_second for our, their in pairs]
    cpu = median(their.cpu_us / our.cpu_us for our, their in pairs)
    spread = f"{min(speed):.3f} to {max(speed):.3f}"
    print(f"ratio {name}  {median(speed):.3f}  ({spread}; target {target}); by CPU {cpu:.3f}")


if __name__ == "__main__":
    main()
