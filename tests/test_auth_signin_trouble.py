"""A provider that is down, slow or talks rubbish, before the way out or on the way back."""

import asyncio
import json

import httpx2
import pytest
from starlette.responses import JSONResponse

from server.auth.development import DevelopmentProvider
from tests.auth_flow import browser_for, query_of, sign_in, stored, to_callback
from tests.signin_refusals import ISSUER, NOTHING, elsewhere, impaired, refuse, says


async def hangs(request):
    await asyncio.Event().wait()


async def breaks(request):
    raise httpx2.ReadError("gone")


async def times_out(request):
    raise httpx2.ReadTimeout("slow")


RUBBISH = [
    hangs,
    breaks,
    times_out,
    says(500, "{}"),
    says(503, "<html>", "text/html"),
    says(200, "<html>", "text/html"),
    says(200, "{"),
    says(200, ""),
    says(200, "null"),
    says(200, "[]"),
    says(302, ""),
]


@pytest.mark.parametrize("answer", RUBBISH)
async def test_a_provider_that_fails_at_the_token_signs_nobody_in(database, answer):
    auth, way, _ = impaired(database, patience=2.0)
    async with browser_for(auth) as browser:
        callback = await to_callback(browser)
        way.instead["token"] = answer
        await refuse(database, browser, callback, "provider_unavailable", {})


@pytest.mark.parametrize("answer", RUBBISH[:8])
async def test_a_provider_that_fails_at_its_keys_signs_nobody_in(database, answer):
    auth, way, _ = impaired(database, patience=2.0)
    async with browser_for(auth) as browser:
        callback = await to_callback(browser)
        way.instead["jwks"] = answer
        answer = await browser.get(callback)
    assert answer.headers["location"].partition("=")[2] in (
        "provider_unavailable",
        "identity_invalid",
    )
    assert await stored(database) == NOTHING


@pytest.mark.parametrize("answer", RUBBISH)
async def test_a_provider_that_fails_at_its_description_is_not_gone_to(database, answer):
    auth, way, _ = impaired(database, patience=2.0)
    way.instead["openid-configuration"] = answer
    async with browser_for(auth) as browser:
        await refuse(database, browser, "/api/auth/google/login", "provider_unavailable", {})
        del way.instead["openid-configuration"]
        assert (await sign_in(browser)).headers["location"] == "/"  # no failure is kept


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://evil.test"},
        {"issuer": f"{ISSUER}/other"},
        {"issuer": None},
        {"authorization_endpoint": "http://accounts.idp.test/dev/oidc/authorize"},
        {"token_endpoint": "http://accounts.idp.test/dev/oidc/token"},
        {"jwks_uri": "http://accounts.idp.test/dev/oidc/jwks"},
        {"token_endpoint": None},
        {"userinfo_endpoint": "http://accounts.idp.test/dev/oidc/userinfo"},
        {"userinfo_endpoint": 7},
        {"authorization_endpoint": "javascript:alert(1)"},
    ],
    ids=str,
)
async def test_a_description_that_cannot_be_right_is_refused(database, changes):
    class Strange(DevelopmentProvider):
        async def discovery(self, request):
            return JSONResponse({**json.loads((await super().discovery(request)).body), **changes})

    async with browser_for(elsewhere(database, Strange)) as browser:
        await refuse(database, browser, "/api/auth/google/login", "provider_unavailable", {})


async def test_a_description_changes_nothing_but_what_is_in_it(database):
    """What the client is made of is no business of the provider's."""

    class Meddling(DevelopmentProvider):
        async def discovery(self, request):
            body = json.loads((await super().discovery(request)).body)
            more = {"verify": False, "timeout": 0, "scope": "x", "code_challenge_method": "plain"}
            return JSONResponse({**body, **more, "jwks": {"keys": []}})

    async with browser_for(elsewhere(database, Meddling)) as browser:
        login = await browser.get("/api/auth/google/login")
        asked = query_of(login.headers["location"])
        assert (asked["scope"], asked["code_challenge_method"]) == ("openid email profile", "S256")
        assert (await sign_in(browser)).headers["location"] == "/"
