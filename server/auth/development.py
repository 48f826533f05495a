"""The built-in OpenID provider: sign-in for a laptop without Google credentials.

It is a provider like any other: the code flow with mandatory PKCE, state and nonce, codes that
serve once within a minute, ID tokens signed with a key made at start. What it does not ask for is
a password: its page offers the demo people and any new name. That is why it cannot be built
outside development.

Codes are kept in memory, so a sign-in begins and ends in one server process. Who a person is
follows from the email address alone, so that all processes agree on it.
"""

import base64
import hmac
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx2
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from cachetools import TTLCache
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Route

from server.auth.development_page import consent_page, refusal_page
from server.auth.development_people import ADMIN, DEMO_PEOPLE, Account, account_of, hinted_account
from server.auth.opaque import new_secret
from server.auth.openid import OpenIDClient
from server.auth.origins import Origins
from server.auth.signin import CALLBACK_PATH
from server.settings import Settings

PREFIX = "/dev/oidc"
CLIENT_ID = "rowlock-development"

_CODE_TTL = 60
_TOKEN_TTL = 300
_CAPACITY = 10_000
_MAX_FORM = 8 * 1024
_ALGORITHM = "RS256"
_STYLE = Path(__file__).with_name("development.css")
_NO_STORE = {"Cache-Control": "no-store"}

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


@dataclass(frozen=True, slots=True)
class Code:
    """What an authorization code stands for until it is exchanged."""

    account: Account
    redirect_uri: str
    challenge: str
    nonce: str


