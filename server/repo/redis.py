"""The only place that knows redis-py: connecting, running scripts, naming errors.

redis-py repeats a command whose answer was lost, so a script may run twice; every script is written
to give the same answer then. Whatever the driver raises becomes StoreUnavailable, once, here.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
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

__all__ = ["Redis", "Scripts", "answer", "connect", "server_version"]

_CONNECTIONS = 32
_TIMEOUT_S = 3.0
_RETRIES = 2


def connect(url: str) -> "Redis":
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
    return Redis.from_pool(pool)  # and so closes it


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


async def server_version(redis: "Redis") -> tuple[int, ...]:
    """Return the version of the server as Redis counts it, e.g. (7, 2, 4)."""
    info = await answer(redis.info("server"))
    return tuple(int(part) for part in str(info["redis_version"]).split("."))


class Scripts:
    """Runs the scripts of `server/lua` by name."""

    def __init__(self, redis: "Redis") -> None:
        self.redis = redis
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
        argv = [args[arg] for arg in script.args]
        if script.rest:
            argv.extend(rest)
        named = [*(keys[key] for key in script.keys), *argv]
        word, *reply = await answer(self._call(script, named))
        if word not in script.words:
            raise ValueError(f"{name} answered {word!r}, which its header does not name")
        return word, reply

    async def _call(self, script: lua.Script, named: list[str | int]) -> Any:
        """Send the digest; the whole script when the server has forgotten it.

        Loading it and sending the digest again would leave a gap for the next SCRIPT FLUSH.
        """
        count = len(script.keys)
        try:
            return await self.redis.evalsha(self._digests[script.name], count, *named)
        except NoScriptError:
            return await self.redis.eval(script.source, count, *named)
