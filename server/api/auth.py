"""/api/auth/*: sign-in with a provider, refresh, sign-out, tickets."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from pydantic import StringConstraints
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from server.api.problems import request_id_of
from server.api.requests import query
from server.auth.guards import Guards
from server.auth.journey import Departed, Departure, Return
from server.auth.origins import Origins
from server.auth.refresh_cookie import leaving_cookie, refresh_cookie
from server.auth.refusals import SignInFailed
from server.auth.sessions import Sessions, family_of
from server.auth.signin import CALLBACK_PATH, TRANSACTION_TTL, SignIn
from server.auth.signin_cookies import SignInCookies
from server.auth.tickets import TICKET_TTL, Tickets
from server.errors import Forbidden
from server.models import Identity, Model


class LoginQuery(Model):
    next: str = "/"
    login_hint: Annotated[str, StringConstraints(max_length=320)] = ""


class AuthRoutes:
    """Sign-in with a provider, and what a session lives by."""

    def __init__(
        self,
        signin: SignIn,
        sessions: Sessions,
        tickets: Tickets,
        guards: Guards,
        origins: Origins,
    ) -> None:
        self._signin = signin
        self._sessions = sessions
        self._tickets = tickets
        self._guards = guards
        self._origins = origins
        self._refresh = refresh_cookie(origins)
        self._leaving = leaving_cookie(origins)
        self._under_way = SignInCookies(origins)

    @property
    def routes(self) -> list[Route]:
        signed_in = self._guards.signed_in
        return [
            _get_alone("/api/auth/google/login", self.login),
            _get_alone(CALLBACK_PATH, self.callback),
            Route("/api/auth/link", signed_in(self.link), methods=["POST"]),
            Route("/api/auth/refresh", self.refresh, methods=["POST"]),
            Route("/api/auth/logout", self.logout, methods=["POST"]),
            Route("/api/auth/ticket", signed_in(self.issue_ticket), methods=["POST"]),
        ]

    async def login(self, request: Request) -> Response:
        """Send the browser to the provider. Raises Forbidden when it does not go there itself."""
        if not _is_navigation(request):
            raise Forbidden("A sign-in begins by going there.")
        asked = query(request, LoginQuery)
        departure = Departure(self._seen_as(request), asked.next, asked.login_hint)
        try:
            departed = await self._signin.begin(departure, request_id_of(request))
        except SignInFailed as failure:
            return RedirectResponse(failure.location, 303)
        response = RedirectResponse(departed.url, 302)
        self._bind(request, response, departed)
        if family := family_of(self._refresh.read(request)):
            max_age = int(TRANSACTION_TTL.total_seconds())
            self._leaving.set(request, response, family, max_age)
        return response

    async def link(self, request: Request, identity: Identity) -> Response:
        """Say where the person goes to link the provider's identity with their account; when the
        provider cannot be reached, that is the page that says so."""
        await self._sessions.owner(identity)
        departure = Departure(self._seen_as(request), account=identity)
        try:
            departed = await self._signin.begin(departure, request_id_of(request))
        except SignInFailed as failure:
            return JSONResponse({"location": failure.location})
        response = JSONResponse({"location": departed.url})
        self._bind(request, response, departed)
        return response

    async def callback(self, request: Request) -> Response:
        """Take the browser back from the provider."""
        answer = request.query_params
        if len(answer) < len(answer.multi_items()):
            answer = QueryParams()  # which of two states holds is anybody's guess: RFC 6749, 3.1
        state = answer.get("state", "")
        back = Return(
            secret=self._under_way.read(request, state),
            state=state,
            code=answer.get("code", ""),
            error=answer.get("error", ""),
            issuer=answer.get("iss"),
            user_agent=request.headers.get("user-agent", ""),
        )
        try:
            arrival = await self._signin.finish(back, request_id_of(request))
        except SignInFailed as failure:
            return RedirectResponse(failure.location, 303)
        response = RedirectResponse(arrival.next_path, 303)
        if grant := arrival.grant:
            await self._leave(request, response)
            self._refresh.set(request, response, grant.refresh_token, grant.refresh_expires_in)
        return response

    async def refresh(self, request: Request) -> Response:
        """Trade the refresh cookie for the next one and a fresh access token."""
        token = self._refresh.read(request)
        from_page = request.headers.get("sec-fetch-site") == "same-origin"
        grant = await self._sessions.refresh(
            token,
            request_id_of(request),
            from_page=from_page,
            user_agent=request.headers.get("user-agent", ""),
        )
        response = JSONResponse(grant.as_json())
        self._refresh.set(request, response, grant.refresh_token, grant.refresh_expires_in)
        return response

    async def logout(self, request: Request) -> Response:
        """End the session of the refresh cookie, if there is one; always 204."""
        await self._sessions.end(self._refresh.read(request), request_id_of(request))
        response = Response(status_code=204)
        self._refresh.clear(request, response)
        return response

    async def issue_ticket(self, request: Request, identity: Identity) -> Response:
        ticket = await self._tickets.issue(identity)
        return JSONResponse({"ticket": ticket, "expires_in": TICKET_TTL})

    async def _leave(self, request: Request, response: Response) -> None:
        """End the session that this browser had before it signed in."""
        for left in {family_of(self._refresh.read(request)), self._leaving.read(request)} - {""}:
            await self._sessions.replace(left, request_id_of(request))
        if self._leaving.read(request):
            self._leaving.clear(request, response)

    def _seen_as(self, request: Request) -> str:
        return self._origins.seen_as(request.url.scheme, request.headers.get("host", ""))

    def _bind(self, request: Request, response: Response, departed: Departed) -> None:
        """Let this browser alone come back from the provider with this state."""
        max_age = int(TRANSACTION_TTL.total_seconds())
        self._under_way.set(request, response, departed.state, departed.secret, max_age)


def _is_navigation(request: Request) -> bool:
    """Say whether the browser leaves its page for this, or does not say (then it is an old one, or
    none). An image in a page of another site does not, and would drop sign-ins under way."""
    modes = request.headers.getlist("sec-fetch-mode")
    return modes in ([], ["navigate"])


def _get_alone(path: str, endpoint: Callable[[Request], Awaitable[Response]]) -> Route:
    """Return a route without HEAD, which Starlette adds to GET: these two change things."""
    route = Route(path, endpoint, methods=["GET"])
    route.methods = {"GET"}
    return route
