"""Everybody's bookings, for the house to look through."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from server.booking import Booking, BookingStatus
from server.catalogue import Showtime
from server.errors import NotFound
from server.models import Caller
from server.repo.booking_lists import BookingListRepo, BookingMatch
from server.repo.outbox import AuditRecord, Outbox
from server.repo.users import User, Users
from server.showtimes import ShowtimeFilter, Showtimes

_BATCH = 500


@dataclass(frozen=True, slots=True)
class BookingFilter:
    """What to look for; None means any. `user` is an id or a mail address."""

    showtimes: ShowtimeFilter
    user: str | None = None
    status: BookingStatus | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A booking with what it refers to, where that is still there."""

    booking: Booking
    showtime: Showtime | None
    user: User | None

    @property
    def position(self) -> tuple[datetime, str]:
        return self.booking.created_at, self.booking.id


class BookingLists:
    def __init__(
        self, bookings: BookingListRepo, showtimes: Showtimes, users: Users, outbox: Outbox
    ) -> None:
        self._bookings = bookings
        self._showtimes = showtimes
        self._users = users
        self._outbox = outbox

    async def find(
        self, wanted: BookingFilter, before: tuple[datetime, str] | None, limit: int
    ) -> list[Listed]:
        """Return up to `limit` bookings, newest first, from `before` (created_at, id) on."""
        return await self._page(await self._match(wanted), before, limit)

    async def export(self, caller: Caller, wanted: BookingFilter) -> AsyncIterator[list[Listed]]:
        """Return all of them in batches, which are read as they are taken.

        That everybody's data leaves the house goes to the audit log first.
        """
        match = await self._match(wanted)
        first = await self._page(match, None, _BATCH)
        await self._outbox.add(
            AuditRecord(
                action="admin.bookings_exported",
                outcome="ok",
                actor=caller.user_id,
                detail=_told(wanted),
                request_id=caller.request_id,
            )
        )
        return self._batches(match, first)

    async def _batches(
        self, match: BookingMatch, batch: list[Listed]
    ) -> AsyncIterator[list[Listed]]:
        while batch:
            yield batch
            if len(batch) < _BATCH:
                return
            batch = await self._page(match, batch[-1].position, _BATCH)

    async def _match(self, wanted: BookingFilter) -> BookingMatch:
        any_showtime = wanted.showtimes == ShowtimeFilter()
        showtime_ids = None if any_showtime else await self._showtimes.ids(wanted.showtimes)
        user_ids = None if wanted.user is None else await self._ids(wanted.user)
        return BookingMatch(showtime_ids, user_ids, wanted.status)

    async def _ids(self, user: str) -> list[str]:
        if "@" not in user:
            return [user]
        return [found.id for found in await self._users.with_email(user)]

    async def _page(
        self, match: BookingMatch, before: tuple[datetime, str] | None, limit: int
    ) -> list[Listed]:
        bookings = await self._bookings.find(match, before, limit)
        named = await self._users.get_many(list({booking.user_id for booking in bookings}))
        users = {user.id: user for user in named}
        return [
            Listed(booking, await self._showtime(booking.showtime_id), users.get(booking.user_id))
            for booking in bookings
        ]

    async def _showtime(self, showtime_id: str) -> Showtime | None:
        try:
            return await self._showtimes.get(showtime_id)
        except NotFound:
            return None


def _told(wanted: BookingFilter) -> dict[str, str]:
    """Return the filter for the audit log, which names people by id alone."""
    showtimes = wanted.showtimes
    told = {
        "movie": showtimes.movie,
        "cinema": showtimes.cinema,
        "date": showtimes.day and showtimes.day.isoformat(),
        "user": "by address" if wanted.user and "@" in wanted.user else wanted.user,
        "status": wanted.status,
    }
    return {name: value for name, value in told.items() if value}
