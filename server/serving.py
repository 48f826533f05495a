"""One HTTP server process: its socket, its uvicorn, its orderly end."""

import asyncio
import logging
import random
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import EADDRINUSE
from typing import TypeGuard

import uvicorn
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from server.realtime.framed import FramedProtocol, differences
from server.realtime.protocol import AbortableHttpProtocol, AbortableProtocol

logger = logging.getLogger("rowlock.serving")

_BACKLOG = 2048
_GRACE_S = 5
_LEAVING_S = 1.0
_LEAVE_S = 3.0
_APART_S = 0.002
_GOODBYE_S = 1.0
RESTART = 1012
LEAVING = "leaving"
"""In the state of every request: set once the server is about to end."""
_MAX_CLIENT_MESSAGE = 8192  # what clients say is at most a ticket


BehindProxies = ProxyHeadersMiddleware
"""Middleware: believes what `trusted_hosts` forward, and nobody else. The client is then the last
address in X-Forwarded-For that is not itself one of them."""


class ServingError(Exception):
    """The server cannot be started; the message is one line for a person."""


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Return a listening socket; raises ServingError when it cannot be had.

    `shared`: other processes of the same user may listen there as well, if they say so too; the
    kernel gives each connection to one of them (SO_REUSEPORT, evenly so on Linux).

    Clients that connect before `serve` runs are kept waiting, not refused. Who is just leaving may
    have the port for a moment more.
    """
    give_up = time.monotonic() + _LEAVING_S
    while True:
        try:
            return _listener(host, port, shared)
        except OSError as error:
            if error.errno == EADDRINUSE and time.monotonic() < give_up:
                time.sleep(0.05)
                continue
            reason = str(error.strerror).partition(" (")[0]
            raise ServingError(f"cannot listen on {host} port {port}: {reason}") from None


def _listener(host: str, port: int, shared: bool) -> socket.socket:
    return socket.create_server(
        (host, port), family=_family(host, port), backlog=_BACKLOG, reuse_port=shared
    )


def _family(host: str, port: int) -> socket.AddressFamily:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]


@contextmanager
def reserved(host: str, port: int) -> Iterator[int]:
    """Keep a port, any when 0, for processes that share it; yields its number. Raises as `bind`."""
    bind(host, port).close()  # or we would join whoever shares it already
    with socket.socket(_family(host, port)) as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        place.bind((host, port))
        yield place.getsockname()[1]


async def serve(app: ASGIApp, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until cancelled, then let requests finish and the application shut down.

    `ready` is called once requests are answered. Raises ServingError when the application does not
    start. A second cancellation ends the wait for open requests.
    """
    _open_as_much_as_may_be()
    config = uvicorn.Config(
        app,
        http=AbortableHttpProtocol,
        ws=FramedProtocol,
        ws_per_message_deflate=False,
        ws_max_size=_MAX_CLIENT_MESSAGE,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_GRACE_S,
    )
    config.load()
    if found := differences(config):
        logger.warning("seat changes are sent one by one; not as expected: %s", ", ".join(found))
        config.ws_protocol_class = AbortableProtocol
    server = _Server(config, ready)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving
        raise


def _open_as_much_as_may_be() -> None:
    """Each connection is an open file, and a shell often allows 1,024 where more may be had."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS promises more than it grants
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class _Server(uvicorn.Server):
    """Leaves signals to the caller and failure to an exception instead of `sys.exit`."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:
            raise ServingError("the application did not start; its log says why") from None
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Say that we leave, let nobody in any more, take leave of the sockets; then as uvicorn."""
        self.lifespan.state[LEAVING] = True
        for server in self.servers:
            server.close()
        await self._take_leave()
        await super().shutdown(sockets)

    async def _take_leave(self) -> None:
        """Close all WebSockets, in any order, spread so that not all come back at once.

        Each has a moment to answer: uvicorn waits until they are gone.
        """
        open_ones = [each for each in self.server_state.connections if _is_open(each)]
        random.shuffle(open_ones)
        pause = min(_APART_S, _LEAVE_S / max(len(open_ones), 1))
        began = time.monotonic()
        for number, protocol in enumerate(open_ones, 1):
            protocol.farewell(RESTART, _GOODBYE_S)
            await asyncio.sleep(max(0.0, began + number * pause - time.monotonic()))


def _is_open(connection: object) -> TypeGuard[AbortableProtocol]:
    return isinstance(connection, AbortableProtocol) and not connection.gone
