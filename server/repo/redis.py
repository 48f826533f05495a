"""The only place that knows redis-py: connecting, running scripts, naming errors.

redis-py repeats a command whose answer was lost, so a script may run twice; every script is written
to give the same answer then. Whatever the driver raises becomes StoreUnavailable, once, here.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, cast

from redis.asyncio import BlockingConnectionPool
from redis.asyncio import Redis as Driver
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    ClusterError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from server import lua
from server.errors import StoreUnavailable
from server.repo.wire import ErrorReply, SharedWire, Wire

__all__ = ["Redis", "Scripts", "answer", "connect", "server_version"]

_CONNECTIONS = 32
_TIMEOUT_S = 3.0
_RETRIES = 2


class Redis(Driver):
    """redis-py's client, and beside it the wire that scripts go over."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.wire = SharedWire(lambda: _open_wire(self.connection_pool.connection_kwargs))

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await self.wire.close()
        await super().aclose(close_connection_pool)


def connect(url: str) -> Redis:
    """Return a client for `url` (redis:// or rediss://); connects lazily.

    Raises ValueError when the address itself cannot be understood.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=_CONNECTIONS,
        timeout=_TIMEOUT_S,
        decode_responses=True,
        protocol=2,
        socket_timeout=None,  # the driver would use wait_for, which can swallow a cancellation
        socket_connect_timeout=_TIMEOUT_S,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.02), _RETRIES),
    )
    return cast(Redis, Redis.from_pool(pool))  # and so closes it


async def _open_wire(address: Mapping[str, Any]) -> Wire:
    async with asyncio.timeout(_TIMEOUT_S):
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(
            lambda: Wire(_TIMEOUT_S), address["host"], address["port"]
        )
        if database := address.get("db"):
            await wire.call("SELECT", database)
    return wire


async def answer(command: Awaitable[Any]) -> Any:
    """Await a command; raises StoreUnavailable when the store cannot do its work in time.

    Other error replies (a wrong type, a script that broke) are bugs and pass through.
    """
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await command
    except ResponseError as error:
        if isinstance(error, _CANNOT_NOW) or str(error).startswith(_NOT_NOW):
            raise StoreUnavailable from error
        raise
    except (RedisError, OSError) as error:
        raise StoreUnavailable from error


_CANNOT_NOW = (OutOfMemoryError, ReadOnlyError, ClusterError, TryAgainError)
_NOT_NOW = ("BUSY", "NOREPLICAS", "MISCONF", "MASTERDOWN")
"""Replies that mean "not now": those that the driver has classes for lose their first word."""


async def server_version(redis: Redis) -> tuple[int, ...]:
    """Return the version of the server as Redis counts it, e.g. (7, 2, 4)."""
    info = await answer(redis.info("server"))
    return tuple(int(part) for part in str(info["redis_version"]).split("."))


def _nobody(script: str, word: str) -> None:
    """Hears of a script, and does not care."""


class Scripts:
    """Runs the scripts of `server/lua` by name."""

    def __init__(self, redis: Redis, ended: Callable[[str, str], None] = _nobody) -> None:
        """`ended` hears of each run: the script, and its word or `store_unavailable`."""
        self.redis = redis
        self._ended = ended
        self._scripts = {name: lua.load(name) for name in lua.names()}
        self._digests = {
            name: hashlib.sha1(script.source.encode(), usedforsecurity=False).hexdigest()
            for name, script in self._scripts.items()
        }

    async def run(
        self, name: str, keys: Mapping[str, str], rest: Iterable[str] = (), **args: str | int
    ) -> tuple[str, list[Any]]:
        """Run one script; `keys` may hold more names than it takes.

        Returns its first word, one of those in its header, and the rest of its answer.
        """
        script = self._scripts[name]
        if args.keys() != set(script.args):
            raise TypeError(f"{name} takes {', '.join(script.args)}")
        named: list[str | int] = [keys[key] for key in script.keys]
        named += [args[arg] for arg in script.args]
        if script.rest:
            named.extend(rest)
        try:
            word, *reply = await self._reply(script, named)
        except StoreUnavailable as error:
            self._ended(name, error.code)
            raise
        if word not in script.words:
            raise ValueError(f"{name} answered {word!r}, which its header does not name")
        self._ended(name, word)
        return word, reply

    async def _reply(self, script: lua.Script, named: list[str | int]) -> Any:
        """Send the digest over the shared wire; whatever goes wrong there is the driver's work."""
        digest, count = self._digests[script.name], len(script.keys)
        try:
            reply = await self.redis.wire.call("EVALSHA", digest, count, *named)
        except TimeoutError as error:
            raise StoreUnavailable from error
        except OSError:
            pass
        else:
            if not isinstance(reply, ErrorReply):
                return reply
        return await answer(self._call(script, named))

    async def _call(self, script: lua.Script, named: list[str | int]) -> Any:
        """Send the digest by the driver; the whole script when the server has forgotten it.

        Loading it and sending the digest again would leave a gap for the next SCRIPT FLUSH.
        """
        count = len(script.keys)
        try:
            return await self.redis.evalsha(self._digests[script.name], count, *named)
        except NoScriptError:
            return await self.redis.eval(script.source, count, *named)
