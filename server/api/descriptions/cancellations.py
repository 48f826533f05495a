"""Cancelling a booking, or a whole showtime."""

from typing import Annotated, Literal

from pydantic import Field

from server import errors
from server.api.cancellations import BookingCancellation, CancelQuery, ShowtimeCancellation
from server.api.descriptions.bookings import BookingAnswer
from server.api.descriptions.values import Shape
from server.api.openapi import Answer, Operation
from server.models import Id


class CancelledShowtime(Shape):
    id: Id
    status: Literal["cancelled"]


class ShowtimeCancellationAnswer(Shape):
    showtime: CancelledShowtime
    bookings_left: Annotated[int, Field(description="Still to be cancelled.")]


OPERATIONS = [
    Operation(
        "DELETE",
        "/api/bookings/{id}",
        "cancelBooking",
        "Cancel my booking, or give single seats of a paid one back",
        {200: Answer("What is left of it.", BookingAnswer)},
        who="signed in",
        about="What was paid is given back.",
        query=CancelQuery,
        refusals=(errors.UnknownSeats, errors.BookingState),
    ),
    Operation(
        "POST",
        "/api/admin/bookings/{id}/cancel",
        "cancelAnybodysBooking",
        "Cancel a booking, or single seats of it",
        {200: Answer("What is left of it.", BookingAnswer)},
        who="administrator",
        body=BookingCancellation,
        example={"seats": ["A1"], "why": "The seat is broken."},
        refusals=(errors.UnknownSeats, errors.BookingState),
    ),
    Operation(
        "POST",
        "/api/admin/showtimes/{id}/cancel",
        "cancelShowtime",
        "Cancel a showtime and all its bookings",
        {
            200: Answer("All is done.", ShowtimeCancellationAnswer),
            202: Answer("It is closed; bookings are left.", ShowtimeCancellationAnswer),
        },
        who="administrator",
        about="It closes at once. Repeating the request tells how many bookings are left.",
        body=ShowtimeCancellation,
        example={"why": "The projector is broken."},
    ),
]
