"""A Redis Cluster behind the face of one Redis: each call goes to the server that has its key.

redis-py has a client for clusters. Its pipeline is all or nothing: the answers of the servers that
live are lost with those of the one that died, and for a new try it cuts every connection, also
those that others use (decision 021). Here each server has an ordinary client of redis-py, with its
own connections, and what becomes of one server's calls is nobody else's business.

Calls are made again: at once after MOVED and, unless it is a transaction, ASK, soon after TRYAGAIN,
and for about as long as a failover takes when the server is gone. So they may run twice, as with
redis-py itself.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

from redis.commands import AsyncCoreCommands
from redis.event import EventDispatcher
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import TimeoutError as NoAnswer

from server.detached import end
from server.redis_address import Node
from server.redis_nodes import InCluster, NobodyAnswers, SlotMap
from server.repo.redis_server import Server
from server.repo.wire import SharedWire, Wire

_PATIENCE_SECONDS = 2.0
"""So long after their beginning calls are made again."""
_LONGEST_SECONDS = 2.5
"""No server is waited for longer: who gives up the whole would lose the answers of the others."""
_PAUSE_SECONDS = 0.05
_SILENCE_SECONDS = 0.5
"""Whoever owes a reply for longer may have been replaced: it is asked who has its slots, and once
somebody else has them its calls are made there."""
_AT_ONCE = 5
"""So many redirections are followed without a pause."""

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""A command with its arguments, and what redis-py is to know about it."""


