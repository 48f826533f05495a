"""A booking as every room sees it, and what can happen to it.

pending -> paying -> confirmed -> cancelled
pending -> expired | cancelled;  paying -> pending (declined) | expired (never paid)
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from server.models import Caller, Money

BookingStatus = Literal["pending", "paying", "confirmed", "cancelled", "expired"]
RefundStatus = Literal["due", "done"]


@dataclass(frozen=True, slots=True)
class Booking:
    """`claims` says whether the booking still owns its seats; `remaining_ms` was true when read."""

    id: str
    showtime_id: str
    user_id: str
    seats: list[str]
    status: BookingStatus
    amount: Money
    created_at: datetime
    expires_at: datetime
    remaining_ms: int
    claims: bool
    intent_id: str | None = None
    refund: RefundStatus | None = None
    timeline: list["TimelineEntry"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One thing that happened to a booking; written in the same update as its effect."""

    action: str
    outcome: str
    actor_id: str | None
    request_id: str = ""
    detail: dict[str, Any] = field(default_factory=dict)
    at: datetime | None = None


SYSTEM = Caller(user_id="", request_id="")
"""Who acts when time does."""


def entry_of(action: str, caller: Caller, outcome: str = "ok", **detail: object) -> TimelineEntry:
    """Return what `caller` does to a booking as an entry of its timeline."""
    return TimelineEntry(
        action=action,
        outcome=outcome,
        actor_id=caller.user_id or None,
        request_id=caller.request_id,
        detail=detail,
    )
