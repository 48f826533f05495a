"""Collection `bookings`: the truth about what is sold.

A booking owns its seats while it has `claims`; the unique index on (showtime_id, claims) is the
last guard against a double sale. Every change is a compare-and-set on the status, adds its entry to
the timeline in the same update, and flags what must follow: `audit_due` (copy the timeline to the
audit log), `seats_due` (make Redis show it), `refund_due` (give money back) and `notices` (tell the
buyer). Deadlines are judged by MongoDB's clock.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from server.booking import Booking, BookingStatus, CancelledBy, Refund, TimelineEntry
from server.repo.booking_rows import booking_of, booking_row, claim_of, entry_row, refund_row
from server.repo.mongo import Database, Document, DuplicateKeyError, ReturnDocument, is_duplicate_of
from server.repo.seat_answers import Claim

PAY_SECONDS = 15
"""How long a payment may stay unknown before the reconciler asks the provider to end it."""

_DEADLINE = {"pending": "expires_at", "paying": "pay_by"}
_OVERDUE = {"$expr": {"$lte": ["$expires_at", "$$NOW"]}}
_IN_TIME = {"$expr": {"$gt": ["$expires_at", "$$NOW"]}}
_LONG_AGO = datetime.fromtimestamp(0, UTC)


Entries = Sequence[TimelineEntry]
Postponed = Literal["pay_by", "refund_at", "seats_at"]
"""Until when a payment is left to itself, a refund, or the image on the map."""


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
            await self._rows.insert_one(booking_row(booking, entry))
        except DuplicateKeyError as error:
            if is_duplicate_of(error, "claims"):
                raise SeatsClaimed from error
            return False
        return True

    # -- reading ------------------------------------------------------------------------------

    async def get(self, booking_id: str) -> Booking | None:
        rows = await self._read({"_id": booking_id}, limit=1)
        return rows[0] if rows else None

    async def get_many(self, booking_ids: Sequence[str]) -> dict[str, Booking]:
        """Return those that there are, by id."""
        found = await self._read({"_id": {"$in": list(booking_ids)}}, limit=len(booking_ids) or 1)
        return {booking.id: booking for booking in found}

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
        return [claim_of(booking_of(row)) async for row in rows]

    async def sold(self) -> Counter[str]:
        """Return currency -> minor units of all confirmed bookings."""
        total: Counter[str] = Counter()
        async for row in self._rows.find({"status": "confirmed"}, {"amount": 1}):
            total[row["amount"]["currency"]] += row["amount"]["minor"]
        return total

    async def to_give_back(self) -> Counter[str]:
        """Return currency -> minor units of all refunds that are due."""
        total: Counter[str] = Counter()
        async for row in self._rows.find({"refund_due": True}, {"refunds": 1}):
            for refund in row["refunds"]:
                if refund["status"] == "due":
                    total[refund["amount"]["currency"]] += refund["amount"]["minor"]
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
        return await self._read({"audit_due": True}, limit=limit, order={"updated_at": 1})

    async def seats_due(self, limit: int) -> list[Booking]:
        """Return bookings that the map does not show as they are, unless it was tried just now."""
        now = {"$or": [{"seats_at": None}, {"$expr": {"$lte": ["$seats_at", "$$NOW"]}}]}
        return await self._read({"seats_due": True, **now}, limit=limit, order={"updated_at": 1})

    async def refund_due(self, limit: int) -> list[Booking]:
        """Return bookings with money to give back, unless it was tried just now."""
        due = {"refund_due": True, "$expr": {"$lte": ["$refund_at", "$$NOW"]}}
        return await self._read(due, limit=limit, order={"refund_at": 1})

    async def notices_due(self, limit: int) -> list[Booking]:
        """Return bookings whose buyer is to be told something, oldest first."""
        return await self._read({"notices": {"$gt": ""}}, limit=limit, order={"created_at": 1})

    async def standing(self, showtime_id: str, limit: int) -> list[Booking]:
        """Return bookings of a showtime that could be cancelled now."""
        alive: Document = {"claims": {"$exists": True}, "status": {"$in": ["pending", "confirmed"]}}
        return await self._read({"showtime_id": showtime_id, **alive}, limit=limit)

    async def count_claiming(self, showtime_id: str) -> int:
        """Return how many bookings own seats of a showtime."""
        found: int = await self._rows.count_documents(
            {"showtime_id": showtime_id, "claims": {"$exists": True}}
        )
        return found

    async def of_intent(self, intent_id: str) -> Booking | None:
        """Return the booking whose latest payment this is."""
        rows = await self._read({"intent_id": intent_id}, limit=1)
        return rows[0] if rows else None

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
            attempts=0,
            computed={"pay_by": deadline},
        )

    async def confirm(self, booking: Booking, entries: Entries) -> Booking | None:
        """paying -> confirmed: the sale."""
        return await self._move(
            _paying(booking),
            entries,
            status="confirmed",
            seats_due=True,
            attempts=0,
            notices=["confirmed"],
        )

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

    async def cancel(
        self, booking: Booking, reason: CancelledBy, entries: Entries
    ) -> Booking | None:
        """pending | confirmed -> cancelled; what was paid becomes due for a refund."""
        due: Document = {}
        if booking.status == "confirmed":
            key = f"refund:{booking.id}"
            due = _due(Refund(key, booking.amount, booking.seats, reason))
        return await self._end(_unchanged(booking), entries, "cancelled", computed=due)

    async def give_back(
        self, booking: Booking, seats: Sequence[str], reason: CancelledBy, entries: Entries
    ) -> Booking | None:
        """Take some seats, not all, out of a confirmed booking; their price becomes due."""
        kept = [seat for seat in booking.seats if seat not in seats]
        assert kept, "that is to cancel it"
        key = f"refund:{booking.id}:{len(booking.refunds)}"
        return await self._move(
            {**_unchanged(booking), "status": "confirmed"},
            entries,
            seats=kept,
            claims=kept,
            cancelled_seats=[*booking.cancelled_seats, *seats],
            amount=booking.price_of(kept).as_json(),
            seats_due=True,
            computed=_due(Refund(key, booking.price_of(seats), list(seats), reason)),
        )

    async def refunded(self, booking: Booking, number: int, entries: Entries) -> Booking | None:
        """The money of its refund of that number was given back."""
        key = booking.refunds[number].key
        is_this = {"$eq": ["$$refund.key", {"$literal": key}]}
        done = {"$mergeObjects": ["$$refund", {"status": "done"}]}
        refunds = {
            "$map": {
                "input": "$refunds",
                "as": "refund",
                "in": {"$cond": [is_this, done, "$$refund"]},
            }
        }
        notices = {"$concatArrays": [{"$ifNull": ["$notices", []]}, [f"refund-{number}"]]}
        return await self._move(
            {"_id": booking.id, f"refunds.{number}.status": "due"},
            entries,
            attempts=0,
            computed={"refunds": refunds, "notices": notices},
            then={"refund_due": {"$in": ["due", "$refunds.status"]}},
        )

    async def postpone(
        self, booking: Booking, deadline: Postponed, seconds: int, tries: int, entries: Entries
    ) -> Booking | None:
        """What could not be done is tried again in so many seconds; `tries`: in vain so far."""
        again = {"$dateAdd": {"startDate": "$$NOW", "unit": "second", "amount": seconds}}
        before = [booking.attempts] if booking.attempts else [0, None]
        where = {"intent_id": booking.intent_id, "attempts": {"$in": before}}
        return await self._move(
            _unchanged(booking) | where, entries, attempts=tries, computed={deadline: again}
        )

    async def noticed(self, booking_id: str, notice: str) -> None:
        """The notifier has taken the notice over."""
        await self._rows.update_one({"_id": booking_id}, {"$pull": {"notices": notice}})

    async def note(self, booking: Booking, entries: Entries) -> Booking | None:
        """Something happened that changes nothing else."""
        return await self._move({"_id": booking.id}, entries)

    async def seats_shown(self, booking: Booking) -> bool:
        """Redis shows this booking as it is: nothing is due. False when it has moved on."""
        result = await self._rows.update_one(
            _unchanged(booking), {"$unset": {"seats_due": "", "seats_at": ""}}
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
        then: Document | None = None,
        **values: Any,
    ) -> Booking | None:
        """Compare-and-set: where `where` holds, set `values`, add `entries`, flag the audit.

        `computed` are expressions over the document as it was, `then` over what it has become.
        """
        added = [
            {"$mergeObjects": [{"$literal": entry_row(entry)}, {"at": "$$NOW"}]}
            for entry in entries
        ]
        stages: list[Document] = [
            {
                "$set": {
                    **{name: {"$literal": value} for name, value in values.items()},
                    **(computed or {}),
                    **({"audit_due": True} if entries else {}),
                    "updated_at": "$$NOW",
                    "timeline": {"$concatArrays": ["$timeline", added]},
                }
            }
        ]
        if then:
            stages.append({"$set": then})
        if free:
            stages.append({"$unset": "claims"})
        row = await self._rows.find_one_and_update(
            where, stages, return_document=ReturnDocument.AFTER
        )
        return booking_of(row) if row else None

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
        return [booking_of(row) async for row in rows]


def _unchanged(booking: Booking) -> Document:
    """Match the booking while nobody has moved it on."""
    return {"_id": booking.id, "status": booking.status, "seats": booking.seats}


def _due(refund: Refund) -> Document:
    """Return what makes a refund due: another one may be given back at this very moment."""
    before = {"$ifNull": ["$refunds", []]}
    return {
        "refunds": {"$concatArrays": [before, [{"$literal": refund_row(refund)}]]},
        "refund_due": True,
        "refund_at": _LONG_AGO,
        "attempts": 0,
    }


def _paying(booking: Booking) -> Document:
    return {"_id": booking.id, "status": "paying", "intent_id": booking.intent_id}
