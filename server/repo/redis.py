"""What the other repositories know of Redis: connecting, running scripts, naming errors.

redis-py repeats a command whose answer was lost, so a script may run twice; every script is written
to give the same answer then. Whatever a driver raises becomes StoreUnavailable, once, here.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from redis.exceptions import (
    AskError,
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
from server.redis_address import read_address
from server.redis_connection import ErrorReply
from server.redis_nodes import InCluster
from server.repo import redis_server
from server.repo.redis_cluster import Cluster
from server.repo.redis_server import TIMEOUT_S, Sent, Server

__all__ = ["Redis", "Scripts", "answer", "answers", "connect", "run_ids", "server_version"]

Redis: TypeAlias = Server | Cluster
"""A client of one server, or of the master behind Sentinels, or of a cluster: the same commands."""


def connect(url: str, sent: Sent = lambda calls: None) -> Redis:
    """Return a client for `url` (see `server.redis_address`); connects lazily.

    `sent` hears of each write how many calls of scripts went out in it. Raises BadAddress when the
    address itself cannot be understood.
    """
    address = read_address(url)
    if address.kind == "sentinel":
        return redis_server.behind_sentinels(address, sent)
    if address.kind == "cluster":
        return Cluster(InCluster(address), lambda node: redis_server.at(address, node, sent))
    return redis_server.at(address, address.nodes[0], sent)


async def run_ids(redis: Redis, keys: Sequence[str]) -> list[str]:
    """Return, for each key, the id of the run of the server that has it.

    Another one after a restart, a failover, or when the key has moved.
    """
    if isinstance(redis, Cluster):
        servers = [await answer(redis.server_of(key)) for key in keys]
    else:
        servers = [redis] * len(keys)
    infos = {server: await answer(server.info("server")) for server in dict.fromkeys(servers)}
    return [str(infos[server]["run_id"]) for server in servers]


async def answer(command: Awaitable[Any]) -> Any:
    """Await a command; raises StoreUnavailable when the store cannot do its work in time.

    Other error replies (a wrong type, a script that broke) are bugs and pass through.
    """
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await command
    except (RedisError, OSError) as error:
        if _is_a_bug(error):
            raise
        raise StoreUnavailable from error


async def answers(pipeline: Any) -> list[Any]:
    """Make the calls of a pipeline that is no transaction; raises what `answer` raises.

    In a cluster StoreUnavailable stands, not raised, for each answer that its server does not give
    in time: the others are there.
    """
    told = await answer(pipeline.execute(raise_on_error=False))
    return [_named(each) if isinstance(each, Exception) else each for each in told]


def _named(error: Exception) -> StoreUnavailable:
    if _is_a_bug(error):
        raise error
    unavailable = StoreUnavailable()
    unavailable.__cause__ = error
    return unavailable


def _is_a_bug(error: Exception) -> bool:
    """An error reply that will be the same the next time."""
    not_now = isinstance(error, _CANNOT_NOW) or str(error).startswith(_NOT_NOW)
    return isinstance(error, ResponseError) and not not_now


_CANNOT_NOW = (OutOfMemoryError, ReadOnlyError, ClusterError, TryAgainError, AskError)
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
        self.apart = isinstance(redis, Cluster)
        """Whether no script may have keys of more than one slot."""
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
        """Send the digest over the wire to the server that has the keys; whatever goes wrong there
        is the driver's work."""
        digest, count = self._digests[script.name], len(script.keys)
        wire = self.redis.wire_to(str(named[0]))
        try:
            reply = await wire.call("EVALSHA", digest, count, *named)
        except TimeoutError as error:
            self.redis.doubt()
            raise StoreUnavailable from error
        except OSError:
            pass
        else:
            if not isinstance(reply, ErrorReply):
                return reply
            if str(reply).startswith("READONLY"):
                await wire.close()  # it is not the master any more
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
