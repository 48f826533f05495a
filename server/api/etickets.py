"""Tickets: GET /api/bookings/{id}/ticket.svg and …/calendar.ics for their owner, and for
administrators POST /api/admin/tickets/check."""

from typing import Annotated, Any

from pydantic import StringConstraints
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server.api.bookings import booking_json
from server.api.problems import caller_of
from server.api.requests import parse, path_id
from server.auth.guards import Guards
from server.etickets import Etickets
from server.models import Identity, Model

_PRIVATE = {"Cache-Control": "private, no-store"}


class TicketCheck(Model):
    code: Annotated[str, StringConstraints(min_length=1, max_length=256)]


class EticketRoutes:
    def __init__(self, etickets: Etickets, guards: Guards, *, shows_mails: bool) -> None:
        """`shows_mails`: the mail that brought a ticket can be read at /dev/mails."""
        self._etickets = etickets
        self._guards = guards
        self._shows_mails = shows_mails

    @property
    def routes(self) -> list[Route]:
        signed_in = self._guards.signed_in
        mine = "/api/bookings/{id}"
        check = "/api/admin/tickets/check"
        return [
            Route(f"{mine}/ticket.svg", signed_in(self.qr), methods=["GET"]),
            Route(f"{mine}/calendar.ics", signed_in(self.calendar), methods=["GET"]),
            Route(check, signed_in(self.check, "ADMIN"), methods=["POST"]),
        ]

    async def qr(self, request: Request, identity: Identity) -> Response:
        """The QR code; in development `Link` leads to the mail that it came with."""
        booking_id = path_id(request, "id")
        svg = await self._etickets.qr(caller_of(request, identity), booking_id)
        headers = dict(_PRIVATE)
        if self._shows_mails:
            headers["Link"] = f'</dev/mails/{booking_id}.confirmed>; rel="alternate"'
        return Response(svg, 200, headers, "image/svg+xml")

    async def calendar(self, request: Request, identity: Identity) -> Response:
        booking_id = path_id(request, "id")
        calendar = await self._etickets.calendar(caller_of(request, identity), booking_id)
        name = {"Content-Disposition": f'attachment; filename="{booking_id}.ics"'}
        return Response(calendar, 200, _PRIVATE | name, "text/calendar")

    async def check(self, request: Request, identity: Identity) -> Response:
        """`valid`, and where it is not: `reason`. `booking`, whenever the code is one of ours."""
        checked = await self._etickets.check((await parse(request, TicketCheck)).code)
        answer: dict[str, Any] = {"valid": checked.refusal is None}
        if checked.refusal:
            answer["reason"] = checked.refusal
        if checked.booking and checked.showtime:
            answer["booking"] = booking_json(checked.booking, checked.showtime)
        return JSONResponse(answer)
