"""GET /api/showtimes, /api/showtimes/{id} and /api/movies/{id}/showtimes: public."""

import re
from datetime import date, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server.api.pages import Cursor, PageQuery, page
from server.api.requests import path_id, query
from server.catalogue import Showtime
from server.models import Id, from_ms, rfc3339, to_ms
from server.movies import Movies
from server.showtimes import ShowtimeFilter, Showtimes

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _calendar_date(text: str) -> date:
    if not _DATE.fullmatch(text):  # pydantic alone would also take seconds since 1970
        raise ValueError("write a date as YYYY-MM-DD")
    return date.fromisoformat(text)


CalendarDate = Annotated[
    date,
    BeforeValidator(_calendar_date),
    Field(ge=date(1970, 1, 1), le=date(2999, 12, 31)),
]
Milliseconds = Annotated[int, Field(ge=0, le=to_ms(datetime.fromisoformat("9999-12-31T00:00Z")))]


class PlaceQuery(PageQuery):
    """Where and when: what all lists of showtimes can be narrowed by."""

    city: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None
    cinema: Id | None = None
    date: CalendarDate | None = None
    cursor: Annotated[tuple[Milliseconds, Id], Cursor] | None = None


class ShowtimeQuery(PlaceQuery):
    movie: Id | None = None


class ShowtimeRoutes:
    def __init__(self, showtimes: Showtimes, movies: Movies) -> None:
        self._showtimes = showtimes
        self._movies = movies

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/api/showtimes", self.list_showtimes, methods=["GET"]),
            Route("/api/showtimes/{id}", self.show_showtime, methods=["GET"]),
            Route("/api/movies/{id}/showtimes", self.list_showtimes_of_movie, methods=["GET"]),
        ]

    async def list_showtimes(self, request: Request) -> Response:
        """Those that have not started, soonest first."""
        asked = query(request, ShowtimeQuery)
        return await self._list(asked, asked.movie)

    async def list_showtimes_of_movie(self, request: Request) -> Response:
        """The same of one movie; raises NotFound when there is no such movie."""
        asked = query(request, PlaceQuery)
        movie = await self._movies.get(path_id(request, "id"))
        return await self._list(asked, movie.id)

    async def show_showtime(self, request: Request) -> Response:
        showtime = await self._showtimes.get(path_id(request, "id"))
        return JSONResponse({"showtime": showtime_json(showtime)})

    async def _list(self, asked: PlaceQuery, movie: str | None) -> Response:
        wanted = ShowtimeFilter(movie, asked.cinema, asked.city, asked.date)
        after = (from_ms(asked.cursor[0]), asked.cursor[1]) if asked.cursor else None
        found = await self._showtimes.find(wanted, asked.limit + 1, after)
        return page(found, asked.limit, showtime_json, lambda s: (to_ms(s.starts_at), s.id))


def showtime_json(showtime: Showtime) -> dict[str, Any]:
    movie, cinema, auditorium = showtime.movie, showtime.cinema, showtime.auditorium
    return {
        "id": showtime.id,
        "movie": {
            "id": movie.id,
            "title": movie.title,
            "duration_min": movie.duration_min,
            "rating": movie.rating,
            "accent": movie.accent,
        },
        "cinema": {
            "id": cinema.id,
            "name": cinema.name,
            "city": cinema.city,
            "time_zone": cinema.time_zone,
        },
        "auditorium": {"id": auditorium.id, "name": auditorium.name},
        "starts_at": rfc3339(showtime.starts_at),
        "ends_at": rfc3339(showtime.ends_at),
        "prices": {category: price.as_json() for category, price in showtime.prices.items()},
        "status": showtime.status,
        "seats_total": len(showtime.layout.seat_ids),
    }
