"""How many live connections an address or a person may have open."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.requests import HTTPConnection
from starlette.routing import WebSocketRoute
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from server.addresses import LENIENCE
from server.api import audit_live
from server.socket_caps import SocketCaps
from tests.running import IN_MODULE_LOOP, Running, eventually, problem, served

server = served("server", trusted_proxies=("127.0.0.1",))
"""Behind a proxy on this machine: whoever it forwards for is a stranger."""


def caller(address: str) -> HTTPConnection:
    return HTTPConnection({"type": "websocket", "client": (address, 0), "headers": []})


def caps_of(server: Running) -> SocketCaps:
    """The caps that the running server goes by."""
    (caps,) = {
        route.endpoint.__self__._caps
        for route in server.app.routes
        if isinstance(route, WebSocketRoute)
    }
    assert isinstance(caps, SocketCaps)
    return caps


def places(caps: SocketCaps, address: str) -> int:
    """Return how many places there are for an address."""
    with ExitStack() as stack:
        for count in range(2 * LENIENCE):
            if not stack.enter_context(caps.place(caller(address))):
                return count
    raise AssertionError("there is no end")


@pytest.fixture
def few(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caps_of(server), "_per_address", 5)
    monkeypatch.setattr(caps_of(server), "_per_user", 2)


@asynccontextmanager
async def watching(
    server: Running, showtime: str, address: str
) -> AsyncIterator[ClientConnection | int]:
    """Open the live map; gives the connection, or the code that it was closed with."""
    url = f"{server.url.replace('http', 'ws')}/api/showtimes/{showtime}/live"
    async with connect(url, additional_headers={"X-Forwarded-For": address}) as socket:
        try:
            assert json.loads(await socket.recv())["type"] == "snapshot"
        except ConnectionClosed:
            yield socket.close_code or 0
            return
        yield socket


# -- counting -------------------------------------------------------------------------------------


def test_an_address_has_so_many_places_and_gets_them_back() -> None:
    caps = SocketCaps(per_address=2)
    with caps.place(caller("192.0.2.1")) as one, caps.place(caller("192.0.2.1")) as two:
        assert one
        assert two
        assert caps.is_full(caller("192.0.2.1"))
        for _ in range(3):
            with caps.place(caller("192.0.2.1")) as three:
                assert not three
        with caps.place(caller("192.0.2.2")) as other:
            assert other
    assert not caps.is_full(caller("192.0.2.1"))
    assert caps._open == {}


def test_a_subscriber_has_one_network_and_not_a_place_per_address() -> None:
    caps = SocketCaps(per_address=1)
    with caps.place(caller("2001:db8::1")), caps.place(caller("2001:db8::2")) as second:
        assert not second


def test_in_development_this_machine_has_more() -> None:
    caps = SocketCaps(per_address=1, development=True)
    assert places(caps, "127.0.0.1") == LENIENCE
    assert places(caps, "::1") == LENIENCE
    assert places(caps, "192.0.2.1") == 1
    assert places(SocketCaps(per_address=1), "127.0.0.1") == 1


# -- the whole server ------------------------------------------------------------------------------


@IN_MODULE_LOOP
@pytest.mark.usefixtures("few")
async def test_a_map_too_many_is_told_to_try_later(server: Running) -> None:
    showtime = await server.showtime()
    async with AsyncExitStack() as stack:
        seen = [
            await stack.enter_async_context(watching(server, showtime, "203.0.113.1"))
            for _ in range(7)
        ]
        assert [socket if isinstance(socket, int) else 0 for socket in seen] == [0] * 5 + [1013] * 2
        async with watching(server, showtime, "203.0.113.2") as other:
            assert not isinstance(other, int)
        stream = await server.visitor.get(
            f"/api/showtimes/{showtime}/live", headers={"X-Forwarded-For": "203.0.113.1"}
        )
        problem(stream, 429, "rate_limited")
        assert stream.headers["Retry-After"]

    async def lets_in() -> bool:
        async with watching(server, showtime, "203.0.113.1") as again:
            return not isinstance(again, int)

    await eventually(lets_in)


@IN_MODULE_LOOP
@pytest.mark.usefixtures("few")
async def test_streams_and_sockets_share_the_places(server: Running) -> None:
    showtime, headers = await server.showtime(), {"X-Forwarded-For": "203.0.113.3"}
    lines = []
    async with AsyncExitStack() as stack:
        for _ in range(5):
            stream = server.visitor.stream(
                "GET", f"/api/showtimes/{showtime}/live", headers=headers
            )
            answer: httpx.Response = await stack.enter_async_context(stream)
            assert answer.status_code == 200
            lines.append(answer.aiter_lines())
            await anext(lines[-1])
        async with watching(server, showtime, "203.0.113.3") as one_more:
            assert one_more == 1013


@IN_MODULE_LOOP
@pytest.mark.usefixtures("few")
async def test_an_administrator_has_so_many_feeds_from_wherever(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_live, "HEARTBEAT_SECONDS", 0.05)
    url = f"{server.url.replace('http', 'ws')}/api/admin/audit/live"

    async def follow(stack: AsyncExitStack, number: int) -> Any:
        ticket = (await server.ada.post("/api/auth/ticket")).json()["ticket"]
        headers = {"X-Forwarded-For": f"203.0.113.{10 + number}"}
        socket = await stack.enter_async_context(connect(url, additional_headers=headers))
        await socket.send(json.dumps({"type": "auth", "ticket": ticket}))
        try:
            async with asyncio.timeout(10):
                return json.loads(await socket.recv())["type"]
        except ConnectionClosed:
            return socket.close_code

    async with AsyncExitStack() as stack:
        assert [await follow(stack, n) for n in range(3)] == ["heartbeat", "heartbeat", 1013]
