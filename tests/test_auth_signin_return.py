"""The way back from the provider that may not succeed: state, code, issuer, errors."""

import asyncio

import httpx2
import pytest

from tests.auth_flow import (
    ORIGIN,
    auth_for,
    browser_for,
    query_of,
    stored,
    to_callback,
)
from tests.signin_refusals import NOTHING, failed_with, refuse


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state[:-1] + ("a" if state[-1] != "a" else "b"),
        lambda state: "",
        lambda state: "x" * 10_000,
        lambda state: '{"$ne": null}',
    ],
)
async def test_a_forged_state_is_refused(database, change):
    async with browser_for(auth_for(database)) as browser:
        callback = httpx2.URL(await to_callback(browser))
        forged = callback.copy_set_param("state", change(callback.params["state"]))
        await refuse(database, browser, forged, "state_invalid", {"signins": 1})


async def test_an_operator_in_the_name_of_a_parameter_is_no_query(database):
    async with browser_for(auth_for(database)) as browser:
        await to_callback(browser)
        forged = "/api/auth/google/callback?code=x&state[$ne]=x"
        await refuse(database, browser, forged, "state_invalid", {"signins": 1})


async def test_the_state_of_another_browser_is_refused_and_stays_good_for_its_owner(database):
    auth = auth_for(database)
    async with browser_for(auth) as victim, browser_for(auth) as thief:
        callback = await to_callback(thief)
        await to_callback(victim)  # so that the victim has a binding cookie of their own
        failed_with(await victim.get(callback), "state_invalid")
        assert (await stored(database))["sessions"] == 0
        assert (await thief.get(callback)).headers["location"] == "/"


async def test_a_browser_without_the_cookie_is_refused(database):
    async with browser_for(auth_for(database)) as browser:
        callback = await to_callback(browser)
        browser.cookies.clear()
        await refuse(database, browser, callback, "state_invalid", {"signins": 1})


async def test_a_state_serves_once(database):
    async with browser_for(auth_for(database)) as browser:
        callback = await to_callback(browser)
        await browser.get(callback)
        failed_with(await browser.get(callback), "state_invalid")
    assert await stored(database) == {**NOTHING, "users": 1, "sessions": 1}


async def test_an_expired_transaction_is_refused_before_the_store_has_dropped_it(database):
    async with browser_for(auth_for(database)) as browser:
        callback = await to_callback(browser)
        await database["signins"].update_many({}, [{"$set": {"expires_at": "$$NOW"}}])
        await refuse(database, browser, callback, "state_invalid", {"signins": 1})


async def test_a_code_serves_once(database):
    async with browser_for(auth_for(database)) as browser:
        used = await to_callback(browser)
        await browser.get(used)
        fresh = httpx2.URL(await to_callback(browser))
        replayed = fresh.copy_set_param("code", query_of(used)["code"])
        failed_with(await browser.get(replayed), "provider_refused")
    assert (await stored(database))["sessions"] == 1


async def test_a_code_of_another_sign_in_cannot_be_injected(database):
    """PKCE: the code belongs to the verifier of the transaction that it was issued for."""
    auth = auth_for(database)
    async with browser_for(auth) as thief, browser_for(auth) as victim:
        stolen = query_of(await to_callback(victim, "ada@example.com"))["code"]
        own = httpx2.URL(await to_callback(thief, "eve@example.com"))
        failed_with(await thief.get(own.copy_set_param("code", stolen)), "provider_refused")
    assert await stored(database) == {**NOTHING, "signins": 1}


@pytest.mark.parametrize(
    ("field", "value"),
    [("verifier", "x" * 64), ("verifier", ""), ("redirect_uri", f"{ORIGIN}/elsewhere")],
)
async def test_the_provider_checks_what_the_transaction_holds(database, field, value):
    async with browser_for(auth_for(database)) as browser:
        callback = await to_callback(browser)
        await database["signins"].update_many({}, {"$set": {field: value}})
        await refuse(database, browser, callback, "provider_refused", {})


async def test_another_nonce_is_refused(database):
    async with browser_for(auth_for(database)) as browser:
        callback = await to_callback(browser)
        await database["signins"].update_many({}, {"$set": {"nonce": "another"}})
        await refuse(database, browser, callback, "identity_invalid", {})


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("access_denied", "access_denied"),
        ("server_error", "provider_refused"),
        ("<b>", "provider_refused"),
    ],
)
async def test_an_error_of_the_provider_ends_the_sign_in(database, error, reason):
    async with browser_for(auth_for(database)) as browser:
        callback = httpx2.URL(await to_callback(browser))
        spoilt = callback.copy_set_param("error", error)
        await refuse(database, browser, spoilt, reason, {})
        failed_with(await browser.get(callback), "state_invalid")  # it is spent


async def test_an_error_without_any_sign_in_is_told_all_the_same(database):
    async with browser_for(auth_for(database)) as browser:
        address = "/api/auth/google/callback?error=access_denied"
        await refuse(database, browser, address, "access_denied", {})


@pytest.mark.parametrize("query", ["", "?code=x", "?state=x", "?code=x&state=x", "?foo=%00%ff"])
async def test_a_callback_out_of_nowhere_is_refused(database, query):
    async with browser_for(auth_for(database)) as browser:
        address = f"/api/auth/google/callback{query}"
        await refuse(database, browser, address, "state_invalid", {})


# Parameters that are there twice, or not at all


@pytest.mark.parametrize("name", ["state", "code", "iss"])
async def test_a_parameter_that_is_there_twice_is_refused(database, name):
    async with browser_for(auth_for(database)) as browser:
        callback = httpx2.URL(await to_callback(browser))
        doubled = callback.copy_add_param(name, callback.params[name])
        await refuse(database, browser, doubled, "state_invalid", {"signins": 1})


async def test_an_answer_without_a_code_is_refused_and_spends_the_state(database):
    async with browser_for(auth_for(database)) as browser:
        callback = httpx2.URL(await to_callback(browser))
        await refuse(database, browser, callback.copy_remove_param("code"), "state_invalid", {})
        failed_with(await browser.get(callback), "state_invalid")


async def test_a_return_that_comes_twice_at_once_signs_in_once(database):
    async with browser_for(auth_for(database)) as browser:
        callback = await to_callback(browser)
        answers = await asyncio.gather(*(browser.get(callback) for _ in range(8)))
    came = sorted(answer.headers["location"] for answer in answers)
    assert came == ["/", *["/?auth_error=state_invalid"] * 7]
    assert await stored(database) == {**NOTHING, "users": 1, "sessions": 1}


async def test_the_cookie_of_one_sign_in_does_not_finish_another(database):
    """Even in the same browser: each state has a secret of its own."""
    async with browser_for(auth_for(database)) as browser:
        callback = await to_callback(browser)
        (own,) = browser.cookies.jar
        await to_callback(browser)
        (other,) = (cookie for cookie in browser.cookies.jar if cookie.name != own.name)
        own.value = other.value
        failed_with(await browser.get(callback), "state_invalid")
    assert await stored(database) == {**NOTHING, "signins": 2}
