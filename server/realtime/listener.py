"""Hears every change of the showtimes watched in this process: one connection to each server of
Redis that has any, which is one server unless there is a cluster.

Our own reader, because Pub/Sub loses messages silently when a client library reconnects by itself.
Who has which channel is asked every half minute, and at every sign that it has changed: a server
ends a subscription or sends it elsewhere, or a connection is lost. Behind Sentinels that is the
address of the master. A channel that has moved is subscribed where it is now.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable

from server.detached import end
from server.realtime.shard import PROBE_SECONDS, Shard, probe_channel
from server.redis_address import Node, read_address
from server.redis_nodes import NobodyAnswers, SlotMap, nodes_of
from server.repo.keys import TAGS

logger = logging.getLogger("rowlock.listener")

MAP_SECONDS = 30.0
_TROUBLE_SECONDS = 0.3
"""How soon it is asked again who has what, while not everything is subscribed."""


class Listener:
    """`on_message(channel, payload)` and `on_subscribed(channel)` run on the event loop."""

    def __init__(
        self,
        url: str,
        on_message: Callable[[str, bytes], None],
        on_subscribed: Callable[[str], None],
        *,
        probe_seconds: float = PROBE_SECONDS,
        map_seconds: float = MAP_SECONDS,
    ) -> None:
        self._address = read_address(url)
        self._nodes = nodes_of(self._address)
        self._on_message = on_message
        self._on_subscribed = on_subscribed
        self._probe_seconds = probe_seconds
        self._map_seconds = map_seconds
        self._wanted: set[str] = set()
        self._map = SlotMap([])
        self._shards: dict[Node, Shard] = {}
        self._changed = asyncio.Event()
        """Something shows that the map may be another one."""
        self._task: asyncio.Task[None] | None = None

    @property
    def shards(self) -> list[Shard]:
        return list(self._shards.values())

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="listener's map")

    async def stop(self) -> None:
        if self._task:
            await end(self._task)
        await asyncio.gather(*(shard.stop() for shard in self.shards))
        await self._nodes.aclose()

    def subscribe(self, channel: str) -> None:
        """Hear `channel` from its confirmation on, wherever it goes, until `unsubscribe`."""
        self._wanted.add(channel)
        if shard := self._shard_of(channel):
            shard.subscribe(channel)
        elif self._shards:
            self._changed.set()  # nobody has that slot, as far as we know

    def unsubscribe(self, channel: str) -> None:
        self._wanted.discard(channel)
        for shard in self.shards:
            if channel in shard.wanted:
                shard.unsubscribe(channel)

    def reconnect(self, channel: str) -> None:
        """Give up the connection that should have delivered `channel` and did not."""
        if shard := self._shard_of(channel):
            shard.reconnect()

    def look_again(self) -> None:
        """Ask who has which channel: a server that has some does not answer."""
        self._changed.set()

    # -- what the shards hear -------------------------------------------------------------------

    def message(self, channel: str, payload: bytes) -> None:
        self._on_message(channel, payload)

    def subscribed(self, channel: str) -> None:
        self._on_subscribed(channel)

    def moved(self, slot: int, node: Node) -> None:
        if self._map.moved(slot, node):  # it is told for each channel of the slot
            self._assign()
            self._changed.set()

    def trouble(self) -> None:
        self._changed.set()

    # -- who has what ---------------------------------------------------------------------------

    def _shard_of(self, channel: str) -> Shard | None:
        node = self._map.of(channel)
        return self._shards.get(node) if node else None

    @property
    def _settled(self) -> bool:
        """Every channel has a server, and every server has confirmed all of its channels."""
        shards = self.shards
        has_all = sum(len(shard.wanted) for shard in shards) == len(self._wanted)
        return bool(shards) and has_all and all(shard.settled for shard in shards)

    async def _run(self) -> None:
        while True:
            try:
                await self._look()
            except NobodyAnswers as error:
                logger.warning("listener does not know the servers: %s", error)
            wait = self._map_seconds if self._settled else _TROUBLE_SECONDS
            await asyncio.sleep(0.05 * random.random())  # noqa: S311 - signs come in swarms
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait * random.uniform(0.8, 1.2)):  # noqa: S311
                    await self._changed.wait()
            self._changed.clear()

    async def _look(self) -> None:
        """Learn who has which channel, and leave the servers that have none any more."""
        silent = next((shard.node for shard in self.shards if not shard.settled), None)
        self._map = await self._nodes.locate(silent)
        self._assign()
        for shard in self.shards:
            shard.ask_again()
        for node in self._shards.keys() - self._owners().keys():
            await self._shards.pop(node).stop()

    def _owners(self) -> dict[Node, str]:
        """Return the servers that have any of our slots, each with a tag of one."""
        tags = {self._map.of(f"{{{tag}}}"): tag for tag in TAGS}
        return {node: tag for node, tag in tags.items() if node}

    def _assign(self) -> None:
        """Let each server have the channels that are its own."""
        for node, tag in self._owners().items():
            if node not in self._shards:
                self._shards[node] = self._shard(node, tag)
            elif self._map.of(self._shards[node].probe) != node:
                self._shards[node].prove_by(probe_channel(tag))
        for shard in self.shards:
            for channel in [name for name in shard.wanted if self._map.of(name) != shard.node]:
                shard.drop(channel)
        for channel in self._wanted:
            if shard_of_it := self._shard_of(channel):
                shard_of_it.subscribe(channel)

    def _shard(self, node: Node, tag: str) -> Shard:
        return Shard(
            self._address,
            node,
            self,
            probe=probe_channel(tag),
            probe_seconds=self._probe_seconds,
        )
