"""What one process knows of one watched showtime: the states, the position, the recent changes.

Pure bookkeeping, no I/O. A change is applied only when it is the very next one; anything else shows
that something was lost, and then the mirror asks to be loaded again instead of guessing.
"""

import time
from collections import deque
from typing import Literal

from server.catalogue import Layout
from server.events import AVAILABLE, STATE_AFTER, ChangeSet, Event
from server.repo.seat_answers import SeatStates

RING = 512
"""How many recent changes are kept, for watchers that come back or lag behind."""

_DRIFT = 200e-6
"""So much, as a part of the time gone by, two clocks may run apart."""

Verdict = Literal["applied", "ignored", "lost"]


class Mirror:
    """`epoch` is "" until the first load."""

    def __init__(self, showtime_id: str) -> None:
        self.showtime_id = showtime_id
        self.epoch = ""
        self.seq = 0
        self._layout: Layout | None = None
        self._states: list[str] = []
        self._joined: str | None = None
        self._ring: deque[ChangeSet] = deque(maxlen=RING)
        self._early: deque[ChangeSet] = deque(maxlen=RING)
        self._clock_offset = 0.0
        self._clock_set_at = 0.0

    @property
    def loaded(self) -> bool:
        return self.epoch != ""

    @property
    def states(self) -> str:
        """One character per seat, in layout order; put together once for each position."""
        if self._joined is None:
            self._joined = "".join(self._states)
        return self._joined

    def now(self) -> int:
        """Return the time of Redis, in ms, as far as it can be told from here."""
        return round(time.monotonic() * 1000 + self._clock_offset)

    def load(self, layout: Layout, states: SeatStates) -> bool:
        """Take a snapshot over; changes heard while it was read are applied on top.

        False when they leave a hole: then it must be loaded once more.
        """
        if (states.epoch, states.seq) != (self.epoch, self.seq):
            self._ring.clear()
        self._layout = layout
        self.epoch, self.seq = states.epoch, states.seq
        self._states = [states.taken.get(seat, AVAILABLE) for seat in layout.seat_ids]
        self._joined = None
        self._clock_offset = states.now - time.monotonic() * 1000
        self._clock_set_at = time.monotonic()
        early = list(self._early)
        self._early.clear()
        return all(self._apply(change) != "lost" for change in early)

    def hear(self, change: ChangeSet, *, loading: bool) -> Verdict:
        """Take in one announced change; while a load is under way it waits for the snapshot."""
        if loading:
            self._early.append(change)
            return "ignored"
        return self._apply(change)

    def _apply(self, change: ChangeSet) -> Verdict:
        if change.epoch != self.epoch:
            return "lost"
        if change.seq <= self.seq:
            return "ignored"
        if change.seq != self.seq + 1:
            return "lost"
        assert self._layout is not None
        for event in change.events:
            state = STATE_AFTER[event["type"]]
            for seat in event["seats"]:
                self._states[self._layout.index[seat]] = state
        self._joined = None
        self.seq = change.seq
        self._ring.append(change)
        self._set_clock(change.at)
        return "applied"

    def since(self, seq: int) -> list[Event] | None:
        """Return the events that lead from `seq` to now, folded: one per seat, the last one.

        None when they are no longer known.
        """
        if seq == self.seq:
            return []
        if seq > self.seq or not self._ring or self._ring[0].seq > seq + 1:
            return None
        return fold([change for change in self._ring if change.seq > seq])

    def _set_clock(self, redis_now: int) -> None:
        """Go by the message that was on its way for the shortest time, the drift allowed for."""
        now = time.monotonic()
        drift = _DRIFT * (now - self._clock_set_at) * 1000
        self._clock_offset = max(redis_now - now * 1000, self._clock_offset - drift)
        self._clock_set_at = now


def fold(changes: list[ChangeSet]) -> list[Event]:
    """Join changes so that each seat appears once, with what happened to it last."""
    if len(changes) == 1 and len(changes[0].events) == 1:
        return changes[0].events
    last: dict[str, Event] = {}
    for change in changes:
        for event in change.events:
            for seat in event["seats"]:
                last[seat] = event
    folded: dict[tuple[str, str, int], Event] = {}
    for seat, event in last.items():
        kind = (event["type"], event.get("reason", ""), event.get("expires_at", 0))
        if kind in folded:
            folded[kind]["seats"].append(seat)
        else:
            folded[kind] = {**event, "seats": [seat]}
    return list(folded.values())
