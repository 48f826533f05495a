"""For the house: GET /api/admin/bookings, everybody's; as a spreadsheet to `Accept: text/csv`."""

from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.api.admin_users import NamedUser
from server.api.bookings import booking_json
from server.api.pages import Cursor, PageQuery, page
from server.api.problems import caller_of
from server.api.requests import query
from server.api.showtimes import CalendarDate
from server.api.spreadsheets import Cell, spreadsheet, wants_csv
from server.auth.guards import Guards
from server.booking import BookingStatus
from server.booking_lists import BookingFilter, BookingLists, Listed
from server.models import Id, Identity, from_ms, rfc3339, to_ms
from server.showtimes import ShowtimeFilter

COLUMNS = (
    *("id", "created_at", "status", "movie", "cinema", "auditorium", "starts_at", "seats"),
    *("amount_minor", "currency", "refund", "user_id", "email", "name", "showtime_id"),
)


class BookingsQuery(PageQuery):
    movie: Id | None = None
    cinema: Id | None = None
    date: CalendarDate | None = None
    """Of the start of the showtime, by the clock of its cinema."""
    user: NamedUser | None = None
    status: BookingStatus | None = None
    cursor: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**47)], Id], Cursor] | None = None


class AdminBookingRoutes:
    def __init__(self, bookings: BookingLists, guards: Guards) -> None:
        self._bookings = bookings
        self._guards = guards

    @property
    def routes(self) -> list[Route]:
        list_all = self._guards.signed_in(self.list_all, "ADMIN", "BOX_OFFICE")
        return [Route("/api/admin/bookings", list_all, methods=["GET"])]

    async def list_all(self, request: Request, identity: Identity) -> Response:
        """Newest first. A spreadsheet holds the whole list, whatever `limit` and `cursor` say."""
        asked = query(request, BookingsQuery)
        showtimes = ShowtimeFilter(asked.movie, asked.cinema, day=asked.date)
        wanted = BookingFilter(showtimes, asked.user, asked.status)
        if wants_csv(request.headers.get("accept", "")):
            caller = caller_of(request, identity)
            batches = await self._bookings.export(caller, wanted)
            return spreadsheet("bookings", COLUMNS, batches, _cells)
        before = (from_ms(asked.cursor[0]), asked.cursor[1]) if asked.cursor else None
        found = await self._bookings.find(wanted, before, asked.limit + 1)
        answer = page(found, asked.limit, _json, lambda it: (to_ms(it.position[0]), it.position[1]))
        answer.headers["Vary"] = "Accept"
        return answer


def _json(listed: Listed) -> dict[str, Any]:
    user = listed.user
    return booking_json(listed.booking, listed.showtime) | {
        "user": {
            "id": listed.booking.user_id,
            "email": user.email if user else None,
            "name": user.name if user else None,
        }
    }


def _cells(listed: Listed) -> list[Cell]:
    booking, showtime, user = listed.booking, listed.showtime, listed.user
    return [
        booking.id,
        rfc3339(booking.created_at),
        booking.status,
        showtime.movie.title if showtime else "",
        showtime.cinema.name if showtime else "",
        showtime.auditorium.name if showtime else "",
        rfc3339(showtime.starts_at) if showtime else "",
        " ".join(booking.seats),
        booking.amount.minor,
        booking.amount.currency,
        booking.refund or "",
        booking.user_id,
        user.email if user else "",
        user.name if user else "",
        booking.showtime_id,
    ]
