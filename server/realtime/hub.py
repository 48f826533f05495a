"""All watched showtimes of one process, on one listener."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Iterator

from server.detached import end
from server.errors import StoreUnavailable
from server.realtime.channel import WINDOW_SECONDS, Channel, Source
from server.realtime.listener import Listener
from server.realtime.shard import PROBE_SECONDS
from server.realtime.tally import Tally, Uncounted
from server.repo.keys import showtime_keys, showtime_of_channel

logger = logging.getLogger("rowlock.hub")

TAIL_CHECK_SECONDS = 5.0
KEEP_SECONDS = 60.0
"""How long a mirror outlives its last watcher."""


class Hub:
    def __init__(
        self,
        redis_url: str,
        source: Source,
        *,
        tail_check_seconds: float = TAIL_CHECK_SECONDS,
        keep_seconds: float = KEEP_SECONDS,
        probe_seconds: float = PROBE_SECONDS,
        tally: Tally | None = None,
    ) -> None:
        self._tail_check_seconds = tail_check_seconds
        self._keep_seconds = keep_seconds
        self._listener = Listener(
            redis_url, self._heard, self._subscribed, probe_seconds=probe_seconds
        )
        self._source = source
        self._tally = tally or Uncounted()
        self._channels: dict[str, Channel] = {}
        self._unwatched: dict[Channel, asyncio.TimerHandle] = {}
        """Those that nobody watches, and when they are forgotten."""
        self._tail_check: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._listener.start()
        self._tail_check = asyncio.create_task(self._check_tails(), name="tail check")

    async def stop(self) -> None:
        if self._tail_check:
            await end(self._tail_check)
        await self._listener.stop()
        for timer in self._unwatched.values():
            timer.cancel()
        for channel in self._channels.values():
            channel.close()

    def census(self) -> dict[str, int]:
        """Return how many watch, and how many showtimes are mirrored for them."""
        channels = self._channels.values()
        return {"watchers": sum(each.watchers for each in channels), "mirrors": len(channels)}

    @contextlib.contextmanager
    def watched(self, showtime_id: str) -> Iterator[Channel]:
        """Give the showtime's channel; it is kept as long as somebody watches, and a while more."""
        channel = self.enter(showtime_id)
        try:
            yield channel
        finally:
            self.leave(channel)

    def enter(self, showtime_id: str) -> Channel:
        """The same as `watched` for one who calls `leave` at the end."""
        channel = self._channels.get(showtime_id)
        if channel is None:
            channel = self._channels[showtime_id] = Channel(showtime_id, self._source, self._tally)
            self._listener.subscribe(showtime_keys(showtime_id)["channel"])
        elif timer := self._unwatched.pop(channel, None):
            timer.cancel()
        channel.watchers += 1
        self._tally.came()
        return channel

    def leave(self, channel: Channel) -> None:
        self._tally.went()
        channel.watchers -= 1
        if not channel.watchers:
            wait = 0.0 if channel.missing else self._keep_seconds
            loop = asyncio.get_running_loop()
            self._unwatched[channel] = loop.call_later(wait, self._forget, channel)

    def _forget(self, channel: Channel) -> None:
        showtime_id = channel.mirror.showtime_id
        del self._unwatched[channel], self._channels[showtime_id]
        self._listener.unsubscribe(showtime_keys(showtime_id)["channel"])
        channel.close()

    def _heard(self, name: str, payload: bytes) -> None:
        if channel := self._channels.get(showtime_of_channel(name)):
            channel.hear(payload)

    def _subscribed(self, name: str) -> None:
        if channel := self._channels.get(showtime_of_channel(name)):
            channel.reload("subscribed")

    async def _check_tails(self) -> None:
        """Now and then ask Redis where it is: a lost last message shows in no other way."""
        while True:
            await asyncio.sleep(self._tail_check_seconds * random.uniform(0.8, 1.2))  # noqa: S311
            try:
                await self._check_all()
            except Exception as error:
                logger.warning("tail check failed: %r", error)
                self._listener.look_again()

    async def _check_all(self) -> None:
        """Compare where all mirrors are with where Redis is, in one round trip."""
        asked = [(c, p) for c in self._channels.values() if (p := c.position) is not None]
        if not asked:
            return
        found = await self._source.positions([c.mirror.showtime_id for c, _ in asked])
        late = []
        for (channel, position), stored in zip(asked, found, strict=True):
            if isinstance(stored, StoreUnavailable):
                self._listener.look_again()  # its server may have been replaced; on with the rest
            elif await channel.is_behind(position, stored):
                late.append((channel, stored))
        if not late:
            return
        await asyncio.sleep(2 * WINDOW_SECONDS)  # what is missing may be on its way
        for channel, stored in late:
            if not channel.has(stored):
                logger.warning("messages were lost: listening anew")
                self._listener.reconnect(showtime_keys(channel.mirror.showtime_id)["channel"])
