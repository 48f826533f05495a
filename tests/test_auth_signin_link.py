"""Linking a provider's identity with a local account, and every way in which it may not happen."""

import asyncio

import httpx2
import pytest

from server.auth.development import DevelopmentProvider
from tests.auth_flow import audit_of, auth_for, browser_for, sign_in, stored
from tests.signin_refusals import (
    ISSUER,
    NOTHING,
    elsewhere,
    failed_with,
    impaired,
    says,
    with_claims,
)

PASSWORD = "correct horse battery staple 7"


async def register(browser, email="bob@example.com", name="Robert"):
    """Make a local account; the browser is signed in to it. Returns its bearer header."""
    body = {"email": email, "password": PASSWORD, "name": name}
    answer = await browser.post("/api/auth/register", json=body)
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


async def to_link(browser, bearer, email="bob@example.com"):
    """Go to the provider to link; returns the address that it sends the browser back to."""
    answer = await browser.post("/api/auth/link", headers=bearer)
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"location"}
    asked = httpx2.URL(answer.json()["location"]).copy_set_param("login_hint", email)
    return (await browser.get(asked)).headers["location"]


async def users(database):
    return await database["users"].find().sort("_id", 1).to_list(None)


async def refuse(database, browser, callback, reason, accounts=1):
    """Assert that the way back links nothing and says why on the page of the account."""
    before = await users(database)
    failed_with(await browser.get(callback), reason, "/account")
    assert await users(database) == before
    assert len(before) == accounts
    assert (await audit_of(database))[-1] == ("auth.failed", "refused", reason)


async def test_an_identity_is_linked_and_opens_the_account_from_then_on(database):
    auth = auth_for(database)
    async with browser_for(auth) as browser:
        bearer = await register(browser)
        linked = await browser.get(await to_link(browser, bearer))
        assert (linked.status_code, linked.headers["location"]) == (303, "/account")
        assert "set-cookie" not in linked.headers
        me = (await browser.get("/api/me", headers=bearer)).json()
        assert me["account"] == {
            "has_password": True,
            "google_linked": True,
            "email_verified": True,
        }
    async with browser_for(auth) as other:
        assert (await sign_in(other, "bob@example.com")).headers["location"] == "/"
        user = (await other.post("/api/auth/refresh")).json()["user"]
    assert user == me["user"]  # the name is the account's own, not the provider's
    assert await stored(database) == {**NOTHING, "users": 1, "sessions": 2}
    assert ("auth.linked", "ok", None) in await audit_of(database)


async def test_the_password_still_opens_a_linked_account(database):
    async with browser_for(auth_for(database)) as browser:
        await browser.get(await to_link(browser, await register(browser)))
        body = {"email": "bob@example.com", "password": PASSWORD}
        assert (await browser.post("/api/auth/login", json=body)).status_code == 200


async def test_without_linking_two_ways_in_are_two_people(database):
    """A local account proves no mail address, so it gets nothing that the address would open."""
    async with browser_for(auth_for(database)) as browser:
        await register(browser, "ada@example.com", "Mallory")
        await sign_in(browser, "ada@example.com")
    roles = {user["name"]: user["role"] for user in await users(database)}
    assert roles == {"Mallory": "USER", "Ada": "ADMIN"}


async def test_a_linked_account_keeps_its_address_when_the_providers_changes(database):
    class Moved(DevelopmentProvider):
        def claims(self, code):
            return {**super().claims(code), "email": "eve@example.com", "name": "Eve"}

    async with browser_for(auth_for(database)) as browser:
        await browser.get(await to_link(browser, await register(browser)))
        await register(browser, "eve@example.com", "Eve")
    async with browser_for(auth_for(database, kind=Moved)) as browser:
        assert (await sign_in(browser, "bob@example.com")).headers["location"] == "/"
    assert [user["email"] for user in await users(database)] == [
        "bob@example.com",
        "eve@example.com",
    ]


async def test_linking_again_changes_nothing(database):
    async with browser_for(auth_for(database)) as browser:
        bearer = await register(browser)
        await browser.get(await to_link(browser, bearer))
        before = await users(database)
        again = await browser.get(await to_link(browser, bearer))
        assert again.headers["location"] == "/account"
    assert await users(database) == before


# What may not be linked


@pytest.mark.parametrize("verified", [False, None, ..., "true", 1])
async def test_an_address_that_is_not_verified_links_nothing(database, verified):
    kind = with_claims(email_verified=verified)
    async with browser_for(auth_for(database, kind=kind)) as browser:
        callback = await to_link(browser, await register(browser))
        await refuse(database, browser, callback, "email_unverified")


