"""What the seat store announces, and what becomes of a map of states when it is applied."""

import json
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

AVAILABLE, LOCKED, BOOKED, BLOCKED = ".", "l", "b", "x"

Reason = Literal["released", "expired", "cancelled", "revoked", "unblocked"]


class _Event(TypedDict):
    type: str
    seats: list[str]


class Event(_Event, total=False):
    """One public event, as it stands on the wire. `expires_at` is in ms since 1970."""

    reason: str
    expires_at: int


STATE_AFTER: dict[str, str] = {
    "seat.locked": LOCKED,
    "seat.released": AVAILABLE,
    "seat.booked": BOOKED,
    "seat.blocked": BLOCKED,
}
"""The state that an event puts its seats into; values are absolute, so overlap is harmless."""


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """What one script run changed: numbered `seq` within `epoch`, at `at` ms of Redis time."""

    epoch: str
    seq: int
    at: int
    events: list[Event]


def parse_change_set(payload: bytes | str) -> ChangeSet:
    """Read a published message; raises ValueError or KeyError when it is none."""
    body: dict[str, Any] = json.loads(payload)
    return ChangeSet(body["epoch"], body["seq"], body["at"], body["events"])
