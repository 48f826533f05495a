"""What is remembered of a provider: its description and its keys, which it may change."""

import asyncio
import json
from urllib.parse import parse_qsl

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from starlette.responses import JSONResponse

from server.auth.development import CLIENT_ID, DevelopmentProvider
from server.auth.provider import KEYS_TTL, METADATA_TTL, PAUSE
from tests.auth_flow import SIGNING_KEY, browser_for, sign_in, stored, to_callback
from tests.signin_refusals import elsewhere, failed_with, impaired


async def test_what_a_provider_publishes_is_read_once_and_again_after_a_while(database):
    now = [0.0]
    auth, way, _ = impaired(database, clock=lambda: now[0])
    async with browser_for(auth) as browser:
        for _ in range(5):
            await sign_in(browser)
        assert (way.asked["openid-configuration"], way.asked["jwks"]) == (1, 1)
        now[0] += max(METADATA_TTL, KEYS_TTL)
        await sign_in(browser)
    assert (way.asked["openid-configuration"], way.asked["jwks"]) == (2, 2)


class Rotating(DevelopmentProvider):
    """Signs with `key`, and publishes `published`."""

    key = SIGNING_KEY
    published = (SIGNING_KEY,)

    async def jwks(self, request):
        return JSONResponse(KeySet(list(self.published)).as_dict(private=False))

    def sign(self, claims):
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, claims, self.key)

    def rotate(self):
        type(self).key = RSAKey.generate_key(2048, auto_kid=True)
        type(self).published = (self.key,)


@pytest.fixture
def rotating():
    yield Rotating
    Rotating.key, Rotating.published = SIGNING_KEY, (SIGNING_KEY,)


async def test_a_provider_may_change_its_keys_at_any_time(database, rotating):
    now = [0.0]
    auth, way, provider = impaired(database, rotating, clock=lambda: now[0])
    async with browser_for(auth) as browser:
        for _ in range(3):
            assert (await sign_in(browser)).headers["location"] == "/"
            provider.rotate()
            now[0] += PAUSE
        assert (await sign_in(browser)).headers["location"] == "/"
    assert way.asked["jwks"] == 4


async def test_many_who_meet_a_new_key_at_once_wait_for_one_look(database, rotating):
    auth, way, provider = impaired(database, rotating)
    async with browser_for(auth) as browser:
        await sign_in(browser)
        provider.rotate()
        callbacks = [await to_callback(browser) for _ in range(8)]
        answers = await asyncio.gather(*(browser.get(callback) for callback in callbacks))
    assert {answer.headers["location"] for answer in answers} == {"/"}
    assert way.asked["jwks"] == 2


async def test_unknown_keys_make_nobody_ask_more_often(database, rotating):
    now = [0.0]
    auth, way, _ = impaired(database, rotating, clock=lambda: now[0])
    async with browser_for(auth) as browser:
        await sign_in(browser)
        rotating.key = RSAKey.generate_key(2048, auto_kid=True)  # and publishes it nowhere
        for _ in range(6):
            failed_with(await sign_in(browser), "identity_invalid")
        assert way.asked["jwks"] == 2
        now[0] += PAUSE
        failed_with(await sign_in(browser), "identity_invalid")
        assert way.asked["jwks"] == 3
        rotating.key = SIGNING_KEY
        assert (await sign_in(browser)).headers["location"] == "/"
    assert (await stored(database))["sessions"] == 1


async def test_a_key_that_was_withdrawn_signs_nobody_in(database, rotating):
    now = [0.0]
    auth, _, provider = impaired(database, rotating, clock=lambda: now[0])
    async with browser_for(auth) as browser:
        await sign_in(browser)
        old = rotating.key
        provider.rotate()
        rotating.key = old
        now[0] += KEYS_TTL
        failed_with(await sign_in(browser), "identity_invalid")
    assert (await stored(database))["sessions"] == 1


async def test_a_provider_that_wants_the_secret_in_the_form_gets_it_there(database):
    class InForm(DevelopmentProvider):
        async def discovery(self, request):
            body = json.loads((await super().discovery(request)).body)
            body["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
            return JSONResponse(body)

        async def token(self, request):
            form = dict(parse_qsl((await request.body()).decode()))
            assert "authorization" not in request.headers
            assert (form["client_id"], form["client_secret"]) == (CLIENT_ID, self.client_secret)
            return await super().token(request)

        def _knows_client(self, request):
            return True

    async with browser_for(elsewhere(database, InForm)) as browser:
        assert (await sign_in(browser)).headers["location"] == "/"
