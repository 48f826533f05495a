"""What can be booked when: one showtime, fast, and lists of those to come."""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime

from cachetools import LRUCache, TTLCache

from server.catalogue import Layout, Showtime
from server.errors import NotFound
from server.repo.cinemas import CinemaRepo
from server.repo.showtimes import ShowtimeRepo, Span

REMEMBERED = 16_384
REMEMBERED_SECONDS = 5.0
"""How late a process may notice that a showtime was changed, closed or cancelled."""


@dataclass(frozen=True, slots=True)
class ShowtimeFilter:
    """What to look for; None means any. Names that do not exist match nothing."""

    movie: str | None = None
    cinema: str | None = None
    city: str | None = None
    day: date | None = None
    """The date of the start by the clock of the cinema."""


def _now() -> datetime:
    return datetime.now(UTC)


class Showtimes:
    def __init__(
        self,
        showtimes: ShowtimeRepo,
        cinemas: CinemaRepo,
        *,
        now: Callable[[], datetime] = _now,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """`now` tells what has started, `timer` (seconds) how long a showtime is remembered."""
        self._showtimes = showtimes
        self._cinemas = cinemas
        self._now = now
        self._remembered: TTLCache[str, Showtime] = TTLCache(REMEMBERED, REMEMBERED_SECONDS, timer)
        self._layouts: LRUCache[str, Layout] = LRUCache(REMEMBERED)

    async def get(self, showtime_id: str) -> Showtime:
        """Return a showtime, at most REMEMBERED_SECONDS old; raises NotFound."""
        return self._remembered.get(showtime_id) or await self.fresh(showtime_id)

    async def fresh(self, showtime_id: str) -> Showtime:
        """Return a showtime as it is now; raises NotFound."""
        showtime = await self._showtimes.get(showtime_id)
        if showtime is None:
            raise NotFound
        self._remembered[showtime_id] = showtime
        self._layouts[showtime_id] = showtime.layout
        return showtime

    async def layout(self, showtime_id: str) -> Layout:
        """Return the drawing of a showtime, which keeps it for good; raises NotFound."""
        return self._layouts.get(showtime_id) or (await self.fresh(showtime_id)).layout

    async def find(
        self,
        wanted: ShowtimeFilter,
        limit: int,
        after: tuple[datetime, str] | None = None,
    ) -> list[Showtime]:
        """Return up to `limit` showtimes that have not started, soonest first.

        `after` is the (start, id) of the last showtime that the caller has seen.
        """
        return await self._showtimes.find(
            start_after=self._now(),
            spans=await self._spans(wanted),
            movie_id=wanted.movie,
            limit=limit,
            after=after,
        )

    async def ids(self, wanted: ShowtimeFilter) -> list[str]:
        """Return the ids of all such showtimes, past and to come."""
        return await self._showtimes.ids_of(await self._spans(wanted), wanted.movie)

    async def _spans(self, wanted: ShowtimeFilter) -> list[Span] | None:
        """Turn place and date into spans; one date is another stretch of time in each zone."""
        if wanted.cinema is None and wanted.city is None and wanted.day is None:
            return None
        cinemas = await self._cinemas.find(wanted.cinema, wanted.city)
        if wanted.day is None:
            return [Span([cinema.id for cinema in cinemas])] if cinemas else []
        same_day = defaultdict(list)
        for cinema in cinemas:
            same_day[cinema.local_day(wanted.day)].append(cinema.id)
        return [Span(ids, since, until) for (since, until), ids in same_day.items()]
