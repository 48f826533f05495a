"""Cancelling: DELETE /api/bookings/{id}, and for administrators POST …/{id}/cancel of a booking or
of a whole showtime."""

from typing import Annotated

from pydantic import Field, StringConstraints
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server.api.bookings import own_booking_json
from server.api.problems import caller_of
from server.api.requests import parse, path_id, query
from server.api.seats import NamedSeats, Seats
from server.auth.guards import Guards
from server.booking import Booking
from server.cancellations import Cancellations
from server.detached import Detached
from server.house_cancellations import HouseCancellations
from server.models import Identity, Model
from server.showtimes import Showtimes

Why = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""One line of text for the audit log."""


class CancelQuery(Model):
    seats: NamedSeats | None = None
    """None: all."""


class BookingCancellation(Model):
    seats: Seats = Field(default_factory=list)
    """None named: all."""
    why: Why = ""


class ShowtimeCancellation(Model):
    why: Why = ""


class CancellationRoutes:
    def __init__(
        self,
        cancellations: Cancellations,
        house: HouseCancellations,
        showtimes: Showtimes,
        detached: Detached,
        guards: Guards,
    ) -> None:
        self._cancellations = cancellations
        self._house = house
        self._showtimes = showtimes
        self._detached = detached
        self._guards = guards

    @property
    def routes(self) -> list[Route]:
        signed_in = self._guards.signed_in
        admin = "/api/admin"
        return [
            Route("/api/bookings/{id}", signed_in(self.mine), methods=["DELETE"]),
            Route(
                f"{admin}/bookings/{{id}}/cancel",
                signed_in(self.anybodys, "ADMIN"),
                methods=["POST"],
            ),
            Route(
                f"{admin}/showtimes/{{id}}/cancel",
                signed_in(self.showtime, "ADMIN"),
                methods=["POST"],
            ),
        ]

    async def mine(self, request: Request, identity: Identity) -> Response:
        """The whole booking, or the seats of `?seats=A1,A2`."""
        seats = query(request, CancelQuery).seats or []
        caller = caller_of(request, identity)
        work = self._cancellations.by_buyer(caller, path_id(request, "id"), seats)
        return await self._answer(await self._detached.run(work))

    async def anybodys(self, request: Request, identity: Identity) -> Response:
        body = await parse(request, BookingCancellation)
        work = self._cancellations.by_admin(
            caller_of(request, identity), path_id(request, "id"), body.seats, body.why
        )
        return await self._answer(await self._detached.run(work))

    async def showtime(self, request: Request, identity: Identity) -> Response:
        """202 while bookings are left to be cancelled, then 200; repeating it tells how many."""
        body = await parse(request, ShowtimeCancellation)
        showtime_id = path_id(request, "id")
        work = self._house.order(caller_of(request, identity), showtime_id, body.why)
        left = await self._detached.run(work)
        answer = {"showtime": {"id": showtime_id, "status": "cancelled"}, "bookings_left": left}
        return JSONResponse(answer, 202 if left else 200)

    async def _answer(self, booking: Booking) -> Response:
        showtime = await self._showtimes.get(booking.showtime_id)
        return JSONResponse({"booking": own_booking_json(booking, showtime, self._cancellations)})
