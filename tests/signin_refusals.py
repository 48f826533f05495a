"""Providers that lie, and what must be true after a sign-in that failed."""

from collections import Counter
from dataclasses import replace
from typing import Any

import httpx2
from starlette.applications import Starlette

from server.auth.build import Auth, build_auth
from server.auth.development import CLIENT_ID, DevelopmentProvider
from server.auth.links import Links
from server.auth.openid import OpenIDClient
from server.auth.signin import SignIn
from server.repo.identities import Identities
from server.repo.mongo import Database
from server.repo.outbox import Outbox
from server.repo.signins import SignInRepo
from server.repo.users import Users
from tests.auth_flow import audit_of, provider_for, settings_for, stored

NOTHING = {"users": 0, "sessions": 0, "signins": 0, "tickets": 0}
ISSUER = "https://accounts.idp.test/dev/oidc"


def failed_with(answer: httpx2.Response, reason: str, page: str = "/") -> None:
    """Assert that nobody was signed in, as far as the answer shows."""
    assert (answer.status_code, answer.headers["location"]) == (303, f"{page}?auth_error={reason}")
    assert "set-cookie" not in answer.headers


async def refuse(
    database: Database, browser: httpx2.AsyncClient, address: Any, reason: str, left: dict[str, int]
) -> None:
    """Assert that `address` signs nobody in, that `left` is all that is stored afterwards, and
    that the audit log is told why."""
    failed_with(await browser.get(address), reason)
    assert await stored(database) == {**NOTHING, **left}
    assert await audit_of(database) == [("auth.failed", "refused", reason)]


def with_claims(**changes: Any) -> type[DevelopmentProvider]:
    """A provider that writes these claims into ID tokens; `...` leaves one out."""

    class Tampered(DevelopmentProvider):
        def claims(self, code):
            changed = {**super().claims(code), **changes}
            return {name: value for name, value in changed.items() if value is not ...}

    return Tampered


def signed_by(sign: Any) -> type[DevelopmentProvider]:
    """A provider that makes its ID tokens of claims by `sign`."""

    class Forged(DevelopmentProvider):
        def sign(self, claims):
            return sign(claims)

    return Forged


def signin_with(
    database: Database, auth: Auth, client: OpenIDClient, signins: SignInRepo | None = None
) -> Auth:
    """`auth`, but at the provider that `client` knows."""
    outbox = Outbox(database)
    links = Links(Identities(database), auth.sessions, outbox)
    signin = SignIn(
        client, signins or SignInRepo(database), Users(database), auth.sessions, links, outbox
    )
    return replace(auth, signin=signin)


def client_of(provider: DevelopmentProvider, **more: Any) -> OpenIDClient:
    """A client of a provider that has a host of its own, as Google has."""
    return OpenIDClient(
        f"{provider.issuer}/.well-known/openid-configuration",
        CLIENT_ID,
        provider.client_secret,
        **{
            "transport": httpx2.ASGITransport(Starlette(routes=provider.routes)),
            **more,
        },
    )


def elsewhere(
    database: Database, kind: type[DevelopmentProvider] = DevelopmentProvider, **more: Any
) -> Auth:
    """Sign-in at such a provider; `more` goes to its client."""
    provider = provider_for(settings_for(), kind)
    provider.issuer = ISSUER
    auth = build_auth(settings_for(), database, provider)
    return signin_with(database, auth, client_of(provider, **more))


class Impaired(httpx2.AsyncBaseTransport):
    """The way to a provider, on which one address answers otherwise; counts who is asked."""

    def __init__(self, provider):
        self._inner = httpx2.ASGITransport(Starlette(routes=provider.routes))
        self.asked = Counter()
        self.instead = {}

    async def handle_async_request(self, request):
        name = request.url.path.rpartition("/")[2]
        self.asked[name] += 1
        if name in self.instead:
            return await self.instead[name](request)
        return await self._inner.handle_async_request(request)


def impaired(database, kind=DevelopmentProvider, **more):
    """Sign-in at a provider behind `Impaired`, which is returned as well, and the provider."""
    provider = provider_for(settings_for(), kind)
    provider.issuer = ISSUER
    way = Impaired(provider)
    auth = build_auth(settings_for(), database, provider)
    return signin_with(database, auth, client_of(provider, transport=way, **more)), way, provider


def says(status, text, kind="application/json"):
    """An answer for `Impaired.instead`."""

    async def answer(request):
        return httpx2.Response(status, text=text, headers={"content-type": kind}, request=request)

    return answer
