"""Showtimes, and their live map as Server-Sent Events."""

from typing import Annotated

from pydantic import Field

from server.api.descriptions.values import (
    AuditoriumName,
    CinemaName,
    MovieName,
    Page,
    Price,
    Shape,
    Time,
)
from server.api.openapi import Answer, Operation
from server.api.showtimes import PlaceQuery, ShowtimeQuery
from server.catalogue import ShowtimeStatus
from server.models import Id


class ShownMovie(MovieName):
    duration_min: int
    rating: str


class Showtime(Shape):
    id: Id
    movie: ShownMovie
    cinema: CinemaName
    auditorium: AuditoriumName
    starts_at: Time
    ends_at: Time
    prices: Annotated[dict[str, Price], Field(description="By category of seat.")]
    status: ShowtimeStatus
    seats_total: int


class ShowtimeAnswer(Shape):
    showtime: Showtime


OPERATIONS = [
    Operation(
        "GET",
        "/api/showtimes",
        "listShowtimes",
        "What has not started yet, soonest first",
        {200: Answer("A page of showtimes.", Page[Showtime])},
        query=ShowtimeQuery,
    ),
    Operation(
        "GET",
        "/api/showtimes/{id}",
        "showShowtime",
        "One showtime",
        {200: Answer("The showtime.", ShowtimeAnswer)},
    ),
    Operation(
        "GET",
        "/api/movies/{id}/showtimes",
        "listShowtimesOfMovie",
        "The showtimes of one movie, soonest first",
        {200: Answer("A page of showtimes.", Page[Showtime])},
        query=PlaceQuery,
    ),
    Operation(
        "GET",
        "/api/showtimes/{showtime_id}/live",
        "followShowtime",
        "The live seat map as Server-Sent Events",
        {200: Answer("Events, without end.", media_type="text/event-stream")},
        about="Each event's data is one frame of the WebSocket at the same address: `snapshot`, "
        "`events` or `heartbeat`. Its id is the position to go on from after a break.",
        free_query={"epoch": "The epoch of the position to go on from.", "seq": "Its number."},
        reads=("Last-Event-ID",),
    ),
]
