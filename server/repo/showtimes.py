"""Collection `showtimes`, read together with the movie and the cinema of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from server.catalogue import Layout, Showtime
from server.models import Money
from server.repo.cinemas import cinema_of
from server.repo.layouts import LayoutRepo
from server.repo.mongo import ASCENDING, Database, Document, insert_missing
from server.repo.movies import movie_of


@dataclass(frozen=True, slots=True)
class HouseCancellation:
    """Who cancelled a showtime, and whether something is still to be done about it."""

    showtime_id: str
    actor_id: str
    request_id: str
    why: str
    due: bool = True
    recorded: bool = False
    """Whether the act is on its way to the audit log."""


@dataclass(frozen=True, slots=True)
class Span:
    """What starts in some cinemas, from `since` on and before `until`; None leaves it open."""

    cinema_ids: list[str]
    since: datetime | None = None
    until: datetime | None = None

    def as_match(self) -> Document:
        starts = {"$gte": self.since, "$lt": self.until}
        bounds = {operator: moment for operator, moment in starts.items() if moment}
        return {"cinema_id": {"$in": self.cinema_ids}} | ({"starts_at": bounds} if bounds else {})


_SOONEST_FIRST = {"$sort": {"starts_at": ASCENDING, "_id": ASCENDING}}

_JOIN: list[Document] = [
    {
        "$lookup": {
            "from": "movies",
            "localField": "movie_id",
            "foreignField": "_id",
            "as": "movie",
        }
    },
    {
        "$lookup": {
            "from": "cinemas",
            "localField": "cinema_id",
            "foreignField": "_id",
            "as": "cinema",
        }
    },
    # What has movie, cinema and auditorium is kept: these are not deleted while showtimes need
    # them, but if one ever was, the others of the page shall still be seen.
    {"$unwind": "$movie"},
    {"$unwind": "$cinema"},
    {"$match": {"$expr": {"$in": ["$auditorium_id", "$cinema.auditoriums.id"]}}},
]


class ShowtimeRepo:
    def __init__(self, database: Database, layouts: LayoutRepo) -> None:
        self._rows = database["showtimes"]
        self._layouts = layouts

    async def get(self, showtime_id: str) -> Showtime | None:
        found = await self._read([{"$match": {"_id": showtime_id}}, *_JOIN])
        return found[0] if found else None

    async def find(
        self,
        *,
        start_after: datetime,
        spans: Sequence[Span] | None,
        movie_id: str | None,
        limit: int,
        after: tuple[datetime, str] | None,
    ) -> list[Showtime]:
        """Return up to `limit` showtimes, soonest first, from behind `after` on.

        `spans` are alternatives; None stands for any cinema at any time, an empty list for none.
        """
        if spans is not None and not spans:
            return []
        clauses: list[Document] = [{"starts_at": {"$gt": start_after}}]
        if movie_id is not None:
            clauses.append({"movie_id": movie_id})
        if spans is not None:
            clauses.append({"$or": [span.as_match() for span in spans]})
        if after:
            clauses.append(_behind(*after))
        return await self._read(
            [{"$match": {"$and": clauses}}, _SOONEST_FIRST, {"$limit": limit}, *_JOIN]
        )

    async def ids_of(self, spans: Sequence[Span] | None, movie_id: str | None) -> list[str]:
        """Return the ids of all showtimes, past and to come; `spans` as for `find`."""
        if spans is not None and not spans:
            return []
        where: Document = {} if movie_id is None else {"movie_id": movie_id}
        if spans is not None:
            where["$or"] = [span.as_match() for span in spans]
        return [row["_id"] async for row in self._rows.find(where, {"_id": 1})]

    async def cancel(self, wanted: HouseCancellation) -> HouseCancellation | None:
        """Cancel a showtime; returns the cancellation that stands, the first one's. None: no such
        showtime."""
        order = {"actor_id": wanted.actor_id, "request_id": wanted.request_id, "why": wanted.why}
        await self._rows.update_one(
            {"_id": wanted.showtime_id, "cancellation": {"$exists": False}},
            {"$set": {"status": "cancelled", "cancellation": order, "cancellation_due": True}},
        )
        row = await self._rows.find_one({"_id": wanted.showtime_id})
        return _cancellation_of(row) if row else None

    async def house_cancellations(self) -> list[HouseCancellation]:
        """Return those of showtimes that are due, or have not been over for a day."""
        recent = datetime.now(UTC) - timedelta(days=1)
        rows = self._rows.find(
            {
                "status": "cancelled",
                "cancellation": {"$exists": True},
                "$or": [{"cancellation_due": True}, {"ends_at": {"$gt": recent}}],
            }
        )
        return [_cancellation_of(row) async for row in rows]

    async def recorded(self, showtime_id: str) -> None:
        """The act of cancelling is on its way to the audit log."""
        await self._rows.update_one(
            {"_id": showtime_id}, [{"$set": {"cancellation_recorded": True}}]
        )

    async def cancel_again(self) -> None:
        """Make every cancellation of a showtime that is not over due again."""
        await self._rows.update_many(
            {
                "status": "cancelled",
                "cancellation": {"$exists": True},
                "ends_at": {"$gt": datetime.now(UTC)},
            },
            {"$set": {"cancellation_due": True}},
        )

    async def cancelled_whole(self, showtime_id: str) -> None:
        """Nothing is left to be done about its cancellation."""
        await self._rows.update_one({"_id": showtime_id}, {"$unset": {"cancellation_due": ""}})

    async def ids(self, *, not_over: bool = False) -> list[str]:
        """Return the id of every showtime that ever was, or of those that have not ended."""
        where = {"ends_at": {"$gt": datetime.now(UTC)}} if not_over else {}
        return [row["_id"] async for row in self._rows.find(where, {"_id": 1})]

    async def add_missing(self, showtimes: list[Showtime]) -> int:
        """Store those whose id is new; return how many."""
        return await insert_missing(self._rows, [_row_of(showtime) for showtime in showtimes])

    async def _read(self, pipeline: list[Document]) -> list[Showtime]:
        rows = await self._rows.aggregate(pipeline).to_list(None)
        return [_showtime_of(row, await self._layouts.get(row["layout_id"])) for row in rows]


def _cancellation_of(row: Document) -> HouseCancellation:
    return HouseCancellation(
        row["_id"],
        **row["cancellation"],
        due=row.get("cancellation_due", False),
        recorded=row.get("cancellation_recorded", False),
    )


def _behind(starts_at: datetime, showtime_id: str) -> Document:
    """Match what sorts behind a showtime; the first part alone is what an index can use."""
    return {
        "starts_at": {"$gte": starts_at},
        "$or": [{"starts_at": {"$gt": starts_at}}, {"_id": {"$gt": showtime_id}}],
    }


def _showtime_of(row: dict[str, Any], layout: Layout) -> Showtime:
    cinema = cinema_of(row["cinema"])
    return Showtime(
        id=row["_id"],
        movie=movie_of(row["movie"]),
        cinema=cinema,
        auditorium=next(a for a in cinema.auditoriums if a.id == row["auditorium_id"]),
        layout=layout,
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
        prices={category: Money(**price) for category, price in row["prices"].items()},
        status=row["status"],
        blocked=frozenset(row["blocked"]),
    )


def _row_of(showtime: Showtime) -> Document:
    return {
        "_id": showtime.id,
        "movie_id": showtime.movie.id,
        "cinema_id": showtime.cinema.id,
        "auditorium_id": showtime.auditorium.id,
        "layout_id": showtime.layout.id,
        "starts_at": showtime.starts_at,
        "ends_at": showtime.ends_at,
        "prices": {category: price.as_json() for category, price in showtime.prices.items()},
        "status": showtime.status,
        "blocked": sorted(showtime.blocked),
    }
