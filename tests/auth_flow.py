"""A sign-in from end to end: the real routes, the real provider, a browser that keeps cookies."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.middleware import Middleware

from server.api.accounts import AccountRoutes
from server.api.auth import AuthRoutes
from server.api.cross_site import CrossSiteGuard
from server.api.middleware import RequestEnvelope
from server.api.problems import exception_handlers
from server.auth.build import Auth, build_auth
from server.auth.development import DevelopmentProvider
from server.auth.origins import Origins
from server.repo.mongo import UNAVAILABLE, Database
from server.settings import Settings

ORIGIN = "http://localhost:8000"
JWT_SECRET = "the-secret-of-the-tests-and-of-nothing-else"
SIGNING_KEY = RSAKey.generate_key(2048, auto_kid=True)

Collections = ("users", "sessions", "signins", "tickets")


def settings_for(**changes: Any) -> Settings:
    values = {"app_env": "development", "port": 8000, "jwt_secret": JWT_SECRET, **changes}
    return Settings(_env_file=None, **values)


def provider_for(
    settings: Settings, kind: type[DevelopmentProvider] = DevelopmentProvider, **more: Any
) -> DevelopmentProvider:
    return kind(settings, Origins(settings), SIGNING_KEY, **more)


def auth_for(
    database: Database,
    settings: Settings | None = None,
    kind: type[DevelopmentProvider] = DevelopmentProvider,
) -> Auth:
    settings = settings or settings_for()
    return build_auth(settings, database, provider_for(settings, kind))


def app_for(auth: Auth) -> Starlette:
    accounts = AccountRoutes(auth.accounts, auth.guards, auth.origins)
    routes = AuthRoutes(auth.signin, auth.sessions, auth.tickets, auth.guards, auth.origins).routes
    return Starlette(
        routes=[*routes, *accounts.routes, *(auth.provider.routes if auth.provider else [])],
        middleware=[
            Middleware(RequestEnvelope),
            Middleware(CrossSiteGuard, origins=auth.origins),
        ],
        exception_handlers=exception_handlers(UNAVAILABLE),
    )


def browser_for(auth: Auth, origin: str = ORIGIN) -> httpx2.AsyncClient:
    """A browser with an empty cookie jar; it follows no redirect by itself."""
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app_for(auth)), base_url=origin)


async def to_callback(
    browser: httpx2.AsyncClient, email: str = "ada@example.com", **query: str
) -> str:
    """Sign in up to the address that the provider sends the browser back to."""
    login = await browser.get("/api/auth/google/login", params={"login_hint": email, **query})
    assert login.status_code == 302, login.text
    consent = await browser.get(login.headers["location"])
    assert consent.status_code == 302, consent.text
    return consent.headers["location"]


async def sign_in(
    browser: httpx2.AsyncClient, email: str = "ada@example.com", **query: str
) -> httpx2.Response:
    """Sign in and return the answer of the callback."""
    return await browser.get(await to_callback(browser, email, **query))


async def access_token(browser: httpx2.AsyncClient) -> str:
    answer = await browser.post("/api/auth/refresh")
    assert answer.status_code == 200, answer.text
    return answer.json()["access_token"]


def query_of(address: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


async def stored(database: Database) -> dict[str, int]:
    """How many documents each collection of sign-in holds."""
    return {name: await database[name].count_documents({}) for name in Collections}


async def audit_of(database: Database) -> list[tuple[str, str, Any]]:
    """What was written for the audit log: (action, outcome, reason)."""
    rows = await database["audit_outbox"].find().sort("_id", 1).to_list(None)
    return [(row["action"], row["outcome"], row["detail"].get("reason")) for row in rows]
