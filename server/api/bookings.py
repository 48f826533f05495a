"""Bookings: POST /api/bookings, …/{id}/pay, and reading one's own."""

import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from pydantic import Field, StringConstraints
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server.api.pages import Cursor, PageQuery, page
from server.api.problems import caller_of, render, request_id_of
from server.api.rate_limits import counted_address
from server.api.requests import parse, path_id, query
from server.api.seats import Seats
from server.auth.guards import Guards
from server.booking import Booking, BookingStatus
from server.bookings import BookingSaga
from server.cancellations import Cancellations
from server.catalogue import Showtime
from server.detached import Detached
from server.errors import RowlockError
from server.idempotency import Answer, IdempotentRequests, fingerprint, key_of
from server.models import Caller, Id, Identity, Model, from_ms, rfc3339, to_ms


class BookingRequest(Model):
    showtime_id: Id
    seats: Seats


class PaymentRequest(Model):
    payment_method: Annotated[str, StringConstraints(min_length=1, max_length=64)]


class BookingQuery(PageQuery):
    status: BookingStatus | None = None
    cursor: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**47)], Id], Cursor] | None = None


class BookingRoutes:
    def __init__(
        self,
        saga: BookingSaga,
        cancellations: Cancellations,
        idempotent: IdempotentRequests,
        detached: Detached,
        guards: Guards,
    ) -> None:
        self._saga = saga
        self._cancellations = cancellations
        self._idempotent = idempotent
        self._detached = detached
        self._guards = guards

    @property
    def routes(self) -> list[Route]:
        signed_in = self._guards.signed_in
        return [
            Route("/api/bookings", signed_in(self.create), methods=["POST"]),
            Route("/api/bookings", signed_in(self.list_mine), methods=["GET"]),
            Route("/api/bookings/{id}", signed_in(self.show), methods=["GET"]),
            Route("/api/bookings/{id}/pay", signed_in(self.pay), methods=["POST"]),
        ]

    async def create(self, request: Request, identity: Identity) -> Response:
        key = key_of(request.headers.get("idempotency-key"))
        body = await parse(request, BookingRequest)
        caller = Caller(identity.user_id, request_id_of(request), counted_address(request))

        async def work() -> Answer:
            booking = await self._saga.create(caller, body.showtime_id, body.seats, key)
            return Answer(201, await self._answer(booking))

        return await self._once(request, caller, "book", key, body, work)

    async def pay(self, request: Request, identity: Identity) -> Response:
        key = key_of(request.headers.get("idempotency-key"))
        body = await parse(request, PaymentRequest)
        booking_id = path_id(request, "id")
        caller = caller_of(request, identity)

        async def work() -> Answer:
            booking = await self._saga.pay(caller, booking_id, body.payment_method, key)
            return Answer(202 if booking.status == "paying" else 200, await self._answer(booking))

        return await self._once(request, caller, "pay", key, body, work)

    async def show(self, request: Request, identity: Identity) -> Response:
        caller = caller_of(request, identity)
        return JSONResponse(
            await self._answer(await self._saga.get(caller, path_id(request, "id")))
        )

    async def list_mine(self, request: Request, identity: Identity) -> Response:
        asked = query(request, BookingQuery)
        before = (from_ms(asked.cursor[0]), asked.cursor[1]) if asked.cursor else None
        caller = caller_of(request, identity)
        found = await self._saga.list(caller, asked.status, before, asked.limit + 1)
        return page(
            found,
            asked.limit,
            lambda item: self._json(*item),
            lambda item: (to_ms(item[0].created_at), item[0].id),
        )

    async def _answer(self, booking: Booking) -> dict[str, Any]:
        return {"booking": self._json(booking, await self._saga.showtime_of(booking))}

    def _json(self, booking: Booking, showtime: Showtime) -> dict[str, Any]:
        return own_booking_json(booking, showtime, self._cancellations)

    async def _once(
        self,
        request: Request,
        caller: Caller,
        kind: str,
        key: str,
        body: Model,
        work: Callable[[], Awaitable[Answer]],
    ) -> Response:
        """Run `work` once for this key, to its end even when the client hangs up."""

        def refusal(error: RowlockError) -> Answer:
            return Answer(error.status, json.loads(bytes(render(error, caller.request_id).body)))

        answer, replayed = await self._detached.run(
            self._idempotent.run(
                f"{caller.user_id}:{kind}",
                key,
                fingerprint(request.scope["path"], body.model_dump()),
                work,
                refusal,
            )
        )
        headers = {"Idempotent-Replayed": "true"} if replayed else {}
        media_type = "application/json" if answer.status < 400 else "application/problem+json"
        return JSONResponse(answer.body, answer.status, headers, media_type)


def own_booking_json(
    booking: Booking, showtime: Showtime, cancellations: Cancellations
) -> dict[str, Any]:
    """A booking for whom it belongs to: with what may still be done about it."""
    until = cancellations.refundable_until(showtime)
    return booking_json(booking, showtime) | {"refundable_until": rfc3339(until)}


def booking_json(booking: Booking, showtime: Showtime | None) -> dict[str, Any]:
    """A booking with its showtime, unless that cannot be found any more."""
    return {
        "id": booking.id,
        "showtime_id": booking.showtime_id,
        "seats": booking.seats,
        "cancelled_seats": booking.cancelled_seats,
        "status": booking.status,
        "amount": booking.amount.as_json(),
        "prices": {seat: booking.price_of([seat]).as_json() for seat in booking.seats},
        "expires_at": rfc3339(booking.expires_at),
        "expires_in_ms": booking.remaining_ms,
        "created_at": rfc3339(booking.created_at),
        "refund": booking.refund,
        "refunds": [
            {"seats": refund.seats, "amount": refund.amount.as_json(), "status": refund.status}
            for refund in booking.refunds
        ],
        "showtime": showtime and _showing_json(showtime),
    }


def _showing_json(showtime: Showtime) -> dict[str, Any]:
    movie, cinema, auditorium = showtime.movie, showtime.cinema, showtime.auditorium
    return {
        "movie": {"id": movie.id, "title": movie.title, "accent": movie.accent},
        "cinema": {
            "id": cinema.id,
            "name": cinema.name,
            "city": cinema.city,
            "time_zone": cinema.time_zone,
        },
        "auditorium": {"id": auditorium.id, "name": auditorium.name},
        "starts_at": rfc3339(showtime.starts_at),
    }
