"""/api/auth/register, /login and /password: local accounts; and GET /api/me."""

from typing import Annotated

from pydantic import Field, SecretStr, StringConstraints
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server.api.problems import request_id_of
from server.api.rate_limits import counted_address
from server.api.requests import parse
from server.auth.accounts import Accounts, Entry, Visit
from server.auth.cookies import Cookie
from server.auth.devices import MARK_TTL
from server.auth.guards import Guards
from server.auth.origins import Origins
from server.auth.password_rules import MAX_LENGTH
from server.auth.refresh_cookie import refresh_cookie
from server.models import Identity, Model

_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"

Email = Annotated[
    str,
    StringConstraints(
        max_length=254,
        pattern=rf"^[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@(?:{_LABEL}\.)+{_LABEL}$",
    ),
]
"""As HTML has it for its mail fields, with a dot. Plain ASCII: no two of them look the same."""

Password = Annotated[SecretStr, Field(min_length=1, max_length=MAX_LENGTH)]

Name = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        min_length=1,
        max_length=100,
        pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]*$",
    ),
]
"""One line, read from one end to the other."""


class Registration(Model):
    email: Email
    password: Password
    name: Name


class Login(Model):
    email: Email
    password: Password


class PasswordChange(Model):
    current_password: Password
    new_password: Password


class AccountRoutes:
    """The cookie `rowlock_device` tells a browser that an account was used from before from one
    that guesses; it opens nothing."""

    def __init__(self, accounts: Accounts, guards: Guards, origins: Origins) -> None:
        self._accounts = accounts
        self._guards = guards
        self._refresh = refresh_cookie(origins)
        self._device = Cookie("rowlock_device", "/api/auth", "strict", origins)

    @property
    def routes(self) -> list[Route]:
        signed_in = self._guards.signed_in
        return [
            Route("/api/auth/register", self.register, methods=["POST"]),
            Route("/api/auth/login", self.login, methods=["POST"]),
            Route("/api/auth/password", signed_in(self.change_password), methods=["POST"]),
            Route("/api/me", signed_in(self.me), methods=["GET"]),
        ]

    async def register(self, request: Request) -> Response:
        body = await parse(request, Registration)
        visit, email = self._visit(request), body.email.lower()
        password = body.password.get_secret_value()
        entry = await self._accounts.register(email, password, body.name, visit)
        return self._signed_in(request, entry, 201)

    async def login(self, request: Request) -> Response:
        body = await parse(request, Login)
        visit, email = self._visit(request), body.email.lower()
        entry = await self._accounts.sign_in(email, body.password.get_secret_value(), visit)
        return self._signed_in(request, entry, 200)

    async def change_password(self, request: Request, identity: Identity) -> Response:
        body = await parse(request, PasswordChange)
        await self._accounts.change_password(
            identity,
            body.current_password.get_secret_value(),
            body.new_password.get_secret_value(),
            request_id_of(request),
        )
        return Response(status_code=204)

    async def me(self, request: Request, identity: Identity) -> Response:
        account = await self._accounts.get(identity)
        ways = {
            "has_password": account.password_hash is not None,
            "google_linked": account.google_linked,
            "email_verified": account.email_verified,
        }
        return JSONResponse({"user": account.user.as_json(), "account": ways})

    def _visit(self, request: Request) -> Visit:
        return Visit(
            device_mark=self._device.read(request),
            user_agent=request.headers.get("user-agent", ""),
            request_id=request_id_of(request),
            address=counted_address(request),
            refresh_token=self._refresh.read(request),
        )

    def _signed_in(self, request: Request, entry: Entry, status: int) -> Response:
        grant = entry.grant
        response = JSONResponse(grant.as_json(), status)
        self._refresh.set(request, response, grant.refresh_token, grant.refresh_expires_in)
        self._device.set(request, response, entry.device_mark, MARK_TTL)
        return response
