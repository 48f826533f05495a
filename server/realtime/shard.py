"""The connection to one server of Redis that hears the changes of the showtimes it has.

Every confirmed subscription is told, the first and each one after a lost connection: only what is
announced after it is sure to be heard, so that is the moment to read the state anew.

A server that is frozen or cut off says nothing and closes nothing: it is asked for a sign of life
twice a second. A connection can be alive and deliver nothing: now and then a message of our own is
sent over another connection to a channel that only this one has subscribed; when it does not come,
this one is given up.
"""

import asyncio
import logging
import random
import secrets
from asyncio import FIRST_COMPLETED
from collections import Counter
from typing import Any, Protocol

from server.detached import end
from server.realtime import shard_wire
from server.realtime.backoff import pause
from server.realtime.shard_wire import Wire
from server.redis_address import Node, RedisAddress
from server.redis_connection import ErrorReply

logger = logging.getLogger("rowlock.listener")

PROBE_SECONDS = 30.0
_PULSE_SECONDS = 0.5
"""How often the server is asked for a sign of life. Silent twice, it may have been replaced."""
_HEARD_SECONDS = 3.0
"""How long a message of our own may be under way."""
_BACKOFF_SECONDS = (0.05, 0.5)
"""A store that is back is found soon: nothing of the live map is right before that."""
_BATCH = 512


class Ears(Protocol):
    """Who is told what a shard hears, on the event loop."""

    def message(self, channel: str, payload: bytes) -> None: ...

    def subscribed(self, channel: str) -> None: ...

    def moved(self, slot: int, node: Node) -> None:
        """The server says that another has that slot."""
        ...

    def trouble(self) -> None:
        """The server may not have all its channels any more, or is not there."""
        ...