class DevelopmentProvider:
    def __init__(
        self,
        settings: Settings,
        origins: Origins,
        signing_key: RSAKey | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a signing key, unless one is given. Raises ValueError outside development."""
        if not settings.uses_development_provider:
            raise ValueError("the built-in OpenID provider exists in development only")
        self._origins = origins
        self._fixed_redirect_uri = settings.google_redirect_url
        self.issuer = f"{origins.public}{PREFIX}"
        self.client_secret = new_secret()
        self._key = signing_key or RSAKey.generate_key(2048, auto_kid=True)
        self._codes: TTLCache[str, Code] = TTLCache(_CAPACITY, _CODE_TTL, clock)
        self._tokens: TTLCache[str, Account] = TTLCache(_CAPACITY, _TOKEN_TTL, clock)

    def client(self) -> OpenIDClient:
        """Return a client that reaches this provider without leaving the process.

        No port mapping and no proxy can then stand between the two.
        """
        return OpenIDClient(
            f"{self.issuer}/.well-known/openid-configuration",
            CLIENT_ID,
            self.client_secret,
            origin=self._origins.public,
            transport=httpx2.ASGITransport(Starlette(routes=self.routes)),
        )

    @property
    def routes(self) -> list[Route]:
        return [
            Route(f"{PREFIX}/.well-known/openid-configuration", self.discovery, methods=["GET"]),
            Route(f"{PREFIX}/jwks", self.jwks, methods=["GET"]),
            Route(f"{PREFIX}/authorize", self.authorize, methods=["GET", "POST"]),
            Route(f"{PREFIX}/token", self.token, methods=["POST"]),
            Route(f"{PREFIX}/userinfo", self.userinfo, methods=["GET"]),
            Route(f"{PREFIX}/style.css", self.style, methods=["GET"]),
        ]

    async def discovery(self, request: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "userinfo_endpoint": f"{self.issuer}/userinfo",
                "jwks_uri": f"{self.issuer}/jwks",
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": [_ALGORITHM],
                "token_endpoint_auth_methods_supported": ["client_secret_basic"],
                "code_challenge_methods_supported": ["S256"],
                "scopes_supported": ["openid", "email", "profile"],
                "authorization_response_iss_parameter_supported": True,
            }
        )

    async def jwks(self, request: Request) -> Response:
        return JSONResponse(KeySet([self._key]).as_dict(private=False))

    async def authorize(self, request: Request) -> Response:
        """GET shows the page, or signs a hinted person in; POST is the answer from the page."""
        asked = request.query_params
        if asked.get("client_id") != CLIENT_ID or not self._may_return_to(request):
            return HTMLResponse(refusal_page(), 400, _NO_STORE)
        if refusal := _refusal_of(asked):
            return self._back(request, error=refusal)
        if request.method == "GET":
            account = hinted_account(asked.get("login_hint", ""))
            return self._enter(request, account) if account else self._page(request)
        form = await _form(request)
        if "deny" in form:
            return self._back(request, error="access_denied")
        account = account_of(form.get("email", ""), form.get("name", ""))
        return self._enter(request, account) if account else self._page(request, refused=True)

    async def token(self, request: Request) -> Response:
        """Exchange a code. A code that was shown here is spent, whatever comes of it."""
        if not self._knows_client(request):
            return _oauth_error("invalid_client", 401, {"WWW-Authenticate": "Basic"})
        form = await _form(request)
        if form.get("grant_type") != "authorization_code":
            return _oauth_error("unsupported_grant_type")
        code = self._codes.pop(form.get("code", ""), None)
        if code is None or code.redirect_uri != form.get("redirect_uri"):
            return _oauth_error("invalid_grant")
        if not _proves(form.get("code_verifier", ""), code.challenge):
            return _oauth_error("invalid_grant")
        access_token = new_secret()
        self._tokens[access_token] = code.account
        answer = {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": _TOKEN_TTL,
            "scope": "openid email profile",
            "id_token": self.sign(self.claims(code)),
        }
        return JSONResponse(answer, headers=_NO_STORE)

    async def userinfo(self, request: Request) -> Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        account = self._tokens.get(token)
        if account is None:
            return _oauth_error("invalid_token", 401, {"WWW-Authenticate": "Bearer"})
        return JSONResponse(account.claims, headers=_NO_STORE)

    async def style(self, request: Request) -> Response:
        return FileResponse(_STYLE, media_type="text/css")

    def claims(self, code: Code) -> dict[str, Any]:
        """Return the claims of the ID token that `code` is exchanged for."""
        now = int(time.time())
        return {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + _TOKEN_TTL,
            "nonce": code.nonce,
            **code.account.claims,
        }

    def sign(self, claims: dict[str, Any]) -> str:
        return jwt.encode({"alg": _ALGORITHM, "kid": self._key.kid}, claims, self._key)

    def _enter(self, request: Request, account: Account) -> Response:
        """Send the browser back with a code for `account`."""
        asked = request.query_params
        code = new_secret()
        self._codes[code] = Code(
            account, asked["redirect_uri"], asked["code_challenge"], asked["nonce"]
        )
        return self._back(request, code=code)

    def _back(self, request: Request, **answer: str) -> Response:
        """Send the browser back to the client with `answer`, the state that it came with, and the
        name of who answers (RFC 9207)."""
        asked = request.query_params
        query = urlencode({**answer, "state": asked.get("state", ""), "iss": self.issuer})
        status = 303 if request.method == "POST" else 302
        return RedirectResponse(f"{asked['redirect_uri']}?{query}", status, _NO_STORE)

    def _page(self, request: Request, *, refused: bool = False) -> Response:
        people = [(person.email, person.name, person is ADMIN) for person in DEMO_PEOPLE]
        hint = request.query_params.get("login_hint", "")
        html = consent_page(f"{PREFIX}/authorize?{request.url.query}", people, hint, refused)
        return HTMLResponse(html, 422 if refused else 200, _NO_STORE)

    def _may_return_to(self, request: Request) -> bool:
        origin = self._origins.seen_as(request.url.scheme, request.headers.get("host", ""))
        registered = self._fixed_redirect_uri or f"{origin}{CALLBACK_PATH}"
        return request.query_params.get("redirect_uri") == registered

    def _knows_client(self, request: Request) -> bool:
        expected = base64.b64encode(f"{CLIENT_ID}:{self.client_secret}".encode()).decode()
        given = request.headers.get("authorization", "")
        return hmac.compare_digest(given.encode(), f"Basic {expected}".encode())


def _refusal_of(asked: QueryParams) -> str | None:
    """Return the error code that the client is told, or None when the request is sound."""
    if asked.get("response_type") != "code":
        return "unsupported_response_type"
    if "openid" not in asked.get("scope", "").split():
        return "invalid_scope"
    pkce = asked.get("code_challenge_method") == "S256" and _CHALLENGE.fullmatch(
        asked.get("code_challenge", "")
    )
    return None if pkce and asked.get("state") and asked.get("nonce") else "invalid_request"


def _proves(verifier: str, challenge: str) -> bool:
    """PKCE S256 (RFC 7636, section 4.6)."""
    if not _VERIFIER.fullmatch(verifier):
        return False
    return hmac.compare_digest(create_s256_code_challenge(verifier), challenge)


async def _form(request: Request) -> dict[str, str]:
    """Return a form body; one that is too large counts as empty."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_FORM:
            return {}
    return dict(parse_qsl(body.decode("utf-8", "replace")))


def _oauth_error(code: str, status: int = 400, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": code}, status, {**_NO_STORE, **(headers or {})})
