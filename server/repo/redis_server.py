"""A client of one Redis, or of the master behind Sentinels: redis-py's, and beside it the wire that
scripts go over."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from redis.asyncio import BlockingConnectionPool
from redis.asyncio import Redis as Driver
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisError

from server.redis_address import Node, RedisAddress
from server.redis_connection import open_connection
from server.redis_nodes import NobodyAnswers, sentinel_of
from server.repo.wire import SharedWire, Wire

TIMEOUT_S = 3.0
_CONNECTIONS = 32
_RETRIES = 2


class Server(Driver):
    """Connects lazily. `wire` is set by whoever makes it."""

    wire: SharedWire

    def wire_to(self, key: str) -> SharedWire:
        """Return what scripts on `key` go over."""
        return self.wire

    def doubt(self) -> None:
        """Hears that a wire did not answer. Nothing is left to do: such a wire has given itself up,
        and who opens the next one asks for the address again."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await self.wire.close()
        await super().aclose(close_connection_pool)


Sent = Callable[[int], None]
"""Hears how many calls of scripts went out together."""


def at(address: RedisAddress, node: Node, sent: Sent) -> Server:
    """Return a client of one of the servers of `address`."""
    host, port = node

    async def there() -> Node:
        return node

    pool = BlockingConnectionPool(**_options(address), host=host, port=port)
    return _over(pool, lambda: _open_wire(address, there, sent))


def behind_sentinels(address: RedisAddress, sent: Sent) -> Server:
    """Return a client of whatever server the Sentinels name as the master."""
    options = _options(address)
    if options.pop("connection_class", None):
        options["ssl"] = True
    pool: Any = _SentinelPool(  # type: ignore[no-untyped-call]
        address.master, sentinel_of(address), is_master=True, **options
    )

    async def there() -> Node:
        try:
            host, port = await pool.get_master_address()
        except RedisError as error:
            raise NobodyAnswers("no Sentinel names a master") from error
        return str(host), int(port)

    return _over(pool, lambda: _open_wire(address, there, sent))


def _over(pool: Any, open_wire: Callable[[], Awaitable[Wire]]) -> Server:
    client = cast(Server, Server.from_pool(pool))  # and so closes it
    client.wire = SharedWire(open_wire)
    return client


def _options(address: RedisAddress) -> dict[str, Any]:
    return {
        "max_connections": _CONNECTIONS,
        "timeout": TIMEOUT_S,
        "socket_timeout": None,  # the driver would use wait_for, which can swallow a cancellation
        "socket_connect_timeout": TIMEOUT_S,
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.02), _RETRIES),
        **address.options,
        "decode_responses": True,
        "protocol": 2,
    }


class _SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """Waits for a free connection as the other pools do, and closes the Sentinels' too."""

    sentinel_manager: Sentinel

    async def aclose(self) -> None:
        await super().aclose()
        await self.sentinel_manager.aclose()


async def _open_wire(
    address: RedisAddress, there: Callable[[], Awaitable[Node]], sent: Sent
) -> Wire:
    """Raises OSError, which includes TimeoutError."""
    async with asyncio.timeout(TIMEOUT_S):
        return await open_connection(address, await there(), lambda: Wire(TIMEOUT_S, sent))
