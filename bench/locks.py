"""Seat locks per second over HTTP: three seats, signed in, 32 connections, one server process.

Two references, measured in the same call: an empty route of the same server (what HTTP costs
here), and the bare script under redis-benchmark (what Redis could do). Each request is the first
lock of its user on its showtime, so that all are granted. Prints medians of several rounds.
"""

import argparse
import asyncio
import csv
import json
import shutil
from datetime import UTC, datetime, timedelta
from statistics import median
from urllib.parse import urlsplit

import uvloop

from bench import ground, http_load
from server import lua
from server.repo.claims import ClaimStore
from server.repo.keys import showtime_keys
from server.repo.redis import Scripts, connect

CONNECTIONS = 32
SEATS = 900
PEOPLE = 300
SEATS_A_LOCK = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=9_000, help="a round")
    options = parser.parse_args()
    uvloop.run(measure(options.rounds, options.requests))


async def measure(rounds: int, requests: int) -> None:
    print(f"machine: {ground.machine()}; server, load, Valkey and MongoDB share it")
    showtimes = [f"sho_{n}" for n in range(requests // PEOPLE)]
    people = ground.tokens(PEOPLE)
    async with ground.stores() as stores:
        seats = await ground.plan(stores.mongo_uri, showtimes, SEATS)
        async with ground.server(stores) as address:
            figures = [
                await one_round(stores, address, people, showtimes, seats) for _ in range(rounds)
            ]
        script = await bare_script(stores.redis_url)
    report(figures, script)


async def one_round(
    stores: ground.Stores, address: str, people: list[str], showtimes: list[str], seats: list[str]
) -> tuple[http_load.Result, http_load.Result]:
    """Measure the empty route, then the locks, on showtimes that are loaded and all free."""
    host = urlsplit(address).netloc
    redis = connect(stores.redis_url)
    await redis.flushall()
    await redis.aclose()
    loading = [http_load.request("GET", host, f"/api/showtimes/{s}/seat-map") for s in showtimes]
    await http_load.run(address, loading, 4)
    empty = [http_load.request("GET", host, "/health/live")] * (len(showtimes) * len(people))
    reference = await http_load.run(address, empty, CONNECTIONS)
    locks = [
        http_load.request(
            "POST",
            host,
            f"/api/showtimes/{showtime}/seats/lock",
            token,
            json.dumps({"seats": seats[n * SEATS_A_LOCK :][:SEATS_A_LOCK]}).encode(),
        )
        for showtime in showtimes
        for n, token in enumerate(people)
    ]
    granted = await http_load.run(address, locks, CONNECTIONS)
    if granted.statuses != {"200": len(locks)}:
        raise RuntimeError(f"not every lock was granted: {granted.statuses}")
    return reference, granted


async def bare_script(url: str) -> float | None:
    """Return lock scripts per second as redis-benchmark gets them; None when it is not there."""
    binary = shutil.which("redis-benchmark")
    if binary is None:
        return None
    redis, showtime = connect(url), "sho_bare"
    claims = ClaimStore(Scripts(redis))
    await claims.begin_rebuild(showtime, "bench", "")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    await claims.rebuild(showtime, "bench", closes_at=tomorrow, blocked=[], claims=[])
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


def report(figures: list[tuple[http_load.Result, http_load.Result]], script: float | None) -> None:
    empty = median(reference.per_second for reference, _ in figures)
    locks = median(granted.per_second for _, granted in figures)
    ratio = median(granted.per_second / reference.per_second for reference, granted in figures)
    p99 = median(granted.p99_ms for _, granted in figures)
    print(f"empty route      {empty:8.0f} /s   p99 {median(r.p99_ms for r, _ in figures):.1f} ms")
    print(f"lock 3 seats     {locks:8.0f} /s   p99 {p99:.1f} ms")
    if script is None:
        print("bare script      not measured: install redis-benchmark (Debian: redis-tools)")
    else:
        print(f"bare script      {script:8.0f} /s   under redis-benchmark")
        print(f"ratio to the bare script  {locks / script:.3f}")
    spread = [granted.per_second / reference.per_second for reference, granted in figures]
    print(f"ratio to the empty route  {ratio:.3f}  (rounds {min(spread):.3f} to {max(spread):.3f})")


if __name__ == "__main__":
    main()
