"""Thousands of watchers of one live map, each with a map of its own, held to the public rule.

/asyncapi.json tells it: another epoch -> reconnect without a position; `seq` <= mine -> ignore;
`prev` <= mine -> apply; `prev` > mine, or a heartbeat that is ahead of me -> a gap, reconnect with
my position.
"""

import asyncio
import random
import socket
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from tests.crowd_maps import Frame, Map, Maps
from tests.crowd_wire import CrowdWire, greeting, plugged

Kind = Literal["reading", "slow", "deaf"]

SLOW_RATE = 50_000.0
"""Bytes a second: 400 kbit/s, a poor 3G connection ("Slow 3G" of browsers' developer tools)."""
BACK_SECONDS = 0.5
"""A watcher that was sent away comes back within so long, at random."""
AT_ONCE = 100
_COME_BACK = (1006, 1012, 1013, 4408)


class Crowd:
    """All watch `showtime`, whose `seats` are in layout order, at whichever of `ports` answers."""

    def __init__(
        self, showtime: str, seats: Sequence[str], ports: Sequence[int], *, lock_seconds: int
    ) -> None:
        self.showtime = showtime
        self.ports = list(ports)
        self.watchers: list[Watcher] = []
        self.counts: Counter[str] = Counter()
        """Events of all kinds of watchers: `connects`, `resumed`, `gaps`, `new epochs`, `ignored`
        and `closed CODE`."""
        self.problems: list[str] = []
        """What the servers sent that the public interface does not allow."""
        self.lags: dict[Kind, array[float]] = {"reading": array("f"), "slow": array("f")}
        """Seconds from script to arrival of the oldest change in each frame."""
        self.maps = Maps(seats, lock_seconds=lock_seconds)

    async def join(self, kind: Kind, count: int) -> "list[Watcher]":
        """Let so many more in; returns them once each has the map."""
        self.maps.forget(watcher.map for watcher in self.watchers)
        some = [Watcher(self, kind) for _ in range(count)]
        self.watchers += some
        for first in range(0, count, AT_ONCE):
            for watcher in some[first : first + AT_ONCE]:
                watcher.connect()
            async with asyncio.timeout(30):
                while not all(w.is_here for w in some[first : first + AT_ONCE]):
                    await asyncio.sleep(0.01)
        return some

    def dismiss(self, watchers: "Sequence[Watcher]") -> None:
        """Have them leave for good."""
        for watcher in watchers:
            watcher.leave()
        gone = set(watchers)
        self.watchers = [watcher for watcher in self.watchers if watcher not in gone]

    def differing(
        self, kinds: Sequence[Kind], epoch: str, seq: int, states: str
    ) -> "list[Watcher]":
        """Return those of these kinds who are not connected, or show another map than this."""
        right = self.maps.map_of(epoch, seq, states)
        asked = [watcher for watcher in self.watchers if watcher.kind in kinds]
        assert asked, "nobody is there to show a map"
        return [watcher for watcher in asked if watcher.map is not right or not watcher.is_here]


class Watcher:
    """One of the crowd; `map` is None as long as it has seen none."""

    __slots__ = ("_crowd", "_fresh", "_left", "_task", "_wire", "is_here", "kind", "map", "port")

    def __init__(self, crowd: Crowd, kind: Kind) -> None:
        self.kind = kind
        self.map: Map | None = None
        self.is_here = False
        """It is connected, and was told something on this connection."""
        self.port = 0
        self._crowd = crowd
        self._wire: CrowdWire | socket.socket | None = None
        self._fresh = self._left = False
        self._task: asyncio.Task[None] | None = None

    def connect(self) -> None:
        self._task = asyncio.create_task(self._connect())

    @property
    def own_port(self) -> int:
        """Its own end of its connection; 0: it has none."""
        wire = self._wire
        if isinstance(wire, CrowdWire):
            return wire.own_port
        return int(wire.getsockname()[1]) if wire else 0

    @property
    def received(self) -> int:
        """Bytes that have come over the connection that it has."""
        return self._wire.received if isinstance(self._wire, CrowdWire) else 0

    def leave(self) -> None:
        """Hang up, and do not come back."""
        self._left = True
        if self._task:
            self._task.cancel()
        if isinstance(self._wire, CrowdWire):
            self._wire.leave()
        elif self._wire:
            self._wire.close()

    async def _connect(self) -> None:
        crowd, known = self._crowd, self.map
        crowd.counts["connects"] += 1
        path = f"/api/showtimes/{crowd.showtime}/live"
        if known:
            path += f"?epoch={known.epoch}&seq={known.seq}"
        self.port = random.choice(crowd.ports)
        self._fresh = True
        try:
            plug = await plugged(self.port, narrow=self.kind != "reading")
        except OSError:
            self._come_back()
            return
        if self.kind == "deaf":
            await self._go_deaf(plug, path)
            return
        rate = SLOW_RATE if self.kind == "slow" else 0.0
        wire = CrowdWire(path, self, rate)
        self._wire = wire
        await asyncio.get_running_loop().create_connection(lambda: wire, sock=plug)

    async def _go_deaf(self, plug: socket.socket, path: str) -> None:
        """Read the answer and, with luck, a part of the map; never again."""
        self._wire = plug
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(plug, greeting(path))
        assert b" 101 " in await loop.sock_recv(plug, 512)
        self.is_here = True

    # -- the ears of its connection -----------------------------------------------------------

    def hear(self, wire: bytes) -> None:
        if self._wire is None or self._left:
            return  # it has hung up already
        crowd, known = self._crowd, self.map
        frame = crowd.maps.frame(wire)
        if frame.oldest and not self._fresh:
            crowd.lags[self.kind].append(time.time() - frame.oldest)
        if self._fresh:
            self._first(frame)
        if known is None:
            if frame.type == "snapshot":
                self.map = crowd.maps.map_of(frame.epoch, frame.seq, frame.states)
            elif frame.type == "events":
                crowd.problems.append("events before any snapshot")
        elif frame.type == "heartbeat":
            if frame.seq > known.seq:
                self._again("gaps")
        elif frame.epoch != known.epoch:
            self.map = None
            self._again("new epochs")
        elif frame.seq <= known.seq:
            crowd.counts["ignored"] += 1
        elif frame.type == "snapshot":
            self.map = crowd.maps.map_of(frame.epoch, frame.seq, frame.states)
        elif frame.prev <= known.seq:
            self.map = crowd.maps.after(known, frame)
        else:
            self._again("gaps")

    def _first(self, frame: Frame) -> None:
        self._fresh, self.is_here = False, True
        if frame.type == "events":
            self._crowd.counts["resumed"] += 1
        elif frame.type != "snapshot":
            self._crowd.problems.append(f"the first frame is {frame.type}")

    def ended(self, code: int) -> None:
        crowd = self._crowd
        if not self._left:
            crowd.counts[f"closed {code}"] += self._wire is not None
            if code not in _COME_BACK:
                crowd.problems.append(f"closed with {code}")
            self._come_back()

    # -- coming back --------------------------------------------------------------------------

    def _again(self, why: str) -> None:
        """Reconnect by its own wish: that is no close that anybody told."""
        self._crowd.counts[why] += 1
        wire, self._wire = self._wire, None
        assert isinstance(wire, CrowdWire)
        wire.leave()

    def _come_back(self) -> None:
        self._wire, self.is_here = None, False
        delay = random.uniform(0, BACK_SECONDS)
        asyncio.get_running_loop().call_later(delay, self._return)

    def _return(self) -> None:
        if not self._left:
            self.connect()