async def test_another_address_links_nothing(database):
    async with browser_for(auth_for(database)) as browser:
        callback = await to_link(browser, await register(browser), "eve@example.com")
        await refuse(database, browser, callback, "email_mismatch")


async def test_an_identity_of_another_account_is_not_taken_away(database):
    auth = auth_for(database)
    async with browser_for(auth) as owner, browser_for(auth) as browser:
        await sign_in(owner, "bob@example.com")
        callback = await to_link(browser, await register(browser))
        await refuse(database, browser, callback, "identity_taken", accounts=2)


async def test_an_account_has_one_identity(database):
    class Twin(DevelopmentProvider):
        def claims(self, code):
            return {**super().claims(code), "sub": "another"}

    async with browser_for(auth_for(database)) as browser:
        bearer = await register(browser)
        await browser.get(await to_link(browser, bearer))
    async with browser_for(auth_for(database, kind=Twin)) as browser:
        callback = await to_link(browser, bearer)
        await refuse(database, browser, callback, "already_linked")


async def test_one_identity_wanted_by_two_at_once_goes_to_one_of_them(database):
    """Two rows of one address can exist, as long as one of them has no password."""
    auth = auth_for(database)
    async with browser_for(auth) as browser:
        bearers = [await register(browser)]
        browser.cookies.clear()  # two people, each with a session
        bearers.append(await register(browser, "eve@example.com"))
        await database["users"].update_many({}, {"$unset": {"password_hash": ""}})
        await database["users"].update_many({}, {"$set": {"email": "bob@example.com"}})
        callbacks = [await to_link(browser, bearer) for bearer in bearers]
        answers = await asyncio.gather(*(browser.get(callback) for callback in callbacks))
    came = sorted(answer.headers["location"] for answer in answers)
    assert came == ["/account", "/account?auth_error=identity_taken"]
    assert await database["users"].count_documents({"sub": {"$exists": True}}) == 1


# Who may not link


async def test_whoever_signs_out_meanwhile_links_nothing(database):
    async with browser_for(auth_for(database)) as browser:
        callback = await to_link(browser, await register(browser))
        await browser.post("/api/auth/logout")
        await refuse(database, browser, callback, "session_ended")


async def test_whoever_is_blocked_meanwhile_links_nothing(database):
    async with browser_for(auth_for(database)) as browser:
        callback = await to_link(browser, await register(browser))
        await database["users"].update_many({}, {"$set": {"blocked": True}})
        await refuse(database, browser, callback, "account_blocked")


async def test_whoever_has_signed_out_does_not_even_begin(database):
    async with browser_for(auth_for(database)) as browser:
        bearer = await register(browser)
        await browser.post("/api/auth/logout")
        answer = await browser.post("/api/auth/link", headers=bearer)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert (await stored(database))["signins"] == 0


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer x"}])
async def test_linking_needs_somebody_who_is_signed_in(database, headers):
    async with browser_for(auth_for(database)) as browser:
        await register(browser)  # the cookie alone is not enough
        answer = await browser.post("/api/auth/link", headers=headers)
    assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)


async def test_another_browser_cannot_finish_a_link(database):
    """A thief who has somebody follow the address of his own link gains nothing."""
    auth = auth_for(database)
    async with browser_for(auth) as thief, browser_for(auth) as victim:
        callback = await to_link(thief, await register(thief))
        await register(victim, "eve@example.com", "Eve")
        failed_with(await victim.get(callback), "state_invalid")
    assert await database["users"].count_documents({"sub": {"$exists": True}}) == 0


async def test_a_link_serves_once(database):
    async with browser_for(auth_for(database)) as browser:
        callback = await to_link(browser, await register(browser))
        await browser.get(callback)
        failed_with(await browser.get(callback), "state_invalid")


async def test_whoever_says_no_comes_back_to_the_account(database):
    async with browser_for(auth_for(database)) as browser:
        callback = httpx2.URL(await to_link(browser, await register(browser)))
        denied = callback.copy_remove_param("code").copy_set_param("error", "access_denied")
        await refuse(database, browser, denied, "access_denied")


async def test_a_forged_answer_links_nothing(database):
    async with browser_for(elsewhere(database, with_claims(nonce="another"))) as browser:
        callback = await to_link(browser, await register(browser))
        await refuse(database, browser, callback, "identity_invalid")


async def test_a_provider_that_is_down_is_told_on_the_page_of_the_account(database):
    auth, way, _ = impaired(database)
    way.instead["openid-configuration"] = says(503, "")
    async with browser_for(auth) as browser:
        bearer = await register(browser)
        answer = await browser.post("/api/auth/link", headers=bearer)
    assert answer.json() == {"location": "/account?auth_error=provider_unavailable"}
    assert ISSUER not in answer.text
