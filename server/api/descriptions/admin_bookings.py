"""Everybody's bookings, and seats for a customer, for administrators and the box office."""

from server import errors
from server.api.admin_bookings import BookingsQuery
from server.api.box_office import CounterLockRequest
from server.api.descriptions.bookings import Booking
from server.api.descriptions.seats import LockAnswer
from server.api.descriptions.values import Page, Shape
from server.api.openapi import Answer, Operation
from server.models import Id


class Buyer(Shape):
    id: Id
    email: str | None
    name: str | None


class AnybodysBooking(Booking):
    user: Buyer


OPERATIONS = [
    Operation(
        "GET",
        "/api/admin/bookings",
        "listAllBookings",
        "Everybody's bookings, newest first",
        {200: Answer("A page of bookings.", Page[AnybodysBooking], also="text/csv")},
        who="staff",
        about="`Accept: text/csv` gets the whole list as a spreadsheet, whatever `limit` and "
        "`cursor` say.",
        query=BookingsQuery,
    ),
    Operation(
        "POST",
        "/api/admin/showtimes/{showtime_id}/seats/lock",
        "lockSeatsForCustomer",
        "Lock seats for a customer, as if they had",
        {200: Answer("The customer's lock.", LockAnswer)},
        who="staff",
        body=CounterLockRequest,
        example={"customer": "eve@example.com", "seats": ["A1", "A2"]},
        refusals=(
            *(errors.UnknownSeats, errors.SeatsUnavailable),
            *(errors.SeatLimitReached, errors.ShowtimeClosed),
        ),
    ),
]