class Shard:
    def __init__(
        self, address: RedisAddress, node: Node, ears: Ears, *, probe: str, probe_seconds: float
    ) -> None:
        """`probe` is a channel of that server that nobody else has."""
        self.node = node
        self.wanted: set[str] = set()
        self.pending: set[str] = set()
        """Channels that are wanted and not confirmed."""
        self.misses = 0
        """How many messages of our own did not come."""
        self.probe = probe
        self._address = address
        self._ears = ears
        self._probe_seconds = probe_seconds
        self._leaving: Counter[str] = Counter()
        """How many of our own goodbyes to a channel are not confirmed yet."""
        self._put_off = False
        self._silent = 0
        """How often the server was asked for a sign of life since the last one."""
        self._failures = 0
        self._wire: Wire | None = None
        self._confirmed = asyncio.Event()
        self._probed = asyncio.Event()
        self._tasks = (
            asyncio.create_task(self._run(), name="listener"),
            asyncio.create_task(self._prove(), name="listener's probe"),
            asyncio.create_task(self._feel(), name="listener's pulse"),
        )

    @property
    def settled(self) -> bool:
        """Connected, alive, and every channel is confirmed."""
        return self._confirmed.is_set() and not self.pending and self._silent < 2

    async def stop(self) -> None:
        await end(*self._tasks)

    def subscribe(self, channel: str) -> None:
        """Hear `channel` from its confirmation on, across reconnects, until `unsubscribe`."""
        if channel not in self.wanted:
            self.wanted.add(channel)
            self._ask_for([channel])

    def unsubscribe(self, channel: str) -> None:
        self.drop(channel)
        if self._wire:
            self._leaving[channel] += 1
            self._wire.send([(b"SUNSUBSCRIBE", channel.encode())])

    def drop(self, channel: str) -> None:
        """Want no more what the server does not have any more: it says goodbye by itself."""
        self.wanted.discard(channel)
        self.pending.discard(channel)

    def prove_by(self, probe: str) -> None:
        """Take another channel for the messages of our own: the server has lost the slot."""
        self.probe = probe
        self._ask_for([probe])

    def ask_again(self) -> None:
        """Ask once more for what is not confirmed, if something was refused for the moment."""
        if self._put_off:
            self._put_off = False
            self._ask_for(sorted(self.pending))

    def reconnect(self) -> None:
        """Give up a connection that looks alive but does not deliver."""
        if self._wire:
            self._wire.abort()

    # -- the connection -----------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            try:
                self._wire = await shard_wire.connect(self._address, self.node, self._heard)
                self._silent = 0
                await self._listen(self._wire)
                logger.warning("listener lost its connection")
            except (OSError, TimeoutError) as error:
                logger.warning("listener cannot connect: %r", error)
            finally:
                self.reconnect()
                self._wire = None
                self._confirmed.clear()
            self._failures += 1
            self._ears.trouble()
            await asyncio.sleep(pause(self._failures, *_BACKOFF_SECONDS))

    async def _listen(self, connected: Wire) -> None:
        """Subscribe to everything; raises TimeoutError when the server does not say a word."""
        self._leaving.clear()
        self.pending = set(self.wanted)
        channels = [self.probe, *sorted(self.wanted)]
        for first in range(0, len(channels), _BATCH):
            self._ask_for(channels[first : first + _BATCH])
            await asyncio.sleep(0)
        confirmed = asyncio.create_task(self._confirmed.wait())
        ends: list[asyncio.Future[Any]] = [confirmed, connected.closed]
        try:
            async with asyncio.timeout(shard_wire.CONNECT_SECONDS):
                await asyncio.wait(ends, return_when=FIRST_COMPLETED)
        finally:
            confirmed.cancel()
        await connected.closed

    def _ask_for(self, channels: list[str]) -> None:
        self.pending.update(channel for channel in channels if channel != self.probe)
        if self._wire and channels:
            self._wire.send([(b"SSUBSCRIBE", channel.encode()) for channel in channels])

    def _heard(self, reply: Any) -> None:
        self._silent = 0
        match reply:
            case [b"smessage", channel, payload]:
                self._take(channel.decode(), payload)
            case [b"ssubscribe", channel, _]:
                self._joined(channel.decode())
            case [b"sunsubscribe", channel, _]:
                self._left(channel.decode())
            case ErrorReply():
                self._refused(str(reply))

    def _take(self, channel: str, payload: bytes) -> None:
        if ":probe:" in channel:  # ours, even if another was taken while it was under way
            self._probed.set()
        else:
            self._ears.message(channel, payload)

    def _joined(self, channel: str) -> None:
        self._failures = 0
        self._confirmed.set()
        self.pending.discard(channel)
        if channel in self.wanted:
            self._ears.subscribed(channel)

    def _left(self, channel: str) -> None:
        """A goodbye that we did not say is the server's: the channel's slot has moved.

        Asked again, the server tells where to.
        """
        if self._leaving[channel]:
            self._leaving[channel] -= 1
            if not self._leaving[channel]:
                del self._leaving[channel]
        elif channel in self.wanted:
            self._ask_for([channel])
            self._ears.trouble()
        elif channel == self.probe:
            self._ears.trouble()

    def _refused(self, error: str) -> None:
        word, *rest = error.split()
        if word == "MOVED":
            host, _, port = rest[1].rpartition(":")
            self._ears.moved(int(rest[0]), (host or self.node[0], int(port)))
        elif word in ("CLUSTERDOWN", "TRYAGAIN", "BUSY", "LOADING", "MASTERDOWN"):
            self._put_off = True
            self._ears.trouble()
        else:
            logger.error("listener was refused: %s", error)
            self.reconnect()

    # -- the proof that it lives and delivers -------------------------------------------------

    async def _feel(self) -> None:
        while True:
            await asyncio.sleep(_PULSE_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311
            if self._wire:
                if self._silent >= 2:
                    self._ears.trouble()
                self._silent += 1
                self._wire.send([(b"PING",)])

    async def _prove(self) -> None:
        while True:
            await asyncio.sleep(self._probe_seconds * random.uniform(0.8, 1.2))  # noqa: S311
            probed = self._wire if self._confirmed.is_set() else None
            if probed and not await self._delivers() and probed is self._wire:
                self.misses += 1
                logger.warning("listener does not hear itself: listening anew")
                self.reconnect()

    async def _delivers(self) -> bool:
        self._probed.clear()
        try:
            async with asyncio.timeout(_HEARD_SECONDS):
                command = (b"SPUBLISH", self.probe.encode(), b"?")
                told = await shard_wire.call(self._address, self.node, *command)
                if isinstance(told, ErrorReply) and str(told).startswith("MOVED "):
                    self._ears.trouble()
                    return True
                await self._probed.wait()
        except (OSError, TimeoutError):
            return False
        return True


def probe_channel(tag: str) -> str:
    """Return a channel that nobody else has, in the slot of that tag."""
    return f"rowlock:{{{tag}}}:probe:{secrets.token_hex(8)}"
