"""Tickets for the WebSocket, and who I am."""

import asyncio
from datetime import UTC, datetime

import pytest

from server.auth.opaque import digest
from server.errors import Unauthenticated
from server.models import Identity
from tests.auth_flow import access_token, auth_for, browser_for, sign_in, stored


async def signed_in_headers(browser, email="bob@example.com"):
    await sign_in(browser, email)
    return {"Authorization": f"Bearer {await access_token(browser)}"}


async def test_a_ticket_stands_for_its_owner_once(database):
    auth = auth_for(database)
    async with browser_for(auth) as browser:
        headers = await signed_in_headers(browser, "ada@example.com")
        answer = await browser.post("/api/auth/ticket", headers=headers)
    ticket = answer.json()["ticket"]
    (user,) = await database["users"].find().to_list(None)
    (session,) = await database["sessions"].find().to_list(None)
    assert answer.json() == {"ticket": ticket, "expires_in": 30}
    assert await auth.tickets.redeem(ticket) == Identity(user["_id"], "ADMIN", session["_id"])
    with pytest.raises(Unauthenticated):
        await auth.tickets.redeem(ticket)


async def test_only_the_hash_of_a_ticket_is_stored_and_not_for_long(database):
    auth = auth_for(database)
    ticket = await auth.tickets.issue(Identity("usr_1", "USER"))
    (row,) = await database["tickets"].find().to_list(None)
    assert row["_id"] == digest(ticket)
    assert ticket not in str(row)
    assert 25 < (row["expires_at"] - datetime.now(UTC)).total_seconds() <= 30


async def test_an_expired_ticket_is_refused_before_the_store_has_dropped_it(database):
    auth = auth_for(database)
    ticket = await auth.tickets.issue(Identity("usr_1", "USER"))
    await database["tickets"].update_many({}, [{"$set": {"expires_at": "$$NOW"}}])
    with pytest.raises(Unauthenticated):
        await auth.tickets.redeem(ticket)


async def test_of_many_who_redeem_one_ticket_one_succeeds(database):
    auth = auth_for(database)
    ticket = await auth.tickets.issue(Identity("usr_1", "USER"))
    attempts = (auth.tickets.redeem(ticket) for _ in range(20))
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert results.count(Identity("usr_1", "USER")) == 1
    assert sum(isinstance(result, Unauthenticated) for result in results) == 19


@pytest.mark.parametrize("ticket", ["", "x", "a" * 43, "Zm9y" * 10 + "Z28", "\u2603", "\udcff"])
async def test_a_made_up_ticket_is_refused(database, ticket):
    with pytest.raises(Unauthenticated):
        await auth_for(database).tickets.redeem(ticket)


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer x"}, {"Authorization": "Basic x"}]
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/api/auth/ticket"), ("GET", "/api/me")])
async def test_these_calls_need_an_access_token(database, method, path, headers):
    async with browser_for(auth_for(database)) as browser:
        await sign_in(browser)  # the refresh cookie alone is not enough
        answer = await browser.request(method, path, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert (await stored(database))["tickets"] == 0


async def test_me_is_who_the_store_says(database):
    async with browser_for(auth_for(database)) as browser:
        headers = await signed_in_headers(browser)
        await database["users"].update_many({}, {"$set": {"name": "Robert"}})
        answer = await browser.get("/api/me", headers=headers)
    (user,) = await database["users"].find().to_list(None)
    assert answer.json() == {
        "user": {
            "id": user["_id"],
            "email": "bob@example.com",
            "name": "Robert",
            "role": "USER",
        },
        "account": {"has_password": False, "google_linked": True, "email_verified": True},
    }
    assert answer.headers["cache-control"] == "no-store"
