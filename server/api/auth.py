"""/api/auth/*: sign-in, refresh, sign-out, tickets; and GET /api/me."""

from typing import Annotated

from pydantic import StringConstraints
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from server.api.problems import request_id_of
from server.api.requests import query
from server.auth.cookies import Cookie
from server.auth.guards import Guards
from server.auth.opaque import SECRET, new_secret
from server.auth.openid import SignInFailed
from server.auth.origins import Origins
from server.auth.sessions import Sessions
from server.auth.signin import CALLBACK_PATH, TRANSACTION_TTL, Departure, Return, SignIn
from server.auth.tickets import TICKET_TTL, Tickets
from server.errors import Forbidden
from server.models import Identity, Model


class LoginQuery(Model):
    next: str = "/"
    login_hint: Annotated[str, StringConstraints(max_length=320)] = ""


class AuthRoutes:
    """Two cookies. `rowlock_refresh` is only ever sent by our own page, so it is Strict.
    `rowlock_signin` must come along when the provider, another site, redirects to the callback,
    so it is Lax; all tabs of a browser share it."""

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
        self._refresh = Cookie("rowlock_refresh", "/api/auth", "strict", origins)
        self._browser = Cookie("rowlock_signin", "/api/auth/google", "lax", origins)

    @property
    def routes(self) -> list[Route]:
        signed_in = self._guards.signed_in
        return [
            Route("/api/auth/google/login", self.login, methods=["GET"]),
            Route(CALLBACK_PATH, self.callback, methods=["GET"]),
            Route("/api/auth/refresh", self.refresh, methods=["POST"]),
            Route("/api/auth/logout", self.logout, methods=["POST"]),
            Route("/api/auth/ticket", signed_in(self.issue_ticket), methods=["POST"]),
            Route("/api/me", signed_in(self.me), methods=["GET"]),
        ]

    async def login(self, request: Request) -> Response:
        """Send the browser to the provider."""
        asked = query(request, LoginQuery)
        known = self._browser.read(request)
        browser = known if SECRET.fullmatch(known) else new_secret()
        origin = self._origins.seen_as(request.url.scheme, request.headers.get("host", ""))
        departure = Departure(origin, browser, asked.next, asked.login_hint)
        try:
            address = await self._signin.begin(departure, request_id_of(request))
        except SignInFailed as failure:
            return _failed(failure)
        response = RedirectResponse(address, 302)
        max_age = int(TRANSACTION_TTL.total_seconds())
        self._browser.set(request, response, browser, max_age)
        return response

    async def callback(self, request: Request) -> Response:
        """Take the browser back from the provider."""
        answer = request.query_params
        arrival = Return(
            browser=self._browser.read(request),
            state=answer.get("state", ""),
            code=answer.get("code", ""),
            error=answer.get("error", ""),
        )
        try:
            grant, next_path = await self._signin.finish(arrival, request_id_of(request))
        except SignInFailed as failure:
            return _failed(failure)
        response = RedirectResponse(next_path, 303)
        self._refresh.set(request, response, grant.refresh_token, grant.refresh_expires_in)
        return response

    async def refresh(self, request: Request) -> Response:
        """Trade the refresh cookie for the next one and a fresh access token."""
        self._refuse_cross_site(request)
        token = self._refresh.read(request)
        from_page = request.headers.get("sec-fetch-site") == "same-origin"
        grant = await self._sessions.refresh(token, request_id_of(request), from_page=from_page)
        response = JSONResponse(grant.as_json())
        self._refresh.set(request, response, grant.refresh_token, grant.refresh_expires_in)
        return response

    async def logout(self, request: Request) -> Response:
        """End the session of the refresh cookie, if there is one; always 204."""
        self._refuse_cross_site(request)
        await self._sessions.end(self._refresh.read(request), request_id_of(request))
        response = Response(status_code=204)
        self._refresh.clear(request, response)
        return response

    async def issue_ticket(self, request: Request, identity: Identity) -> Response:
        ticket = await self._tickets.issue(identity)
        return JSONResponse({"ticket": ticket, "expires_in": TICKET_TTL})

    async def me(self, request: Request, identity: Identity) -> Response:
        user = await self._sessions.owner(identity)
        return JSONResponse({"user": user.as_json()})

    def _refuse_cross_site(self, request: Request) -> None:
        """Raise Forbidden when a page that is not ours sent this request.

        Browsers say so in Origin and Sec-Fetch-Site, and no page can take these headers away; a
        client that sends neither is no browser.
        """
        origin = request.headers.get("origin")
        site = request.headers.get("sec-fetch-site", "none")
        if origin is None:
            allowed = site in ("none", "same-origin")
        else:
            host = request.headers.get("host", "")
            allowed = site != "cross-site" and self._origins.allows(origin, host)
        if not allowed:
            raise Forbidden("This request comes from another site.")


def _failed(failure: SignInFailed) -> Response:
    return RedirectResponse(f"/?auth_error={failure.reason}", 303)
