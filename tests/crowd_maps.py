"""The maps that a crowd holds, and what frames make of them.

What a frame makes of a map is worked out once for all who hold that map: a map is a value, and the
same bytes on top of the same map give the same. So nobody is believed to know what it was not told.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from tests.crowd_wire import payload

_STATE_AFTER = {"seat.locked": "l", "seat.released": ".", "seat.booked": "b", "seat.blocked": "x"}
_MOST_FRAMES = 2048


class Map:
    """What a watcher knows: equal maps are one and the same object."""

    __slots__ = ("epoch", "seq", "states")

    def __init__(self, epoch: str, seq: int, states: str) -> None:
        self.epoch, self.seq, self.states = epoch, seq, states


class Frame:
    """One frame, read once however many got it."""

    __slots__ = ("epoch", "events", "leads", "oldest", "prev", "seq", "states", "type")

    def __init__(self, wire: bytes, lock_ms: int) -> None:
        told: dict[str, Any] = json.loads(payload(wire))
        self.type: str = told["type"]
        self.epoch: str = told.get("epoch", "")
        self.seq: int = told["seq"]
        self.prev: int = told.get("prev", 0)
        self.states: str = told.get("states", "")
        self.events: list[dict[str, Any]] = told.get("events", [])
        deadlines = [event["expires_at"] for event in self.events if "expires_at" in event]
        self.oldest = (min(deadlines) - lock_ms) / 1000 if deadlines else 0.0
        """When the oldest lock that it tells of was taken, by Redis' clock; 0: of none."""
        self.leads: dict[Map, Map] = {}


class Maps:
    """Of one showtime, whose `seats` are in layout order."""

    def __init__(self, seats: Sequence[str], *, lock_seconds: int) -> None:
        self._index = {seat: number for number, seat in enumerate(seats)}
        self._lock_ms = lock_seconds * 1000
        self._frames: dict[bytes, Frame] = {}
        self._known: dict[tuple[str, int, str], Map] = {}

    def frame(self, wire: bytes) -> Frame:
        """Read a frame, unless that was done before."""
        frame = self._frames.get(wire)
        if frame is None:
            frame = self._frames[wire] = Frame(wire, self._lock_ms)
        return frame

    def map_of(self, epoch: str, seq: int, states: str) -> Map:
        return self._known.setdefault((epoch, seq, states), Map(epoch, seq, states))

    def after(self, known: Map, frame: Frame) -> Map:
        """Return the map that the events of `frame` make of `known`."""
        led = frame.leads.get(known)
        if led is None:
            states = list(known.states)
            for event in frame.events:
                for seat in event["seats"]:
                    states[self._index[seat]] = _STATE_AFTER[event["type"]]
            led = frame.leads[known] = self.map_of(frame.epoch, frame.seq, "".join(states))
        return led

    def forget(self, held: "Iterable[Map | None]") -> None:
        """Once much is remembered, drop all but the maps in `held`."""
        if len(self._frames) > _MOST_FRAMES:
            self._frames.clear()
            kept = {*held}
            self._known = {key: known for key, known in self._known.items() if known in kept}
