"""Providers elsewhere: found over the network, down, slow, or not what they say they are."""

import asyncio
import socket
from contextlib import asynccontextmanager

import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette

from server.auth.build import build_auth
from server.auth.development import CLIENT_ID
from server.auth.openid import OpenIDClient
from server.auth.signin import CALLBACK_PATH
from server.repo.mongo import UNAVAILABLE
from server.repo.signins import SignInRepo
from tests.auth_flow import auth_for, browser_for, provider_for, settings_for, stored, to_callback
from tests.signin_refusals import (
    ISSUER,
    NOTHING,
    elsewhere,
    failed_with,
    refuse,
    signin_with,
    with_claims,
)


class Unreachable(httpx2.AsyncBaseTransport):
    async def handle_async_request(self, request):
        raise httpx2.ConnectError("nobody there")


async def test_a_provider_that_does_not_answer_stops_the_login_kindly(database):
    client = OpenIDClient("https://idp.test/discovery", "id", "secret", transport=Unreachable())
    auth = signin_with(database, auth_for(database), client)
    async with browser_for(auth) as browser:
        await refuse(database, browser, "/api/auth/google/login", "provider_unavailable", {})


@pytest.mark.parametrize("call", ["login", "callback"])
async def test_a_store_that_does_not_answer_signs_nobody_in(database, call):
    class Silent(SignInRepo):
        async def add(self, *_):
            raise UNAVAILABLE[0]("nobody there")

        take = add

    client = provider_for(settings_for()).client()
    auth = signin_with(database, auth_for(database), client, Silent(database))
    async with browser_for(auth) as browser:
        failed_with(await browser.get(f"/api/auth/google/{call}"), "store_unavailable")
    assert await stored(database) == NOTHING


async def test_a_provider_may_write_its_name_with_or_without_the_scheme(database):
    for signs_as in (ISSUER, ISSUER.removeprefix("https://")):
        async with browser_for(elsewhere(database, with_claims(iss=signs_as))) as browser:
            login = await browser.get("/api/auth/google/login?login_hint=ada@example.com")
            assert login.headers["location"].startswith(f"{ISSUER}/authorize?")
            back = await browser.get(login.headers["location"])
            assert (await browser.get(back.headers["location"])).headers["location"] == "/"
    (user,) = await database["users"].find().to_list(None)
    assert user["provider"] == ISSUER


async def test_a_provider_is_found_over_the_network(database):
    """Discovery, token exchange and keys over real sockets, as the settings say."""
    app = Starlette()
    async with serving(app) as address:
        provider = provider_for(settings_for(public_url=address))
        app.routes.extend(provider.routes)
        settings = settings_for(
            google_client_id=CLIENT_ID,
            google_client_secret=provider.client_secret,
            oidc_discovery_url=f"{provider.issuer}/.well-known/openid-configuration",
            google_redirect_url=f"{address}/api/auth/google/callback",
        )
        auth = build_auth(settings, database)
        assert auth.provider is None
        async with browser_for(auth) as browser, httpx2.AsyncClient() as network:
            login = await browser.get("/api/auth/google/login?login_hint=ada@example.com")
            back = await network.get(login.headers["location"])
            arrived = await browser.get(f"{CALLBACK_PATH}?{back.next_request.url.query.decode()}")
            assert (arrived.status_code, arrived.headers["location"]) == (303, "/")
    (user,) = await database["users"].find().to_list(None)
    assert (user["provider"], user["role"]) == (provider.issuer, "USER")


@asynccontextmanager
async def serving(app):
    """Serve `app` on a free loopback port; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        task = asyncio.create_task(server.serve([listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


async def test_a_provider_that_downgrades_its_name_is_refused(database):
    signs_as = ISSUER.replace("https", "http")
    async with browser_for(elsewhere(database, with_claims(iss=signs_as))) as browser:
        await refuse(database, browser, await to_callback(browser), "identity_invalid", {})
