"""One Redis connection per process that hears every change of the showtimes watched here.

Our own reader, because Pub/Sub loses messages silently when a client library reconnects by itself.
Here every confirmed subscription is told, the first and each one after a lost connection: only what
is announced after it is sure to be heard, so that is the moment to read the state anew.
RESP2, as the Redis protocol specification has it.
"""

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, cast

import hiredis
from redis.connection import parse_url

from server.detached import end
from server.realtime.backoff import pause

logger = logging.getLogger("rowlock.listener")

_CONNECT_SECONDS = 3.0
_BACKOFF_SECONDS = (0.05, 0.5)
"""A store that is back is found soon: nothing of the live map is right before that."""
_BATCH = 512


class Listener:
    """`on_message(channel, payload)` and `on_subscribed(channel)` run on the event loop."""

    def __init__(
        self,
        url: str,
        on_message: Callable[[str, bytes], None],
        on_subscribed: Callable[[str], None],
    ) -> None:
        self._address: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
        self._on_message = on_message
        self._on_subscribed = on_subscribed
        self._wanted: set[str] = set()
        self._leaving: Counter[str] = Counter()
        """How many of our own goodbyes to a channel are not confirmed yet."""
        self._failures = 0
        self._wire: _Wire | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="listener")

    async def stop(self) -> None:
        if self._task:
            await end(self._task)

    def subscribe(self, channel: str) -> None:
        """Hear `channel` from its confirmation on, across reconnects, until `unsubscribe`."""
        if channel not in self._wanted:
            self._wanted.add(channel)
            if self._wire:
                self._wire.send([(b"SSUBSCRIBE", channel.encode())])

    def unsubscribe(self, channel: str) -> None:
        self._wanted.discard(channel)
        if self._wire:
            self._leaving[channel] += 1
            self._wire.send([(b"SUNSUBSCRIBE", channel.encode())])

    def reconnect(self) -> None:
        """Give up a connection that looks alive but does not deliver."""
        if self._wire:
            self._wire.abort()

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    self._wire = await self._connect()
                self._leaving.clear()
                await self._resubscribe(self._wire)
                await self._wire.closed
                logger.warning("listener lost its connection")
            except (OSError, TimeoutError) as error:
                logger.warning("listener cannot connect: %r", error)
            finally:
                self.reconnect()
                self._wire = None
            self._failures += 1
            await asyncio.sleep(pause(self._failures, *_BACKOFF_SECONDS))

    async def _connect(self) -> "_Wire":
        address = self._address
        tls = ssl.create_default_context() if address.get("connection_class") else None
        if tls and address.get("ssl_cert_reqs") == "none":
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        _, wire = await asyncio.get_running_loop().create_connection(
            lambda: _Wire(self._heard),
            address.get("host", "localhost"),
            address.get("port", 6379),
            ssl=tls,
        )
        if password := address.get("password"):
            user = address.get("username") or "default"
            wire.send([(b"AUTH", user.encode(), password.encode())])
        return wire

    async def _resubscribe(self, wire: "_Wire") -> None:
        channels = sorted(self._wanted)
        for first in range(0, len(channels), _BATCH):
            batch = channels[first : first + _BATCH]
            wire.send([(b"SSUBSCRIBE", channel.encode()) for channel in batch])
            await asyncio.sleep(0)

    def _heard(self, reply: Any) -> None:
        match reply:
            case [b"smessage", channel, payload]:
                self._on_message(channel.decode(), payload)
            case [b"ssubscribe", channel, _]:
                self._failures = 0
                self._on_subscribed(channel.decode())
            case [b"sunsubscribe", channel, _]:
                self._left(channel.decode())
            case hiredis.ReplyError():
                logger.error("listener was refused: %s", reply)
                self.reconnect()

    def _left(self, channel: str) -> None:
        """A goodbye that we did not say is the server's: the channel's slot has moved."""
        if self._leaving[channel]:
            self._leaving[channel] -= 1
        elif channel in self._wanted:
            logger.warning("the server ended a subscription")
            self.reconnect()


class _Wire(asyncio.Protocol):
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
