"""A watcher of the live seat map, written against CONTRACT alone.

Its rule: another epoch -> reconnect without a position; `seq` <= mine -> ignore; `prev` <= mine ->
apply; `prev` > mine -> a gap, reconnect with my position.
"""

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

_STATE_AFTER = {"seat.locked": "l", "seat.released": ".", "seat.booked": "b", "seat.blocked": "x"}
_COME_BACK = (1006, 1012, 4408)
"""Close codes after which a watcher returns: the connection broke, restart, too slow."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What the map looked like to a watcher once it had reached a position."""

    epoch: str
    seq: int
    states: str


class Watcher:
    """Follows one showtime over whichever of `ports` it is sent to."""

    def __init__(
        self, name: str, ports: Sequence[int], showtime: str, seats: Sequence[str]
    ) -> None:
        self.name = name
        self.sights: list[Sight] = []
        self.counts: Counter[str] = Counter()
        """Frames by type, and `connects`, `resumed`, `gaps`, `new epochs`, `ignored`."""
        self.problems: list[str] = []
        """What the server sent that CONTRACT does not allow."""
        self._ports = ports
        self._showtime = showtime
        self._index = {seat: number for number, seat in enumerate(seats)}
        self._states: list[str] = []
        self._epoch: str | None = None
        self._seq = 0
        self._forget = False
        self._socket: ClientConnection | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def position(self) -> tuple[str, int] | None:
        return None if self._epoch is None else (self._epoch, self._seq)

    @property
    def states(self) -> str:
        return "".join(self._states)

    async def __aenter__(self) -> "Watcher":
        self._task = asyncio.create_task(self._follow(), name=f"watcher {self.name}")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def drop(self) -> None:
        """Lose the connection; the watcher comes back by itself, with its position."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def leave(self, *, forget: bool) -> None:
        """Close the connection and come back: as somebody new, or with the position."""
        self._forget = forget
        if self._socket is not None:
            await self._socket.close()

    # -- connections --------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            try:
                await self._connection(random.choice(self._ports))
            except ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else 1006
                if code not in (1000, *_COME_BACK, 1013):
                    self.problems.append(f"closed with {code}")
                    raise
                await asyncio.sleep(random.uniform(0.5, 1) if code == 1013 else 0.05)
            except OSError:
                await asyncio.sleep(0.1)

    async def _connection(self, port: int) -> None:
        if self._forget:
            self._epoch, self._forget = None, False
        resumes = self._epoch is not None
        query = f"?epoch={self._epoch}&seq={self._seq}" if resumes else ""
        address = f"ws://127.0.0.1:{port}/api/showtimes/{self._showtime}/live{query}"
        self.counts["connects"] += 1
        async with connect(address, proxy=None, max_size=None, compression=None) as self._socket:
            first = True
            async for text in self._socket:
                if not isinstance(text, str):
                    self.problems.append("a frame that is no text")
                    continue
                frame = json.loads(text)
                self.counts[frame["type"]] += 1
                if first:
                    self._check_first(frame, resumes)
                    self.counts["resumed"] += resumes and frame["type"] == "events"
                    first = False
                if not self._take(frame):
                    return

    def _check_first(self, frame: dict[str, object], resumes: bool) -> None:
        if frame["type"] != "snapshot" and not (resumes and frame["type"] == "events"):
            self.problems.append(f"the first frame is {frame['type']}")

    # -- the client rule ----------------------------------------------------------------------

    def _take(self, frame: dict[str, object]) -> bool:
        """Take one frame in; False: reconnect."""
        match frame:
            case {"type": "heartbeat", "seq": int(), "server_time": int()}:
                return True
            case {"type": "snapshot" | "events", "epoch": str(epoch), "server_time": int()} if (
                self._epoch not in (None, epoch)
            ):
                self.counts["new epochs"] += 1
                self._epoch = None
                return False
            case {"type": "snapshot", "epoch": str(epoch), "seq": int(seq), "states": str(states)}:
                if len(states) != len(self._index):
                    self.problems.append(f"a snapshot of {len(states)} seats")
                if self._epoch is None or seq > self._seq:
                    self._states = list(states)
                    self._moved(epoch, seq)
                else:
                    self.counts["ignored"] += 1
                return True
            case {"type": "events", "prev": int(prev), "seq": int(seq), "events": list(events)}:
                return self._take_events(prev, seq, events)
        self.problems.append(f"not a frame of CONTRACT: {frame}"[:200])
        return True

    def _take_events(self, prev: int, seq: int, events: list[dict[str, object]]) -> bool:
        if self._epoch is None:
            self.problems.append("events before any snapshot")
            return False
        if seq <= self._seq:
            self.counts["ignored"] += 1
            return True
        if prev > self._seq:
            self.counts["gaps"] += 1
            return False
        for event in events:
            self._apply(event)
        self._moved(self._epoch, seq)
        return True

    def _apply(self, event: dict[str, object]) -> None:
        allowed = {"type", "seats", "reason", "expires_at"}
        if event.keys() - allowed:
            self.problems.append(f"an event tells {sorted(event.keys() - allowed)}")
        if event["type"] == "seat.locked" and not isinstance(event.get("expires_at"), int):
            self.problems.append("a locked seat without its deadline")
        seats = event["seats"]
        assert isinstance(seats, list)
        for seat in seats:
            self._states[self._index[seat]] = _STATE_AFTER[str(event["type"])]

    def _moved(self, epoch: str, seq: int) -> None:
        self._epoch, self._seq = epoch, seq
        self.sights.append(Sight(epoch, seq, self.states))
