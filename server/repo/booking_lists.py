"""Collection `bookings`, as the house looks through it: everybody's, newest first."""

from dataclasses import dataclass
from datetime import datetime

from server.booking import Booking, BookingStatus
from server.repo.booking_rows import booking_of
from server.repo.mongo import Database, Document


@dataclass(frozen=True, slots=True)
class BookingMatch:
    """What to look for; None means any, an empty list nothing."""

    showtime_ids: list[str] | None = None
    user_ids: list[str] | None = None
    status: BookingStatus | None = None

    def as_match(self) -> Document:
        match: Document = {}
        if self.showtime_ids is not None:
            match["showtime_id"] = {"$in": self.showtime_ids}
        if self.user_ids is not None:
            match["user_id"] = {"$in": self.user_ids}
        if self.status is not None:
            match["status"] = self.status
        return match


class BookingListRepo:
    def __init__(self, database: Database) -> None:
        self._rows = database["bookings"]

    async def find(
        self, wanted: BookingMatch, before: tuple[datetime, str] | None, limit: int
    ) -> list[Booking]:
        """Return up to `limit` bookings from `before` (created_at, id) on."""
        where = wanted.as_match()
        if before:
            at, booking_id = before
            # The first part alone is what an index can use.
            where["created_at"] = {"$lte": at}
            where["$or"] = [{"created_at": {"$lt": at}}, {"_id": {"$lt": booking_id}}]
        rows = self._rows.aggregate(
            [
                {"$match": where},
                {"$sort": {"created_at": -1, "_id": -1}},
                {"$limit": limit},
                {"$set": {"updated_at": "$$NOW"}},
            ]
        )
        return [booking_of(row) async for row in rows]
