"""A booking as every room sees it, and what can happen to it.

pending -> paying -> confirmed -> cancelled
pending -> expired | cancelled;  paying -> pending (declined) | expired (never paid)

Single seats of a confirmed booking may be given back: it stays confirmed, and has fewer seats.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from server.models import Caller, Money

BookingStatus = Literal["pending", "paying", "confirmed", "cancelled", "expired"]
RefundStatus = Literal["due", "done"]
CancelledBy = Literal["buyer", "admin", "house"]
"""The house cancels a whole showtime, an administrator one booking."""


@dataclass(frozen=True, slots=True)
class Refund:
    """Money to give back for seats that were given back; `key` makes it happen once."""

    key: str
    amount: Money
    seats: list[str]
    reason: CancelledBy
    status: RefundStatus = "due"


@dataclass(frozen=True, slots=True)
class Booking:
    """`seats` and `amount` are what is left of it after `cancelled_seats` were given back.

    `prices` (seat -> minor units) are those of the day it was made. `claims` says whether it still
    owns its seats; `remaining_ms` was true when read. `attempts` counts how often the provider was
    asked in vain about what is open now; `notices` are the messages its buyer has yet to be sent.
    """

    id: str
    showtime_id: str
    user_id: str
    seats: list[str]
    status: BookingStatus
    amount: Money
    prices: dict[str, int]
    created_at: datetime
    expires_at: datetime
    remaining_ms: int
    claims: bool
    cancelled_seats: list[str] = field(default_factory=list)
    intent_id: str | None = None
    attempts: int = 0
    refunds: list[Refund] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    timeline: list["TimelineEntry"] = field(default_factory=list)

    @property
    def refund(self) -> RefundStatus | None:
        """Whether money is still to be given back, or all of it was; None when there is none."""
        if not self.refunds:
            return None
        return "due" if any(refund.status == "due" for refund in self.refunds) else "done"

    def price_of(self, seats: Iterable[str]) -> Money:
        """Return what some of its seats cost; raises KeyError for a seat it never had."""
        return Money(currency=self.amount.currency, minor=sum(self.prices[seat] for seat in seats))


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
