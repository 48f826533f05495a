"""A booking as MongoDB stores it."""

from typing import Any

from server.booking import Booking, Refund, TimelineEntry
from server.models import Money, to_ms
from server.repo.mongo import Document
from server.repo.seat_answers import Claim


def booking_row(booking: Booking, entry: TimelineEntry) -> Document:
    """Return the document of a new booking, its seats claimed."""
    return {
        "_id": booking.id,
        "showtime_id": booking.showtime_id,
        "user_id": booking.user_id,
        "seats": booking.seats,
        "claims": booking.seats,
        "status": booking.status,
        "amount": booking.amount.as_json(),
        "prices": booking.prices,
        "created_at": booking.created_at,
        "updated_at": booking.created_at,
        "expires_at": booking.expires_at,
        "timeline": [entry_row(entry) | {"at": booking.created_at}],
        "audit_due": True,
        "seats_due": True,
    }


def entry_row(entry: TimelineEntry) -> Document:
    """Return an entry without its time, which MongoDB sets."""
    return {
        "action": entry.action,
        "outcome": entry.outcome,
        "actor_id": entry.actor_id,
        "request_id": entry.request_id,
        "detail": entry.detail,
    }


def refund_row(refund: Refund) -> Document:
    return {
        "key": refund.key,
        "amount": refund.amount.as_json(),
        "seats": refund.seats,
        "reason": refund.reason,
        "status": refund.status,
    }


def booking_of(row: dict[str, Any]) -> Booking:
    """Return the booking in `row`, whose `updated_at` holds the time at which it was read."""
    return Booking(
        id=row["_id"],
        showtime_id=row["showtime_id"],
        user_id=row["user_id"],
        seats=row["seats"],
        status=row["status"],
        amount=Money(**row["amount"]),
        prices=row.get("prices") or _spread(row["amount"]["minor"], row["seats"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        remaining_ms=max(0, to_ms(row["expires_at"]) - to_ms(row["updated_at"])),
        claims="claims" in row,
        cancelled_seats=row.get("cancelled_seats", []),
        intent_id=row.get("intent_id"),
        attempts=row.get("attempts", 0),
        refunds=[_refund_of(refund) for refund in row.get("refunds", [])],
        notices=row.get("notices", []),
        timeline=[TimelineEntry(**entry) for entry in row["timeline"]],
    )


def claim_of(booking: Booking) -> Claim:
    """Return what the seat map is to show of a booking."""
    return Claim(
        booking_id=booking.id,
        user_id=booking.user_id,
        seats=booking.seats,
        booked=booking.status == "confirmed",
        expires_at=to_ms(booking.expires_at),
    )


def _spread(minor: int, seats: list[str]) -> dict[str, int]:
    """Return prices that add up to `minor`, for a booking from before prices were kept."""
    share, rest = divmod(minor, len(seats))
    return {seat: share + (number < rest) for number, seat in enumerate(seats)}


def _refund_of(row: dict[str, Any]) -> Refund:
    return Refund(**{**row, "amount": Money(**row["amount"])})
