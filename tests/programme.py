"""A catalogue to test with: values with defaults, and an app over the real repositories."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware

from server.api.middleware import RequestEnvelope
from server.api.movies import MovieRoutes
from server.api.problems import exception_handlers
from server.api.showtimes import ShowtimeRoutes
from server.catalogue import Auditorium, Cinema, Layout, Movie, Row, Seat, Showtime
from server.models import Money
from server.movies import Movies
from server.repo.cinemas import CinemaRepo
from server.repo.layouts import LayoutRepo
from server.repo.mongo import UNAVAILABLE, Database
from server.repo.movies import MovieRepo
from server.repo.showtimes import ShowtimeRepo
from server.showtimes import Showtimes

NOW = datetime(2026, 5, 1, 10, 0, tzinfo=UTC)

LAYOUT = Layout(
    (
        Row("A", (Seat("A1", 0, accessible=True), Seat("A2", 1), Seat("A3", 3))),
        Row("B", (Seat("B1", 0.5, "premium"), Seat("B2", 1.5, "premium"))),
    )
)
MOVIE = Movie(
    id="mov_a",
    title="A Film",
    synopsis="Somebody does something.",
    genres=("Drama",),
    duration_min=100,
    rating="12+",
    release_date=date(2026, 4, 1),
    accent="#336699",
    director="A. Person",
    cast=("B. Person",),
)
CINEMA = Cinema(
    id="cin_a",
    name="The A",
    city="London",
    address="1 Street",
    time_zone="Europe/London",
    auditoriums=(Auditorium("aud_a", "Hall A", LAYOUT.id),),
)


def money(minor: int, currency: str = "EUR") -> Money:
    return Money(currency=currency, minor=minor)


def a_movie(movie_id: str, **changes: Any) -> Movie:
    return replace(MOVIE, id=movie_id, **changes)


def a_cinema(cinema_id: str, **changes: Any) -> Cinema:
    return replace(CINEMA, id=cinema_id, **changes)


def a_showtime(showtime_id: str, starts_at: datetime = NOW, **changes: Any) -> Showtime:
    showtime = Showtime(
        id=showtime_id,
        movie=MOVIE,
        cinema=CINEMA,
        auditorium=CINEMA.auditoriums[0],
        layout=LAYOUT,
        starts_at=starts_at,
        ends_at=starts_at + timedelta(minutes=100),
        prices={"standard": money(1000), "premium": money(1500)},
    )
    return replace(showtime, **changes)


async def store(database: Database, *showtimes: Showtime) -> None:
    """Store showtimes together with their movies, cinemas and layouts."""
    layouts = LayoutRepo(database)
    await layouts.add_missing(list({s.layout.id: s.layout for s in showtimes}.values()))
    await MovieRepo(database).add_missing(list({s.movie.id: s.movie for s in showtimes}.values()))
    cinemas = {s.cinema.id: s.cinema for s in showtimes}
    await CinemaRepo(database).add_missing(list(cinemas.values()))
    await ShowtimeRepo(database, layouts).add_missing(list(showtimes))


@dataclass
class Clock:
    """The time that a service under test is told."""

    now: datetime = NOW
    seconds: float = 0.0

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.seconds += seconds


def showtimes_of(database: Database, clock: Clock) -> Showtimes:
    return Showtimes(
        ShowtimeRepo(database, LayoutRepo(database)),
        CinemaRepo(database),
        now=lambda: clock.now,
        timer=lambda: clock.seconds,
    )


@asynccontextmanager
async def catalogue_client(
    database: Database, clock: Clock | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the catalogue routes alone, on the given store."""
    movies = Movies(MovieRepo(database))
    showtimes = showtimes_of(database, clock or Clock())
    app = Starlette(
        routes=[*MovieRoutes(movies).routes, *ShowtimeRoutes(showtimes, movies).routes],
        middleware=[Middleware(RequestEnvelope)],
        exception_handlers=exception_handlers(UNAVAILABLE),
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def all_pages(client: httpx.AsyncClient, path: str, **query: Any) -> list[list[Any]]:
    """Follow `next_cursor` to the end; return the items page by page."""
    pages: list[list[Any]] = []
    cursor = {}
    while True:
        answer = await client.get(path, params={**query, **cursor})
        assert answer.status_code == 200, answer.text
        pages.append(answer.json()["items"])
        if answer.json()["next_cursor"] is None:
            return pages
        cursor = {"cursor": answer.json()["next_cursor"]}
        assert len(pages) < 1000, "the cursors go round in a circle"
