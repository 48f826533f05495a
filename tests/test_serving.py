"""One server process: when it is ready, what it lets through, how it ends."""

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

from server.serving import ServingError, bind, serve

Serving = Callable[[Starlette], Awaitable[int]]


@pytest.fixture
async def serving() -> AsyncIterator[Serving]:
    """Serve an application until the end of the test; return its port once it is ready."""
    tasks: list[asyncio.Task[None]] = []

    async def start(app: Starlette) -> int:
        listener, ready = bind("127.0.0.1", 0), asyncio.Event()
        port: int = listener.getsockname()[1]
        tasks.append(asyncio.create_task(serve(app, listener, ready.set)))
        await ready.wait()
        return port

    yield start
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


async def test_answers_tell_neither_server_nor_trust_forwarded_addresses(serving: Serving) -> None:
    async def who(request: Request) -> Response:
        assert request.client
        return PlainTextResponse(f"{request.client.host} {request.url.scheme}")

    port = await serving(Starlette(routes=[Route("/", who)]))
    forged = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"}
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{port}/", headers=forged)
    assert answer.text == "127.0.0.1 http"
    assert "server" not in answer.headers


async def test_a_socket_is_not_compressed_and_takes_short_messages_only(serving: Serving) -> None:
    port = await serving(Starlette(routes=[WebSocketRoute("/", echo)]))
    async with connect(f"ws://127.0.0.1:{port}/", compression="deflate") as client:
        assert client.response
        assert "Sec-WebSocket-Extensions" not in client.response.headers
        await client.send("a" * 8192)
        assert await client.recv() == "a" * 8192
        await client.send("a" * 8193)
        with pytest.raises(ConnectionClosedError, match="1009"):
            await client.recv()


async def test_a_cancelled_server_ends_its_requests_then_the_application(
    caplog: pytest.LogCaptureFixture,
) -> None:
    order: list[str] = []
    entered = asyncio.Event()

    async def slow(request: Request) -> Response:
        entered.set()
        await asyncio.sleep(0.3)
        order.append("answered")
        return PlainTextResponse("done")

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        order.append("shut down")

    listener, ready = bind("127.0.0.1", 0), asyncio.Event()
    port = listener.getsockname()[1]
    app = Starlette(routes=[Route("/", slow)], lifespan=lifespan)
    task = asyncio.create_task(serve(app, listener, ready.set))
    await ready.wait()
    async with httpx.AsyncClient() as client:
        request = asyncio.create_task(client.get(f"http://127.0.0.1:{port}/"))
        await entered.wait()
        task.cancel()
        assert (await request).text == "done"
    with pytest.raises(asyncio.CancelledError):
        await task
    assert order == ["answered", "shut down"]
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_an_application_that_does_not_start_is_an_error_and_not_the_end_of_the_process() -> (
    None
):
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        raise RuntimeError("no")
        yield

    with bind("127.0.0.1", 0) as listener, pytest.raises(ServingError, match="did not start"):
        await serve(Starlette(lifespan=lifespan), listener, lambda: None)


async def test_a_client_that_comes_early_waits_for_the_server() -> None:
    async def hello(request: Request) -> Response:
        return PlainTextResponse("hello")

    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        async with httpx.AsyncClient() as client:
            early = asyncio.create_task(client.get(f"http://127.0.0.1:{port}/"))
            await asyncio.sleep(0.05)
            app = Starlette(routes=[Route("/", hello)])
            task = asyncio.create_task(serve(app, listener, lambda: None))
            assert (await early).text == "hello"
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def test_a_port_is_had_by_one_only() -> None:
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ServingError, match=rf"127.0.0.1 port {port}: Address already in use$"):
            bind("127.0.0.1", port)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_an_ipv6_address_is_a_host_too() -> None:
    with bind("::1", 0) as listener:
        assert listener.getsockname()[0] == "::1"


async def test_a_server_may_open_as_many_sockets_as_the_system_allows(serving: Serving) -> None:
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, allowed[1]), allowed[1]))
    try:
        await serving(Starlette())
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (allowed[1], allowed[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, allowed)
