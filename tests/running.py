"""Rowlock as its clients meet it: the whole server on a real socket, and people signed in to it.

One server serves all tests of a module; what keeps them apart is that each plans showtimes of its
own. A module gets it by `server = served()` and marks its tests `IN_MODULE_LOOP`.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette

from server.app import build
from server.catalogue import Auditorium, Layout, Row, Seat
from server.embedded import EmbeddedMongo, EmbeddedValkey
from server.models import new_id
from server.repo.mongo import Database
from server.serving import bind, serve
from server.settings import Settings
from tests.auth_flow import settings_for
from tests.programme import CINEMA, a_showtime, store
from tests.stored import Stored, stores

IN_MODULE_LOOP = pytest.mark.asyncio(loop_scope="module")

HALL = Layout(
    (
        Row("A", tuple(Seat(f"A{n}", n - 1, accessible=n == 1) for n in range(1, 9))),
        Row("B", tuple(Seat(f"B{n}", n - 1, "premium") for n in range(1, 9))),
    )
)
"""A1..A8 at 10.00, B1..B8 at 15.00."""

HALL_CINEMA = replace(CINEMA, auditoriums=(Auditorium("aud_a", "Hall A", HALL.id),))

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers at `url`. Clients hold an access token, except `visitor`."""

    url: str
    settings: Settings
    app: Starlette
    stored: Stored
    visitor: httpx.AsyncClient
    ada: httpx.AsyncClient
    bob: httpx.AsyncClient
    eve: httpx.AsyncClient

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.settings.port

    async def showtime(self, starts_in: timedelta = timedelta(days=1), **changes: Any) -> str:
        """Plan one more showtime in HALL and return its id."""
        return await plan(self.stored.database, starts_in, **changes)


async def plan(database: Database, starts_in: timedelta = timedelta(days=1), **changes: Any) -> str:
    planned = a_showtime(
        new_id("sho"),
        datetime.now(UTC) + starts_in,
        **{"layout": HALL, "cinema": HALL_CINEMA, **changes},
    )
    await store(database, planned)
    return planned.id


def served(name: str = "server", **changes: Any) -> Any:
    """Return a fixture: a server with these settings for all tests of a module."""

    @pytest_asyncio.fixture(scope="module", loop_scope="module", name=name)
    async def fixture(valkey: EmbeddedValkey, mongo: EmbeddedMongo) -> AsyncIterator[Running]:
        async with running(valkey, mongo, **changes) as server:
            yield server

    return fixture


@asynccontextmanager
async def running(
    valkey: EmbeddedValkey, mongod: EmbeddedMongo, **changes: Any
) -> AsyncIterator[Running]:
    """Run a server on empty stores for as long as the context lasts."""
    async with stores(valkey, mongod) as stored, AsyncExitStack() as stack:
        listener = stack.enter_context(bind("127.0.0.1", 0))
        # uvloop does so by itself; asyncio's own loop would make each answer wait 40 ms for an ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        port = listener.getsockname()[1]
        place = {
            "data_dir": Path(stack.enter_context(TemporaryDirectory())),
            "redis_url": stored.redis_url,
            "mongo_uri": stored.mongo_uri,
        }
        settings = settings_for(port=port, **place | changes)
        app = build(settings)
        await stack.enter_async_context(_serving(app, listener))
        url = f"http://127.0.0.1:{port}"
        clients = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=20))
            for _ in range(4)
        ]
        for client, name in zip(clients[1:], ("ada", "bob", "eve"), strict=True):
            await sign_in(client, f"{name}@example.com")
        yield Running(url, settings, app, stored, *clients)


@asynccontextmanager
async def _serving(app: Starlette, listener: socket.socket) -> AsyncIterator[None]:
    ready = asyncio.Event()
    server = asyncio.create_task(serve(app, listener, ready.set))
    try:
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({server, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if server.done():
            await server
        yield
    finally:
        server.cancel()
        with suppress(asyncio.CancelledError):
            await server


async def sign_in(client: httpx.AsyncClient, email: str) -> None:
    """Go through the provider and back, then let `client` carry the access token."""
    address = f"/api/auth/google/login?login_hint={email}"
    for _ in range(3):  # to the provider, back to us, to the page
        step = await client.get(address)
        assert step.status_code in (302, 303), step.text
        address = step.headers["location"]
    granted = await client.post("/api/auth/refresh")
    assert granted.status_code == 200, granted.text
    client.headers["Authorization"] = f"Bearer {granted.json()['access_token']}"


async def user_id(client: httpx.AsyncClient) -> str:
    return (await client.get("/api/me")).json()["user"]["id"]


async def lock(client: httpx.AsyncClient, showtime_id: str, *seats: str) -> httpx.Response:
    return await client.post(f"/api/showtimes/{showtime_id}/seats/lock", json={"seats": [*seats]})


async def book(
    client: httpx.AsyncClient, showtime_id: str, *seats: str, key: str = ""
) -> httpx.Response:
    return await client.post(
        "/api/bookings",
        json={"showtime_id": showtime_id, "seats": [*seats]},
        headers={"Idempotency-Key": key or new_id("key")},
    )


async def pay(
    client: httpx.AsyncClient, booking_id: str, method: str = "demo:approve", *, key: str = ""
) -> httpx.Response:
    return await client.post(
        f"/api/bookings/{booking_id}/pay",
        json={"payment_method": method},
        headers={"Idempotency-Key": key or new_id("key")},
    )


async def booked(client: httpx.AsyncClient, showtime_id: str, *seats: str) -> str:
    """Make a pending booking and return its id."""
    answer = await book(client, showtime_id, *seats)
    assert answer.status_code == 201, answer.text
    return answer.json()["booking"]["id"]


async def states(client: httpx.AsyncClient, showtime_id: str) -> dict[str, str]:
    """Seat -> state as the seat map shows it, for seats that are not available."""
    body = (await client.get(f"/api/showtimes/{showtime_id}/seat-map")).json()
    seats = [seat["id"] for row in body["layout"]["rows"] for seat in row["seats"]]
    pairs = zip(seats, body["states"], strict=True)
    return {seat: state for seat, state in pairs if state != "."}


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Return the problem document of `answer`, which must be one, and this one."""
    assert answer.headers["content-type"].startswith("application/problem+json"), answer.text
    body = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), answer.text
    assert body["status"] == status
    for member in ("type", "title", "detail"):
        assert isinstance(body[member], str)
        assert body[member]
    assert body["request_id"]
    return body


async def eventually(look: Callable[[], Awaitable[T]], within: float = 15.0) -> T:
    """Look again and again until there is something to see; fail after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        seen = await look()
        if seen:
            return seen
        assert time.monotonic() < deadline, f"not within {within} s"
        await asyncio.sleep(0.02)
