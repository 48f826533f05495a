"""Bookings: making, paying and reading one's own."""

from typing import Annotated

from pydantic import Field

from server import errors
from server.api.bookings import BookingQuery, BookingRequest, PaymentRequest
from server.api.descriptions.values import (
    AuditoriumName,
    CinemaName,
    MovieName,
    Page,
    Price,
    Remaining,
    Shape,
    Time,
)
from server.api.openapi import Answer, Operation
from server.booking import BookingStatus, RefundStatus
from server.models import Id, SeatId


class Refund(Shape):
    seats: list[SeatId]
    amount: Price
    status: RefundStatus


class BookedShowtime(Shape):
    movie: MovieName
    cinema: CinemaName
    auditorium: AuditoriumName
    starts_at: Time


class Booking(Shape):
    id: Id
    showtime_id: Id
    seats: list[SeatId]
    cancelled_seats: list[SeatId]
    status: BookingStatus
    amount: Price
    prices: Annotated[dict[str, Price], Field(description="By seat.")]
    expires_at: Time
    expires_in_ms: Remaining
    created_at: Time
    refund: Annotated[RefundStatus | None, Field(description="Of all refunds together.")]
    refunds: list[Refund]
    showtime: BookedShowtime


class OwnBooking(Booking):
    refundable_until: Time


class BookingAnswer(Shape):
    booking: OwnBooking


OPERATIONS = [
    Operation(
        "POST",
        "/api/bookings",
        "book",
        "Book seats; they are locked first where they are not mine yet",
        {201: Answer("The booking, to be paid.", BookingAnswer, headers=("Idempotent-Replayed",))},
        who="signed in",
        reads=("Idempotency-Key",),
        body=BookingRequest,
        example={"showtime_id": "sho_a", "seats": ["A1", "A2"]},
        refusals=(
            *(errors.NotFound, errors.UnknownSeats, errors.SeatsUnavailable),
            *(errors.SeatLimitReached, errors.LockExpired, errors.ShowtimeClosed),
            errors.BookingState,
        ),
    ),
    Operation(
        "GET",
        "/api/bookings",
        "listBookings",
        "My bookings, newest first",
        {200: Answer("A page of bookings.", Page[OwnBooking])},
        who="signed in",
        query=BookingQuery,
    ),
    Operation(
        "GET",
        "/api/bookings/{id}",
        "showBooking",
        "One of my bookings",
        {200: Answer("The booking.", BookingAnswer)},
        who="signed in",
    ),
    Operation(
        "POST",
        "/api/bookings/{id}/pay",
        "payBooking",
        "Pay a booking",
        {
            200: Answer("It is confirmed.", BookingAnswer, headers=("Idempotent-Replayed",)),
            202: Answer(
                "The outcome is not known yet.", BookingAnswer, headers=("Idempotent-Replayed",)
            ),
        },
        who="signed in",
        about="202 is no failure: what became of the payment shows in the booking, soon.",
        reads=("Idempotency-Key",),
        body=PaymentRequest,
        example={"payment_method": "demo:approve"},
        refusals=(
            *(errors.PaymentDeclined, errors.LockExpired, errors.SeatsUnavailable),
            *(errors.BookingState, errors.ShowtimeClosed),
        ),
    ),
]
