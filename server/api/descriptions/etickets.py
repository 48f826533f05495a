"""Tickets of paid bookings."""

from typing import Annotated

from server import errors
from server.api.descriptions.bookings import Booking
from server.api.descriptions.values import MAY_LACK, Shape
from server.api.etickets import TicketCheck
from server.api.openapi import Answer, Operation
from server.etickets import Refusal


class TicketCheckAnswer(Shape):
    """`reason` where it is not valid; `booking` whenever the code is one of ours."""

    valid: bool
    reason: Annotated[Refusal, MAY_LACK]
    booking: Annotated[Booking, MAY_LACK]


OPERATIONS = [
    Operation(
        "GET",
        "/api/bookings/{id}/ticket.svg",
        "showTicket",
        "The ticket of a paid booking as a QR code",
        {200: Answer("The code.", media_type="image/svg+xml", headers=("Link",))},
        who="signed in",
        refusals=(errors.BookingState,),
    ),
    Operation(
        "GET",
        "/api/bookings/{id}/calendar.ics",
        "showCalendarEntry",
        "The showtime of a paid booking as a calendar entry",
        {200: Answer("It.", media_type="text/calendar", headers=("Content-Disposition",))},
        who="signed in",
        refusals=(errors.BookingState,),
    ),
    Operation(
        "POST",
        "/api/admin/tickets/check",
        "checkTicket",
        "Is this code a ticket to be let in with?",
        {200: Answer("Whether it is, and of which booking.", TicketCheckAnswer)},
        who="administrator",
        body=TicketCheck,
        example={"code": "RL1.bk_a.mac"},
    ),
]
