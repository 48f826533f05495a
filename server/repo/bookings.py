"""Collection `bookings`: the truth about what is sold.

A booking owns its seats while it has `claims`; the unique index on (showtime_id, claims) is the
last guard against a double sale. Every change is a compare-and-set on the status, adds its entry to
the timeline in the same update, and flags what must follow: `audit_due` (copy the timeline to the
audit log) and `seats_due` (make Redis show it). Deadlines are judged by MongoDB's clock.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Literal

from server.booking import Booking, BookingStatus, TimelineEntry
from server.models import Money, to_ms
from server.repo.mongo import Database, Document, DuplicateKeyError, ReturnDocument, is_duplicate_of
from server.repo.seat_answers import Claim

PAY_SECONDS = 15
"""How long a payment may stay unknown before the reconciler asks the provider to end it."""

_DEADLINE = {"pending": "expires_at", "paying": "pay_by"}
_OVERDUE = {"$expr": {"$lte": ["$expires_at", "$$NOW"]}}
_IN_TIME = {"$expr": {"$gt": ["$expires_at", "$$NOW"]}}


Entries = Sequence[TimelineEntry]


class SeatsClaimed(Exception):
    """Another booking owns some of these seats."""


class BookingRepo:
    def __init__(self, database: Database) -> None:
        self._rows = database["bookings"]

    async def insert(self, booking: Booking, entry: TimelineEntry) -> bool:
        """Store a pending booking with its claims. False when this very id is stored already.

        Raises SeatsClaimed.
        """
        try:
            await self._rows.insert_one(
                {
                    "_id": booking.id,
                    "showtime_id": booking.showtime_id,
                    "user_id": booking.user_id,
                    "seats": booking.seats,
                    "claims": booking.seats,
                    "status": booking.status,
                    "amount": booking.amount.as_json(),
                    "created_at": booking.created_at,
                    "updated_at": booking.created_at,
                    "expires_at": booking.expires_at,
                    "timeline": [_document(entry) | {"at": booking.created_at}],
                    "audit_due": True,
                    "seats_due": True,
                }
            )
        except DuplicateKeyError as error:
            if is_duplicate_of(error, "claims"):
                raise SeatsClaimed from error
            return False
        return True

    # -- reading ------------------------------------------------------------------------------

    async def get(self, booking_id: str) -> Booking | None:
        rows = await self._read({"_id": booking_id}, limit=1)
        return rows[0] if rows else None

    async def of_user(
        self,
        user_id: str,
        status: BookingStatus | None,
        before: tuple[datetime, str] | None,
        limit: int,
    ) -> list[Booking]:
        """Return a user's bookings, newest first, from `before` (created_at, id) on."""
        where: Document = {"user_id": user_id}
        if status:
            where["status"] = status
        if before:
            at, booking_id = before
            where["$or"] = [
                {"created_at": {"$lt": at}},
                {"created_at": at, "_id": {"$lt": booking_id}},
            ]
        return await self._read(where, limit=limit)

    async def claims(self, showtime_id: str, seats: Sequence[str] | None = None) -> list[Claim]:
        """Return what is claimed of a showtime, or which bookings claim some of `seats`."""
        claimed: Document = {"$exists": True} if seats is None else {"$in": list(seats)}
        rows = self._rows.find({"showtime_id": showtime_id, "claims": claimed})
        return [claim_of(_booking(row)) async for row in rows]

    async def sold(self) -> Counter[str]:
        """Return currency -> minor units of all confirmed bookings."""
        total: Counter[str] = Counter()
        async for row in self._rows.find({"status": "confirmed"}, {"amount": 1}):
            total[row["amount"]["currency"]] += row["amount"]["minor"]
        return total

    async def intents_under_way(self) -> list[str]:
        """Return the payment intents whose outcome is not settled."""
        rows = self._rows.find({"status": "paying"}, {"intent_id": 1})
        return [row["intent_id"] async for row in rows]

    async def with_wrong_claims(self) -> AsyncIterator[str]:
        """Yield the ids of bookings whose claims are not what their status asks for."""
        alive = {"$in": ["$status", ["pending", "paying", "confirmed"]]}
        wanted = {"$cond": [alive, "$seats", None]}
        wrong = {"$expr": {"$ne": [{"$ifNull": ["$claims", None]}, wanted]}}
        async for row in self._rows.find(wrong, {"_id": 1}):
            yield row["_id"]

    async def overdue(self, status: Literal["pending", "paying"], limit: int) -> list[Booking]:
        """Return bookings of that status past their deadline, those that wait longest first."""
        deadline = _DEADLINE[status]
        late = {"status": status, "$expr": {"$lte": [f"${deadline}", "$$NOW"]}}
        return await self._read(late, limit=limit, order={deadline: 1})

    async def audit_due(self, limit: int) -> list[Booking]:
        return await self._read({"audit_due": True}, limit=limit)

    async def seats_due(self, limit: int) -> list[Booking]:
        return await self._read({"seats_due": True}, limit=limit)

    async def refund_due(self, limit: int) -> list[Booking]:
        return await self._read({"refund": "due"}, limit=limit)

    # -- changing: each returns the booking as it is now, or None when it was not as expected ---

    async def start_payment(
        self, booking: Booking, intent_id: str, entries: Entries
    ) -> Booking | None:
        """pending -> paying, while there is time left; from here a provider may move money."""
        deadline = {"$dateAdd": {"startDate": "$$NOW", "unit": "second", "amount": PAY_SECONDS}}
        return await self._move(
            {"_id": booking.id, "status": "pending", **_IN_TIME},
            entries,
            status="paying",
            intent_id=intent_id,
            computed={"pay_by": deadline},
        )

    async def confirm(self, booking: Booking, entries: Entries) -> Booking | None:
        """paying -> confirmed: the sale."""
        return await self._move(_paying(booking), entries, status="confirmed", seats_due=True)

    async def decline(self, booking: Booking, entries: Entries) -> Booking | None:
        """paying -> pending: nothing was captured, another attempt may come."""
        return await self._move(_paying(booking), entries, status="pending", intent_id=None)

    async def expire_unpaid(self, booking: Booking, entries: Entries) -> Booking | None:
        """paying -> expired, after the provider has cancelled the intent for good."""
        return await self._end(_paying(booking), entries, "expired")

    async def expire(self, booking: Booking, entries: Entries) -> Booking | None:
        """pending -> expired, past its deadline."""
        return await self._end(
            {"_id": booking.id, "status": "pending", **_OVERDUE}, entries, "expired"
        )

    async def cancel(self, booking: Booking, entries: Entries) -> Booking | None:
        """pending | confirmed -> cancelled; a confirmed one becomes due for a refund."""
        refund = {"refund": "due"} if booking.status == "confirmed" else {}
        where = {"_id": booking.id, "status": booking.status}
        return await self._end(where, entries, "cancelled", **refund)

    async def refunded(self, booking: Booking, entries: Entries) -> Booking | None:
        return await self._move({"_id": booking.id, "refund": "due"}, entries, refund="done")

    async def seats_shown(self, booking: Booking) -> bool:
        """Redis shows this booking as it is: nothing is due. False when it has moved on."""
        result = await self._rows.update_one(
            {"_id": booking.id, "status": booking.status}, {"$unset": {"seats_due": ""}}
        )
        return bool(result.matched_count)

    async def audited(self, booking: Booking) -> None:
        """The timeline, as read, is in the audit log."""
        await self._rows.update_one(
            {"_id": booking.id, "timeline": {"$size": len(booking.timeline)}},
            {"$unset": {"audit_due": ""}},
        )

    # -- inside -------------------------------------------------------------------------------

    async def _end(
        self, where: Document, entries: Entries, status: BookingStatus, **values: Any
    ) -> Booking | None:
        return await self._move(where, entries, free=True, status=status, seats_due=True, **values)

    async def _move(
        self,
        where: Document,
        entries: Entries,
        *,
        free: bool = False,
        computed: Document | None = None,
        **values: Any,
    ) -> Booking | None:
        """Compare-and-set: where `where` holds, set `values`, add `entries`, flag the audit."""
        added = [
            {"$mergeObjects": [{"$literal": _document(entry)}, {"at": "$$NOW"}]}
            for entry in entries
        ]
        stages: list[Document] = [
            {
                "$set": {
                    **{name: {"$literal": value} for name, value in values.items()},
                    **(computed or {}),
                    "audit_due": True,
                    "updated_at": "$$NOW",
                    "timeline": {"$concatArrays": ["$timeline", added]},
                }
            }
        ]
        if free:
            stages.append({"$unset": "claims"})
        row = await self._rows.find_one_and_update(
            where, stages, return_document=ReturnDocument.AFTER
        )
        return _booking(row) if row else None

    async def _read(
        self, where: Document, *, limit: int, order: Document | None = None
    ) -> list[Booking]:
        """Return matches (newest first), with MongoDB's own time in place of `updated_at`."""
        rows = self._rows.aggregate(
            [
                {"$match": where},
                {"$sort": order or {"created_at": -1, "_id": -1}},
                {"$limit": limit},
                {"$set": {"updated_at": "$$NOW"}},
            ]
        )
        return [_booking(row) async for row in rows]


def claim_of(booking: Booking) -> Claim:
    return Claim(
        booking_id=booking.id,
        user_id=booking.user_id,
        seats=booking.seats,
        booked=booking.status == "confirmed",
        expires_at=to_ms(booking.expires_at),
    )


def _paying(booking: Booking) -> Document:
    return {"_id": booking.id, "status": "paying", "intent_id": booking.intent_id}


def _document(entry: TimelineEntry) -> Document:
    return {
        "action": entry.action,
        "outcome": entry.outcome,
        "actor_id": entry.actor_id,
        "request_id": entry.request_id,
        "detail": entry.detail,
    }


def _booking(row: Document) -> Booking:
    return Booking(
        id=row["_id"],
        showtime_id=row["showtime_id"],
        user_id=row["user_id"],
        seats=row["seats"],
        status=row["status"],
        amount=Money(**row["amount"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        remaining_ms=max(0, to_ms(row["expires_at"]) - to_ms(row["updated_at"])),
        claims="claims" in row,
        intent_id=row.get("intent_id"),
        refund=row.get("refund"),
        timeline=[TimelineEntry(**entry) for entry in row["timeline"]],
    )
