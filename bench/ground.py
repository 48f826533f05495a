"""What every benchmark stands on: real stores, one real server process, people signed in."""

import asyncio
import os
import platform
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import perf_counter
from urllib.parse import urlsplit

import httpx
import psutil
from pydantic import SecretStr

from server.auth.tokens import AccessTokens
from server.catalogue import Auditorium, Cinema, Layout, Movie, Row, Seat, Showtime
from server.embedded import EmbeddedMongo, EmbeddedValkey
from server.models import Money
from server.repo import mongo
from server.repo.cinemas import CinemaRepo
from server.repo.indexes import create_indexes
from server.repo.layouts import LayoutRepo
from server.repo.movies import MovieRepo
from server.repo.showtimes import ShowtimeRepo
from server.repo.users import User
from server.serving import bind
from server.settings import Settings

JWT_SECRET = secrets.token_urlsafe(48)


@dataclass(frozen=True, slots=True)
class Stores:
    redis_url: str
    mongo_uri: str
    folder: Path


@asynccontextmanager
async def stores() -> AsyncIterator[Stores]:
    """Run an empty Valkey (AOF everysec) and an empty MongoDB."""
    with tempfile.TemporaryDirectory(prefix="rowlock-bench-") as folder:
        async with (
            EmbeddedValkey(Path(folder, "valkey")) as valkey,
            EmbeddedMongo(Path(folder, "mongo")) as database,
        ):
            yield Stores(valkey.url, database.uri, Path(folder))


def machine() -> str:
    """Say what the figures were measured on."""
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    return f"{os.cpu_count()} x {cpu}, Python {platform.python_version()}"


async def plan(mongo_uri: str, showtimes: Sequence[str], seats: int) -> list[str]:
    """Put showtimes of so many seats each into the catalogue; returns the seat ids."""
    width = 50
    rows = tuple(
        Row(
            f"R{first // width}",
            tuple(Seat(f"S{n}", n - first) for n in _span(first, width, seats)),
        )
        for first in range(0, seats, width)
    )
    layout = Layout(rows)
    auditorium = Auditorium("aud_bench", "Bench", layout.id)
    cinema = Cinema("cin_bench", "Bench", "Town", "Street 1", "Europe/Berlin", (auditorium,))
    movie = Movie("mov_bench", "Bench", "", (), 90, "0+", date(2026, 1, 1), "#336699")
    starts_at = datetime.now(UTC) + timedelta(days=1)
    database = mongo.connect(mongo_uri)
    try:
        await create_indexes(database)
        layouts = LayoutRepo(database)
        await layouts.add_missing([layout])
        await CinemaRepo(database).add_missing([cinema])
        await MovieRepo(database).add_missing([movie])
        await ShowtimeRepo(database, layouts).add_missing(
            [
                Showtime(
                    id=showtime,
                    movie=movie,
                    cinema=cinema,
                    auditorium=auditorium,
                    layout=layout,
                    starts_at=starts_at,
                    ends_at=starts_at + timedelta(minutes=90),
                    prices={"standard": Money(currency="EUR", minor=1200)},
                )
                for showtime in showtimes
            ]
        )
    finally:
        await mongo.leave(database)
    return list(layout.seat_ids)


def _span(first: int, width: int, end: int) -> range:
    return range(first, min(first + width, end))


def tokens(count: int) -> list[str]:
    """Return access tokens of so many people, as sign-in would mint them."""
    minted = AccessTokens(Settings(jwt_secret=SecretStr(JWT_SECRET), jwt_ttl=86_400))
    people = (User(f"usr_{n}", f"u{n}@example.com", f"U{n}", "USER") for n in range(count))
    return [minted.mint(person)[0] for person in people]


async def introduce(mongo_uri: str, count: int) -> None:
    """Store the people of `tokens`, as if they had signed in."""
    database, now = mongo.connect(mongo_uri), datetime.now(UTC)
    rows = [
        {
            "_id": f"usr_{n}",
            "provider": "bench",
            "sub": f"{n}",
            "email": f"u{n}@example.com",
            "email_verified": True,
            "name": f"U{n}",
            "role": "USER",
            "signed_in_at": now,
        }
        for n in range(count)
    ]
    await database["users"].insert_many(rows)
    await mongo.leave(database)


@dataclass(frozen=True, slots=True)
class Process:
    """One process of ours, and under which address it answers."""

    address: str
    pid: int

    @property
    def host(self) -> str:
        return urlsplit(self.address).netloc

    @property
    def port(self) -> int:
        return urlsplit(self.address).port or 0

    def cpu_seconds(self) -> float:
        """Return what it has used, user and system."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)


@asynccontextmanager
async def server(
    stores: Stores, command: Sequence[str] = ("server", "serve"), **environment: str
) -> AsyncIterator[Process]:
    """Run `rowlock serve`, or another module of Python that serves HTTP on PORT."""
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    async with _process(stores, command, PORT=str(port), **environment) as process:
        address = f"http://127.0.0.1:{port}"
        await _answers(f"{address}/health", process)
        yield Process(address, process.pid)


@asynccontextmanager
async def worker(stores: Stores) -> AsyncIterator[None]:
    """Run `rowlock worker`: the background work, in a process of its own."""
    async with _process(stores, ("server", "worker")):
        yield


@asynccontextmanager
async def _process(
    stores: Stores, command: Sequence[str], **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *command),
        env={
            **os.environ,
            "APP_ENV": "development",
            "REDIS_URL": stores.redis_url,
            "MONGO_URI": stores.mongo_uri,
            "JWT_SECRET": JWT_SECRET,
            "JWT_TTL": "86400",
            "RATE_LIMITS": "off",
            "LOG_LEVEL": "WARNING",
            "DATA_DIR": str(stores.folder / "data"),  # the mails lie there
            **environment,
        },
    )
    try:
        yield process
    finally:
        process.terminate()
        await process.wait()


async def _answers(url: str, process: asyncio.subprocess.Process, seconds: float = 15) -> None:
    deadline = perf_counter() + seconds
    async with httpx.AsyncClient() as client:
        while perf_counter() < deadline and process.returncode is None:
            try:
                if (await client.get(url)).status_code == 200:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.05)
    raise RuntimeError("the server did not start")
