"""Opens a connection of our own to Redis: TLS, AUTH and SELECT as REDIS_URL has them.

RESP2, as the Redis protocol specification has it.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar, cast

import hiredis

from server.redis_address import Node, RedisAddress

ErrorReply = hiredis.ReplyError
"""A reply by which Redis refuses what it was asked; its text is Redis' own."""

P = TypeVar("P", bound=asyncio.Protocol)


async def open_connection(address: RedisAddress, node: Node, protocol: Callable[[], P]) -> P:
    """Connect to one of the servers of `address` and sign in; what `protocol` makes has it then.

    Raises OSError, when the sign-in is refused, too. It is for the caller to limit the time.
    """
    loop = asyncio.get_running_loop()
    greetings = _greetings(address.options)
    if not greetings:
        _, made = await loop.create_connection(protocol, *node, ssl=address.tls)
        return made
    transport, signing_in = await loop.create_connection(
        lambda: _SignIn(greetings), *node, ssl=address.tls
    )
    try:
        await signing_in.done
    except BaseException:
        transport.abort()
        raise
    made = protocol()
    transport.set_protocol(made)
    made.connection_made(transport)
    return made


def _greetings(options: dict[str, Any]) -> list[tuple[str | int, ...]]:
    greetings: list[tuple[str | int, ...]] = []
    user, password = options.get("username") or "", options.get("password") or ""
    if user or password:  # a user may have no password (nopass)
        greetings.append(("AUTH", user or "default", password))
    if database := options.get("db"):
        greetings.append(("SELECT", database))
    return greetings


class _SignIn(asyncio.Protocol):
    """Says the greetings at once; `done` when all were heard with favour."""

    def __init__(self, greetings: list[tuple[str | int, ...]]) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._greetings = greetings
        self._heard = 0
        self._reader = hiredis.Reader(encoding="utf-8")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        packed = b"".join(hiredis.pack_command(each) for each in self._greetings)  # type: ignore[arg-type] # invariant
        cast(asyncio.Transport, transport).write(packed)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False and not self.done.done():
            self._heard += 1
            if isinstance(reply, ErrorReply):
                self.done.set_exception(ConnectionRefusedError(str(reply)))
            elif self._heard == len(self._greetings):
                self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionError("the connection was lost while signing in"))
