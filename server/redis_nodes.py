"""Which server has which keys: asked of a cluster or of Sentinels, and known of a single server."""

import asyncio
import random
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, TypeAlias

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import RedisError

from server.redis_address import Node, RedisAddress

SLOTS = 16_384
_ASK_SECONDS = 1.0
"""How long one server is asked before the next one is."""


class NobodyAnswers(OSError):
    """No server could say who has the keys."""


@lru_cache(maxsize=4096)
def _slot_of_tag(tag: str) -> int:
    return key_slot(tag.encode())


def slot_of(key: str) -> int:
    """Return the slot of a key or a channel, as the Redis Cluster specification has it."""
    tag = key.partition("{")[2].partition("}")
    return _slot_of_tag(tag[0] if tag[0] and tag[1] else key)


class SlotMap:
    """Who serves each slot, as far as it is known."""

    def __init__(self, ranges: Iterable[tuple[int, int, Node]]) -> None:
        """`ranges` are (first slot, last slot, server)."""
        self._nodes: list[Node | None] = [None] * SLOTS
        for first, last, node in ranges:
            self._nodes[first : last + 1] = [node] * (last + 1 - first)

    @property
    def nodes(self) -> set[Node]:
        return {node for node in self._nodes if node}

    def of(self, key: str) -> Node | None:
        return self._nodes[slot_of(key)]

    def moved(self, slot: int, node: Node) -> bool:
        """Take in that `node` has the slot; says whether that is news."""
        news = self._nodes[slot] != node
        self._nodes[slot] = node
        return news


class OneServer:
    """A server that stands alone has all keys."""

    def __init__(self, address: RedisAddress) -> None:
        (self._node,) = address.nodes

    async def locate(self, avoid: Node | None = None) -> SlotMap:
        return SlotMap([(0, SLOTS - 1, self._node)])

    async def aclose(self) -> None:
        """There is nothing to close."""


class UnderSentinels:
    """All keys are on the master that the Sentinels name."""

    def __init__(self, address: RedisAddress) -> None:
        self._name = address.master
        self.sentinel = sentinel_of(address)

    async def locate(self, avoid: Node | None = None) -> SlotMap:
        """Raises NobodyAnswers."""
        try:
            host, port = await self.sentinel.discover_master(self._name)
        except (RedisError, OSError) as error:
            raise NobodyAnswers("no Sentinel names a master") from error
        return SlotMap([(0, SLOTS - 1, (str(host), int(port)))])

    async def aclose(self) -> None:
        await self.sentinel.aclose()


class InCluster:
    """The nodes know who has which slots; any of them is asked."""

    def __init__(self, address: RedisAddress) -> None:
        self._seeds = address.nodes
        self._options: dict[str, Any] = {
            **address.options,
            "protocol": 2,
            "decode_responses": True,
            "retry": Retry(NoBackoff(), 0),
            "socket_timeout": None,
            "socket_connect_timeout": _ASK_SECONDS,
        }
        self._options.pop("timeout", None)  # for a pool that makes people wait, which this is not
        self._known: set[Node] = set()

    async def locate(self, avoid: Node | None = None) -> SlotMap:
        """Ask one node after the other, `avoid` last; raises NobodyAnswers."""
        nodes = [*(self._known - set(self._seeds)), *self._seeds]
        random.shuffle(nodes)
        for node in sorted(nodes, key=lambda node: node == avoid):
            try:
                async with asyncio.timeout(_ASK_SECONDS):
                    rows = await self._slots(node)
            except (RedisError, OSError):
                continue
            if rows:
                self._known = {(host or node[0], port) for _, _, *of in rows for host, port in of}
                return SlotMap(
                    (first, last, (of[0] or node[0], of[1])) for first, last, of, *_ in rows
                )
        raise NobodyAnswers("no node of the cluster knows the slots")

    async def _slots(self, node: Node) -> list[Any]:
        """Return (first, last, (host, port) of the master, (host, port) of a replica ...)."""
        pool = ConnectionPool(**self._options, host=node[0], port=node[1])
        async with Redis.from_pool(pool) as client:
            client.response_callbacks.pop("CLUSTER SLOTS", None)
            rows = await client.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
        return [(row[0], row[1], *((at[0], at[1]) for at in row[2:])) for row in rows]

    async def aclose(self) -> None:
        """Nothing is kept open."""


Nodes: TypeAlias = OneServer | UnderSentinels | InCluster


def nodes_of(address: RedisAddress) -> Nodes:
    kinds: dict[str, type[Nodes]] = {
        "server": OneServer,
        "cluster": InCluster,
        "sentinel": UnderSentinels,
    }
    return kinds[address.kind](address)


def sentinel_of(address: RedisAddress) -> Sentinel:
    """Return the Sentinels; one that is dead or frozen costs a second before the next is asked."""
    options = dict(address.sentinel_options)
    if options.pop("connection_class", None):
        options["ssl"] = True
    return Sentinel(  # type: ignore[no-untyped-call]
        address.nodes,
        sentinel_kwargs={
            **options,
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
            "socket_timeout": _ASK_SECONDS,
            "socket_connect_timeout": _ASK_SECONDS,
        },
    )
