"""One connection to Redis that listens: what is sent, and each reply as it comes.

RESP2, as the Redis protocol specification has it.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, cast

import hiredis

from server.redis_address import Node, RedisAddress
from server.redis_connection import open_connection

CONNECT_SECONDS = 3.0


class Wire(asyncio.Protocol):
    """Parses what comes in; `closed` is done when the connection is gone."""

    def __init__(self, heard: Callable[[Any], None]) -> None:
        self._heard = heard
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            self._heard(reply)

    def send(self, commands: Iterable[tuple[Any, ...]]) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.write(b"".join(hiredis.pack_command(command) for command in commands))

    def abort(self) -> None:
        if self._transport:
            self._transport.abort()


async def connect(address: RedisAddress, node: Node, heard: Callable[[Any], None]) -> Wire:
    """Connect to one of the servers of `address`, and sign in; raises OSError."""
    async with asyncio.timeout(CONNECT_SECONDS):
        return await open_connection(address, node, lambda: Wire(heard))


async def call(address: RedisAddress, node: Node, *command: bytes) -> Any:
    """Send one command over a connection of its own and return the reply to it; raises OSError."""
    replies: asyncio.Queue[Any] = asyncio.Queue()
    wire = await connect(address, node, replies.put_nowait)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            wire.send([command])
            return await replies.get()
    finally:
        wire.abort()
