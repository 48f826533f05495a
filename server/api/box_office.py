"""At the counter: POST /api/admin/showtimes/{showtime_id}/seats/lock, seats for a customer."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server.api.admin_users import NamedUser
from server.api.problems import caller_of
from server.api.requests import parse, path_id
from server.api.seats import Seats, lock_json
from server.auth.guards import Guards
from server.auth.people import People
from server.models import Identity, Model
from server.seats import SeatLocks


class CounterLockRequest(Model):
    customer: NamedUser
    seats: Seats


class BoxOfficeRoutes:
    def __init__(self, locks: SeatLocks, people: People, guards: Guards) -> None:
        self._locks = locks
        self._people = people
        self._guards = guards

    @property
    def routes(self) -> list[Route]:
        lock = self._guards.signed_in(self.lock, "ADMIN", "BOX_OFFICE")
        address = "/api/admin/showtimes/{showtime_id}/seats/lock"
        return [Route(address, lock, methods=["POST"])]

    async def lock(self, request: Request, identity: Identity) -> Response:
        """The lock is the customer's, and counts against their caps; the act is the clerk's."""
        body = await parse(request, CounterLockRequest)
        showtime_id = path_id(request, "showtime_id")
        customer = await self._people.customer(body.customer)
        clerk = caller_of(request, identity)
        lock = await self._locks.lock_for(clerk, customer.id, showtime_id, body.seats)
        return JSONResponse({"lock": lock_json(lock)})
