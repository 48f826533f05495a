"""One watched showtime in one process: keeps its mirror true and tells its watchers.

The mirror is loaded when the subscription is confirmed, and loaded again after every sign of loss:
a new confirmation, a hole in the numbers, another epoch, a tail that Redis has and we have not.

At each flush every watcher is led from its own position to now; the frame is built once for all who
stand at the same place, and one that lags takes a longer step: no queues. The audience is told by
writing to its transports; whoever cannot be (Server-Sent Events) waits for the flush and asks.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from server.catalogue import Layout
from server.errors import NotFound
from server.events import parse_change_set
from server.realtime import frames
from server.realtime.audience import Audience, Watcher
from server.realtime.backoff import pause
from server.realtime.frames import Step
from server.realtime.mirror import Mirror
from server.realtime.outlet import Outlet
from server.realtime.tally import Cause, Tally, Uncounted
from server.repo.seat_answers import SeatStates, StoredPosition

logger = logging.getLogger("rowlock.channel")

WINDOW_SECONDS = 0.05
"""After a flush, changes gather this long before the next one."""
WIDEST_SECONDS = 0.25
"""As long at most when there are so many watchers that a flush takes long."""
FRESH_SECONDS = 0.2
"""A step that was made for one serves others so long: it tells the time of Redis, too."""
_SPREAD = 1.5
"""So many times as long as a flush takes is it from one to the next, at least: a change waits for
that and for a flush."""
_RETRY_SECONDS = (0.1, 2.0)


class Source(Protocol):
    """Where the truth comes from."""

    async def states(self, showtime_id: str) -> tuple[Layout, SeatStates]:
        """Return drawing and states as Redis has them now; raises NotFound, StoreUnavailable."""
        ...

    async def positions(self, showtime_ids: list[str]) -> list[StoredPosition]:
        """Return where each one is, as Redis has it now; raises StoreUnavailable."""
        ...

    async def renew(self, showtime_id: str, stale_epoch: str) -> None:
        """Begin a new epoch, because the store went back in time under this one."""
        ...


class Channel:
    def __init__(self, showtime_id: str, source: Source, tally: Tally | None = None) -> None:
        self.mirror = Mirror(showtime_id)
        self.tally = tally or Uncounted()
        self.audience = Audience(self.step, self.mirror.now, self.tally)
        self.watchers = 0
        self.missing = False
        """There is no such showtime."""
        self._source = source
        self._first_load = asyncio.Event()
        self._loading: asyncio.Task[None] | None = None
        self._again = False
        self._flushed = asyncio.Event()
        self._steps: dict[int, Step] = {}
        """By where they begin; the snapshot by -1."""
        self._steps_at = 0.0
        self._beats: dict[tuple[str, int], Step] = {}
        self._oldest: int | None = None
        """When the first change that nobody was told of was made, in ms of Redis time."""
        self._told_of: int | None = None
        """The same of the flush under way."""
        self._timer: asyncio.TimerHandle | None = None
        self._last_flush = 0.0
        self._window = WINDOW_SECONDS
        self._telling = False
        self._more = False
        """Something was new while the audience was being told."""

    async def ready(self, seconds: float) -> bool:
        """Wait for the first load; False when there is still none after that time."""
        try:
            async with asyncio.timeout(seconds):
                await self._first_load.wait()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        if self._loading:
            self._loading.cancel()
        self.audience.close()
        if self._timer:
            self._timer.cancel()

    # -- keeping the mirror true --------------------------------------------------------------

    def reload(self, why: Cause) -> None:
        """Load the mirror anew; asked for while that is under way, do it once more after."""
        self.tally.reloaded(why)
        if self._loading:
            self._again = True
            return
        logger.info("loading %s: %s", self.mirror.showtime_id, why)
        self._loading = asyncio.create_task(self._load())

    def hear(self, payload: bytes) -> None:
        """Take in one message from Redis."""
        change = parse_change_set(payload)
        verdict = self.mirror.hear(change, loading=self._loading is not None)
        if verdict == "applied":
            self.tally.heard()
            if self._oldest is None:
                self._oldest = change.at
            self._flush_soon()
        elif verdict == "lost":
            self.reload("hole")

    @property
    def position(self) -> tuple[str, int] | None:
        """Where the mirror is; None while it is being loaded."""
        mirror = self.mirror
        return None if self._loading or not mirror.loaded else (mirror.epoch, mirror.seq)

    async def is_behind(self, asked: tuple[str, int], stored: tuple[str, int] | None) -> bool:
        """Say whether Redis, asked when we were at `asked`, has what we have not heard yet.

        When it has less than we had, the mirror is loaded anew.
        """
        if stored is None:
            self.reload("lost")
        elif stored[0] == asked[0] and stored[1] < asked[1]:
            await self._source.renew(self.mirror.showtime_id, asked[0])
            self.reload("went_back")
        else:
            return not self.has(stored)
        return False

    def has(self, stored: tuple[str, int] | None) -> bool:
        """Say whether the mirror has come as far, or is being loaded."""
        there = self.position
        return there is None or stored is None or (there[0] == stored[0] and there[1] >= stored[1])

    async def _load(self) -> None:
        failures, mirror = 0, self.mirror
        while True:
            self._again = False
            try:
                layout, states = await self._source.states(mirror.showtime_id)
                if states.epoch == mirror.epoch and states.seq < mirror.seq:
                    await self._source.renew(mirror.showtime_id, mirror.epoch)
                    continue  # the store went back in time: watchers would ignore what is new
            except NotFound:
                self.missing = True
                break
            except Exception as error:
                failures += 1
                logger.warning("cannot load %s yet: %r", mirror.showtime_id, error)
                await asyncio.sleep(pause(failures, *_RETRY_SECONDS))
                continue
            whole = mirror.load(layout, states)
            self._steps.clear()
            if whole and not self._again:
                break
        self._loading = None
        self._first_load.set()
        self._flush()

    # -- telling the watchers -----------------------------------------------------------------

    def step(self, epoch: str, seq: int) -> Step | None:
        """Return what brings a watcher from its position to now; None when it is there."""
        mirror = self.mirror
        if (epoch, seq) == (mirror.epoch, mirror.seq):
            return None
        since = seq if epoch == mirror.epoch else -1
        step = self._fresh_steps().get(since)
        if step is None:
            frame = self._frame(since)
            step = self._steps[since] = frames.step(frame, mirror.epoch, mirror.seq)
        return step

    def _fresh_steps(self) -> dict[int, Step]:
        """Return the steps to where the mirror is that were made a moment ago: they tell the
        time, too."""
        now = asyncio.get_running_loop().time()
        if now > self._steps_at + FRESH_SECONDS:
            self._steps.clear()
            self._beats.clear()
            self._steps_at = now
        return self._steps

    def heartbeat(self, epoch: str, seq: int) -> Step:
        """Return what says that all is well, for who stands there: the mirror may be ahead."""
        self._fresh_steps()
        position = epoch, seq
        if position not in self._beats:
            frame = frames.heartbeat(seq, self.mirror.now())
            self._beats[position] = frames.step(frame, epoch, seq)
        return self._beats[position]

    def first_step(self, epoch: str, seq: int) -> Step:
        """Return what a watcher from there hears first, be it that it has missed nothing."""
        return self.step(epoch, seq) or self._nothing_new()

    def join(
        self, wire: Outlet, epoch: str, seq: int, done: Callable[[], None] = lambda: None
    ) -> Watcher:
        """Keep a watcher informed, from its first step on, until it leaves.

        `done` is called once its connection has ended.
        """
        return self.audience.join(wire, (epoch, seq), self.first_step(epoch, seq), done)

    def _nothing_new(self) -> Step:
        mirror = self.mirror
        frame = frames.events(mirror.epoch, mirror.seq, mirror.seq, mirror.now(), [])
        return frames.step(frame, mirror.epoch, mirror.seq)

    def _frame(self, since: int) -> str:
        mirror = self.mirror
        changes = mirror.since(since) if since >= 0 else None
        if changes is None:
            return frames.snapshot(mirror.epoch, mirror.seq, mirror.now(), mirror.states)
        return frames.events(mirror.epoch, since, mirror.seq, mirror.now(), changes)

    async def changed(self) -> None:
        """Return at the next flush."""
        await self._flushed.wait()

    def _flush_soon(self) -> None:
        """Flush at once when it was quiet, else when the window since the last one has passed."""
        if self._timer:
            return
        loop = asyncio.get_running_loop()
        wait = self._last_flush + self._window - loop.time()
        if wait <= 0 or self._telling:
            self._flush()
        else:
            self._timer = loop.call_later(wait, self._flush)

    def _flush(self) -> None:
        self._timer = None
        if self._telling:
            self._more = True
            return
        self._steps.clear()
        self._last_flush = asyncio.get_running_loop().time()
        self._flushed.set()
        self._flushed = asyncio.Event()
        self._telling = True
        self._told_of, self._oldest = self._oldest, None
        if not self.audience.tell(self._told):
            self._telling = False

    def _told(self, seconds: float) -> None:
        """Everybody was told; that took so long, whatever else was done in between included."""
        self._telling = False
        if self._told_of is not None:
            self.tally.flushed((self.mirror.now() - self._told_of) / 1000)
        self._window = min(max(WINDOW_SECONDS, _SPREAD * seconds), WIDEST_SECONDS)
        if self._more:
            self._more = False
            self._flush_soon()
