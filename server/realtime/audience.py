"""Who watches one showtime through a transport that takes ready frames.

No task, no queue and no timer each: a watcher is an object in a group of those who stand at the
same position. A round writes the group's frame to every transport, so many at a time, and lets the
event loop breathe in between. Whoever's transport says that it is full is set aside and hears
nothing until it has drained; then it takes one step to where the others are. Who stays full is let
go.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator
from time import perf_counter

from server.realtime import frames
from server.realtime.frames import Step
from server.realtime.outlet import Outlet, Write, write_all
from server.realtime.tally import Tally

logger = logging.getLogger("rowlock.audience")

HEARTBEAT_SECONDS = 15.0
SLOW_SECONDS = 10.0
"""A client that takes no frame for so long is let go."""
MOST_BUFFERED = 256 * 1024
"""Bytes. A client that is full and has so much before it is let go at once."""
GOODBYE_SECONDS = 1.0
"""So long a client that is let go has to take the close code."""
SLICE = 500
TOO_SLOW = 4408

Position = tuple[str, int]


class Watcher:
    """One who watches, and what its transport tells: nobody asks how it is before a write.

    `position` is told for those set aside alone.
    """

    __slots__ = ("_audience", "_done", "full_since", "position", "wire")

    def __init__(
        self, wire: Outlet, audience: "Audience", position: Position, done: Callable[[], None]
    ) -> None:
        """`done` is called once the connection has ended."""
        self.wire = wire
        self.position = position
        self.full_since = 0.0
        self._audience = audience
        self._done = done

    def full(self) -> None:
        """The transport should be given nothing more for now."""
        self._audience.set_aside(self)

    def drained(self) -> None:
        """The transport takes frames again."""
        self._audience.catch_up(self)

    def ended(self) -> None:
        """Nothing can be sent any more."""
        self._audience.leave(self)

    def lost(self) -> None:
        """The connection has ended."""
        self._audience.leave(self)
        self._done()


class _Group:
    __slots__ = ("left", "position", "watchers")

    def __init__(self, position: Position) -> None:
        self.position = position
        self.watchers: dict[Watcher, Write] = {}
        self.left = 0
        """How many have left it."""

    def remove(self, watcher: Watcher) -> bool:
        """False when it was not in it."""
        found = self.watchers.pop(watcher, None) is not None
        self.left += found
        return found


class Audience:
    """Runs on the event loop alone."""

    def __init__(
        self,
        step: Callable[[str, int], Step | None],
        now: Callable[[], int],
        tally: Tally,
    ) -> None:
        """`step` leads from a position to now, and `now` is the time of Redis in ms."""
        self._step = step
        self._now = now
        self._tally = tally
        self._groups: list[_Group] = []
        self._full: dict[Watcher, None] = {}
        """In the order in which they were set aside."""
        self._rounds: deque[Iterator[None]] = deque()
        self._beat_timer: asyncio.TimerHandle | None = None
        self._full_timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return sum(len(group.watchers) for group in self._groups) + len(self._full)

    def close(self) -> None:
        self._groups.clear()
        self._full.clear()
        self._rounds.clear()
        for timer in (self._beat_timer, self._full_timer):
            if timer:
                timer.cancel()

    # -- coming and going ---------------------------------------------------------------------

    def join(
        self, wire: Outlet, position: Position, first: Step, done: Callable[[], None]
    ) -> Watcher:
        """Send the first step to one that comes from `position`, and keep it informed.

        `done` is called once its connection has ended.
        """
        watcher = Watcher(wire, self, position, done)
        self._lead(watcher, position, first)
        if self._beat_timer is None:
            self._beat_later()
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Harmless for one that has left already."""
        self._full.pop(watcher, None)
        for group in self._groups:
            group.remove(watcher)

    def set_aside(self, watcher: Watcher) -> None:
        """Let one who is full hear nothing until it has drained.

        It may have had the frame of the round under way, or not: its step begins where the group
        stood before, and what comes twice is ignored.
        """
        for group in self._groups:
            if group.remove(watcher):
                self._wait_for(watcher, group.position)

    def catch_up(self, watcher: Watcher) -> None:
        """Lead one that was set aside to where the others are, if it takes that."""
        if watcher in self._full:
            del self._full[watcher]
            self._lead(watcher, watcher.position, self._step(*watcher.position))

    def _lead(self, watcher: Watcher, position: Position, step: Step | None) -> None:
        wire = watcher.wire
        if step is not None and not wire.full:
            write_all([wire.write], step.wire)
            position = step.epoch, step.seq
        if wire.full:
            self._wait_for(watcher, position)
        else:
            self._group(position).watchers[watcher] = wire.write

    def _group(self, position: Position) -> _Group:
        for group in self._groups:
            if group.position == position:
                return group
        self._groups.append(_Group(position))
        return self._groups[-1]

    # -- rounds -------------------------------------------------------------------------------

    def tell(self, told: Callable[[float], None]) -> bool:
        """Lead everybody to now; `told` hears how many seconds that took, writes included.

        False when nobody is there to be told.
        """
        if not self._groups:
            return False
        self._go(self._news(told))
        return True

    def _go(self, going: Iterator[None]) -> None:
        self._rounds.append(going)
        if len(self._rounds) == 1:
            self._next_slice()

    def _next_slice(self) -> None:
        """Do one slice; rounds come one after another, so that no frame overtakes another."""
        while self._rounds:
            try:
                for _ in self._rounds[0]:
                    asyncio.get_running_loop().call_soon(self._next_slice)
                    return
            except Exception:
                logger.exception("a round was given up")  # the next one leads from where each is
            self._rounds.popleft()

    def _news(self, told: Callable[[float], None]) -> Iterator[None]:
        began = perf_counter()
        try:
            self._merge()
            for group in list(self._groups):
                step = self._step(*group.position)
                if step is not None:
                    self._tally.delivered(len(group.watchers))
                    yield from self._write(group, step.wire)
                    group.position = step.epoch, step.seq
            yield  # a loop may write at the end of its turn
        finally:
            told(perf_counter() - began)

    def _beats(self) -> Iterator[None]:
        self._merge()
        for group in list(self._groups):
            frame = frames.websocket(frames.heartbeat(group.position[1], self._now()))
            yield from self._write(group, frame)

    def _write(self, group: _Group, frame: bytes) -> Iterator[None]:
        """Write `frame` to all that are in the group now, and still are when it is their turn."""
        watchers, writes, left = list(group.watchers), list(group.watchers.values()), group.left
        for first in range(0, len(writes), SLICE):
            if first:
                yield
            some = writes[first : first + SLICE]
            if group.left != left:
                turn = zip(watchers[first : first + SLICE], some, strict=True)
                some = [write for watcher, write in turn if watcher in group.watchers]
            write_all(some, frame)

    def _merge(self) -> None:
        """Join groups that have come to the same position, and forget the empty ones."""
        merged: dict[Position, _Group] = {}
        for group in self._groups:
            if group.watchers:
                into = merged.setdefault(group.position, group)
                if into is not group:
                    into.watchers.update(group.watchers)
        self._groups = list(merged.values())

    def _beat_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._beat_timer = loop.call_later(HEARTBEAT_SECONDS, self._beat)

    def _beat(self) -> None:
        self._beat_timer = None
        if len(self):
            self._beat_later()
            self._go(self._beats())

    # -- the slow ones ------------------------------------------------------------------------

    def _wait_for(self, watcher: Watcher, position: Position) -> None:
        wire = watcher.wire
        if wire.gone:
            return
        if wire.buffered > MOST_BUFFERED:
            self._let_go(watcher)
            return
        watcher.position = position
        watcher.full_since = asyncio.get_running_loop().time()
        self._full[watcher] = None
        if self._full_timer is None:
            self._watch_the_full(watcher)

    def _watch_the_full(self, oldest: Watcher) -> None:
        deadline = oldest.full_since + SLOW_SECONDS
        self._full_timer = asyncio.get_running_loop().call_at(deadline, self._end_the_slow)

    def _end_the_slow(self) -> None:
        self._full_timer = None
        limit = asyncio.get_running_loop().time() - SLOW_SECONDS
        for watcher in list(self._full):
            if watcher.full_since > limit:
                self._watch_the_full(watcher)
                return
            del self._full[watcher]
            self._let_go(watcher)

    def _let_go(self, watcher: Watcher) -> None:
        self._tally.too_slow()
        watcher.wire.farewell(TOO_SLOW, GOODBYE_SECONDS)