class Cluster(AsyncCoreCommands):
    """The commands of redis-py on keys; those without a key go to any server."""

    _is_async_client: Literal[True] = True  # what redis-py's types go by
    _event_dispatcher = EventDispatcher()

    def __init__(self, nodes: InCluster, client: Callable[[Node], Server]) -> None:
        """`client` makes a client of one server, which connects lazily."""
        self._nodes = nodes
        self._client = client
        self._clients: dict[Node, Server] = {}
        self._map = SlotMap([])
        self._locating: asyncio.Task[None] | None = None
        self._gone: Node | None = None
        """Who did not answer last: to be asked last for the slots."""
        self._nowhere = SharedWire(_nobody)
        self._watch: asyncio.Task[None] | None = None

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        (answer,) = await self.run([(args, options)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def pipeline(self, transaction: bool = True) -> "ClusterPipeline":
        """A transaction has keys of one slot only, and waits while that moves key by key and some
        of its keys have gone: it ends as TRYAGAIN does."""
        return ClusterPipeline(self, transaction)

    async def ping(self, **options: Any) -> bool:
        """Ask every server that has slots; raises what the first that does not answer raises."""
        if not self._map.nodes:
            await self.locate()
        try:
            await asyncio.gather(*(self._at(node).ping() for node in self._map.nodes))
        except BaseException:  # one who is cancelled has waited in vain
            self._locate_soon()
            raise
        return True

    async def aclose(self) -> None:
        if self._watch:
            await end(self._watch)
        if self._locating:  # cancelled, it would leave its connection open
            await asyncio.wait({self._locating})
        for client in self._clients.values():
            await client.aclose()

    def wire_to(self, key: str) -> SharedWire:
        """Return what scripts on `key` go over; it may be known only later to whom that leads."""
        node = self._map.of(key)
        return self._at(node).wire if node else self._nowhere

    def doubt(self) -> None:
        """A wire did not answer: whom it leads to may have been replaced."""
        self._locate_soon()

    async def server_of(self, key: str) -> Server:
        """Return the client of the server that has `key`."""
        return self._at(await self._node(key))

    async def locate(self) -> None:
        """Ask anew who has which slots; however many want to know, they are asked once."""
        await asyncio.shield(self._locate_soon())

    async def _locate(self) -> None:
        try:
            self._map = await self._nodes.locate(self._gone)
        finally:
            self._locating = None
        for node in self._clients.keys() - self._map.nodes:
            if client := self._clients.pop(node, None):
                await client.aclose()

    # -- calls --------------------------------------------------------------------------------

    async def run(self, calls: Sequence[Call], *, transaction: bool = False) -> list[Any]:
        """Make the calls, each server's in one pipeline; returns an answer or an error for each."""
        run = _Run(calls, transaction)
        try:
            await self._make(run, range(len(calls)), {}, 0)
        except asyncio.CancelledError:
            self._locate_soon()  # whoever was asked did not answer in time
            raise
        return run.answers

    async def _make(
        self, run: "_Run", left: Iterable[int], asked: Mapping[int, Node], tries: int
    ) -> None:
        """Make the calls with the numbers `left`; each server's go their way without the others'.

        `asked` are the servers that have to be told that they were named by another.
        """
        groups: dict[tuple[Node | None, bool], list[int]] = defaultdict(list)
        for n in left:
            try:
                node = asked.get(n) or await self._node(_key_of(run.calls[n][0]))
            except OSError as error:
                run.answers[n] = error
                groups[None, False].append(n)
            else:
                groups[node, n in asked].append(n)
        await asyncio.gather(*(self._carry(run, *to, at, tries) for to, at in groups.items()))

    async def _carry(
        self, run: "_Run", node: Node | None, asking: bool, group: list[int], tries: int
    ) -> None:
        """Make calls of one server, and again what it could not do; None: nobody is known."""
        if node:
            told = await self._send(run, node, [run.calls[n] for n in group], asking)
            for n, answer in zip(group, told, strict=True):
                run.answers[n] = answer
        left = [n for n in group if isinstance(run.answers[n], _TRANSIENT)]
        if not left:
            return
        if run.is_over:
            self._locate_soon()
            return
        asked = await self._learn(run, node, left, tries + 1)
        await self._make(run, left, asked, tries + 1)

    async def _send(self, run: "_Run", node: Node, calls: list[Call], asking: bool) -> list[Any]:
        """Make calls of one server; one exception for each when it does not answer in time."""
        pipeline = self._at(node).pipeline(transaction=run.transaction)
        for args, options in calls:
            if asking:  # it holds for the very next command
                pipeline.execute_command("ASKING")
            pipeline.execute_command(*args, **options)
        try:
            async with asyncio.timeout_at(run.ends):
                answers: list[Any] = await pipeline.execute(raise_on_error=run.transaction)
        except (RedisError, OSError) as error:
            self._gone = node
            return [error] * len(calls)
        return answers[1::2] if asking else answers

    async def _learn(
        self, run: "_Run", node: Node | None, left: Iterable[int], tries: int
    ) -> dict[int, Node]:
        """Take in what a server said; returns whom to ask next, for calls that were told.

        A transaction is not sent on by ASK: there ASKING would be one more of its commands.
        """
        asked, wait, lost = {}, tries > _AT_ONCE, False
        host = node[0] if node else ""  # meant by a server that names none
        for error, n in ((run.answers[n], n) for n in left):
            if isinstance(error, MovedError):
                self._map.moved(error.slot_id, (error.host or host, error.port))
                self._locate_soon()
            elif isinstance(error, AskError) and not run.transaction:
                asked[n] = (error.host or host, error.port)
            else:
                wait, lost = True, lost or not isinstance(error, AskError | TryAgainError)
        if lost:
            with suppress(NobodyAnswers):
                await self.locate()
        if wait:
            await asyncio.sleep(_PAUSE_SECONDS * random.uniform(0.8, 1.6))  # noqa: S311
        return asked

    def _locate_soon(self) -> asyncio.Task[None]:
        if self._locating is None:
            self._locating = asyncio.create_task(self._locate(), name="slot map")
            self._locating.add_done_callback(_heed)
        if self._watch is None:
            self._watch = asyncio.create_task(self._watch_silence(), name="silent servers")
        return self._locating

    async def _watch_silence(self) -> None:
        while True:
            await asyncio.sleep(_SILENCE_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311
            for node, client in self._clients.items():
                if client.wire.waiting_seconds > _SILENCE_SECONDS:
                    self._gone = node
                    self._locate_soon()

    async def _node(self, key: str) -> Node:
        node = self._any() if key == "" else self._map.of(key)
        if node is None:
            await self.locate()
            node = self._any() if key == "" else self._map.of(key)
        if node is None:
            raise NobodyAnswers("nobody serves that slot")
        return node

    def _any(self) -> Node | None:
        nodes = self._map.nodes
        return random.choice(sorted(nodes)) if nodes else None  # noqa: S311

    def _at(self, node: Node) -> Server:
        if node not in self._clients:
            self._clients[node] = self._client(node)
        return self._clients[node]


_TRANSIENT = (
    OSError,
    ConnectionLost,
    NoAnswer,
    AskError,  # MOVED is one, too
    TryAgainError,
    ClusterDownError,
    ReadOnlyError,
)
"""What may be better in a moment, or elsewhere."""


def _heed(located: asyncio.Task[None]) -> None:
    """Whoever waited has the error; it may be nobody any more."""
    if not located.cancelled():
        located.exception()


async def _nobody() -> Wire:
    raise NobodyAnswers("it is not known yet who serves that slot")


class _Run:
    """Calls that are made together, and what came of each so far."""

    def __init__(self, calls: Sequence[Call], transaction: bool) -> None:
        self.calls = calls
        self.transaction = transaction
        self.answers: list[Any] = [None] * len(calls)
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()

    @property
    def is_over(self) -> bool:
        """Nothing is made again."""
        return self._loop.time() > self._began + _PATIENCE_SECONDS

    @property
    def ends(self) -> float:
        """Until when servers are waited for, in the time of the event loop."""
        return self._began + _LONGEST_SECONDS


class ClusterPipeline(AsyncCoreCommands):
    """Gathers calls; `execute` makes them."""

    _is_async_client: Literal[True] = True
    _event_dispatcher = EventDispatcher()

    def __init__(self, cluster: Cluster, transaction: bool) -> None:
        self._cluster = cluster
        self._transaction = transaction
        self._calls: list[Call] = []

    def execute_command(self, *args: Any, **options: Any) -> "ClusterPipeline":
        self._calls.append((args, options))
        return self

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Return the answers; an exception stands for its call, or the first one is raised."""
        calls, self._calls = self._calls, []
        answers = await self._cluster.run(calls, transaction=self._transaction)
        if raise_on_error:
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        return answers


def _key_of(args: Sequence[Any]) -> str:
    """Return the first key of a command; "" when it has none."""
    name = str(args[0]).upper()
    if name in _KEYLESS:
        return ""
    if name in ("EVAL", "EVALSHA"):
        return str(args[3]) if int(args[2]) else ""
    return str(args[1])


_KEYLESS = {"INFO", "PING", "TIME", "SCRIPT LOAD", "SCRIPT EXISTS"}
