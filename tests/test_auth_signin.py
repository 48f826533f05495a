"""Sign-in through the provider: the whole flow, who one is afterwards, with which role."""

import asyncio
import logging
import re

import pytest

from server.auth.development import DevelopmentProvider
from tests.auth_flow import (
    ORIGIN,
    access_token,
    audit_of,
    auth_for,
    browser_for,
    query_of,
    settings_for,
    sign_in,
    stored,
    to_callback,
)
from tests.signin_refusals import NOTHING

# The flow


async def test_a_person_signs_in_and_comes_back_to_where_they_were(database):
    async with browser_for(auth_for(database)) as browser:
        answer = await sign_in(browser, "bob@example.com", next="/showtimes/s1?seat=A1#map")
        assert (answer.status_code, answer.headers["location"]) == (
            303,
            "/showtimes/s1?seat=A1#map",
        )
        refreshed = await browser.post("/api/auth/refresh")
        body = refreshed.json()
        bearer = {"Authorization": f"Bearer {body['access_token']}"}
        me = await browser.get("/api/me", headers=bearer)
    assert {**body, "access_token": ""} == {
        "access_token": "",
        "token_type": "Bearer",
        "expires_in": 900,
        "user": {
            "id": body["user"]["id"],
            "email": "bob@example.com",
            "name": "Bob",
            "role": "USER",
        },
    }
    assert me.json()["user"] == body["user"]
    assert await stored(database) == {**NOTHING, "users": 1, "sessions": 1}
    assert await audit_of(database) == [("auth.signed_in", "ok", None)]


async def test_login_asks_the_provider_for_a_bound_code(database):
    async with browser_for(auth_for(database)) as browser:
        answer = await browser.get("/api/auth/google/login?login_hint=zoe@somewhere.org")
    where, asked = answer.headers["location"].split("?")[0], query_of(answer.headers["location"])
    assert (answer.status_code, where) == (302, f"{ORIGIN}/dev/oidc/authorize")
    assert asked["response_type"] == "code"
    assert asked["scope"] == "openid email profile"
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == f"{ORIGIN}/api/auth/google/callback"
    assert asked["login_hint"] == "zoe@somewhere.org"
    assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 20
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Max-Age=600" in cookie
    assert cookie.startswith("rowlock_signin_")
    assert "Path=/api/auth/google" in cookie


@pytest.mark.parametrize(
    "origin", ["http://localhost:8000", "http://127.0.0.1:9123", "http://[::1]"]
)
async def test_every_loopback_name_works_with_cookies_of_its_own(database, origin):
    async with browser_for(auth_for(database), origin) as browser:
        login = await browser.get("/api/auth/google/login?login_hint=ada@example.com")
        assert login.headers["location"].startswith(f"{origin}/dev/oidc/authorize?")
        callback = (await browser.get(login.headers["location"])).headers["location"]
        assert callback.startswith(f"{origin}/api/auth/google/callback?")
        await browser.get(callback)
        assert await access_token(browser)


async def test_a_host_header_that_is_no_loopback_name_is_not_believed(database):
    async with browser_for(auth_for(database), "http://localhost.evil.test:8000") as browser:
        login = await browser.get("/api/auth/google/login")
    assert login.headers["location"].startswith(f"{ORIGIN}/dev/oidc/authorize?")
    assert query_of(login.headers["location"])["redirect_uri"].startswith(ORIGIN)


async def test_two_tabs_sign_in_side_by_side(database):
    async with browser_for(auth_for(database)) as browser:
        first = await to_callback(browser, "ada@example.com", next="/first")
        second = await to_callback(browser, "ada@example.com", next="/second")
        assert (await browser.get(second)).headers["location"] == "/second"
        assert (await browser.get(first)).headers["location"] == "/first"


async def test_tabs_that_begin_at_the_same_moment_all_arrive(database):
    """None of them has a cookie of another yet when it asks for its own."""
    async with browser_for(auth_for(database)) as browser:
        tabs = [to_callback(browser, "ada@example.com", next=f"/{n}") for n in range(5)]
        callbacks = await asyncio.gather(*tabs)
        arrived = await asyncio.gather(*(browser.get(callback) for callback in callbacks))
    assert [answer.headers["location"] for answer in arrived] == [f"/{n}" for n in range(5)]
    assert await stored(database) == {**NOTHING, "users": 1, "sessions": 5}


async def test_sign_ins_that_were_left_do_not_pile_up_in_the_browser(database):
    async with browser_for(auth_for(database)) as browser:
        for _ in range(25):
            await browser.get("/api/auth/google/login")
            assert len(browser.cookies) <= 10
        assert (await sign_in(browser)).headers["location"] == "/"


@pytest.mark.parametrize(
    "name",
    [
        *(
            "rowlock_signin_0(",
            "rowlock_signin_",
            "rowlock_signin_{n:015x}",
            "rowlock_signin_{n:017x}",
        ),
        *("x{ours}", "__Host-__Host-{ours}", "__Host-{ours}", "rowlock_signin_{n:015x}G"),
    ],
)
async def test_cookies_that_are_called_nearly_so_are_left_alone(database, name):
    """A page of a neighbouring host may set such ones; `__Host-` is no name of ours over http."""
    filled_in = (name.format(n=n, ours=f"rowlock_signin_{n:016x}") for n in range(12))
    cookies = "; ".join(f"{name}{n if '(' in name else ''}=x" for n, name in enumerate(filled_in))
    async with browser_for(auth_for(database)) as browser:
        login = await browser.get("/api/auth/google/login", headers={"Cookie": cookies})
        assert login.status_code == 302
        (cookie,) = login.headers.get_list("set-cookie")
        assert re.match(r"rowlock_signin_[0-9a-f]{16}=[^;]", cookie)
        assert (await sign_in(browser)).headers["location"] == "/"


@pytest.mark.parametrize("mode", ["no-cors", "cors", "same-origin", "websocket", "", "Navigate"])
async def test_what_a_page_loads_by_the_way_begins_no_sign_in(database, mode):
    """Such as the images of another site, which would drop the cookies of sign-ins under way."""
    async with browser_for(auth_for(database)) as browser:
        for headers in ([("Sec-Fetch-Mode", mode)], [("Sec-Fetch-Mode", "navigate")] * 2):
            answer = await browser.get("/api/auth/google/login", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
            assert "set-cookie" not in answer.headers
    assert await stored(database) == NOTHING


async def test_who_goes_there_begins_one(database):
    async with browser_for(auth_for(database)) as browser:
        for headers in ({}, {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "cross-site"}):
            answer = await browser.get("/api/auth/google/login", headers=headers)
            assert answer.status_code == 302
    assert await stored(database) == {**NOTHING, "signins": 2}


async def test_the_same_person_stays_one_user_whatever_the_address_says(database):
    class Renamed(DevelopmentProvider):
        def claims(self, code):
            return {
                **super().claims(code),
                "email": "New@Example.com",
                "name": " A \n New\x07 Name ",
            }

    async with browser_for(auth_for(database)) as browser:
        await sign_in(browser, "bob@example.com")
    async with browser_for(auth_for(database, kind=Renamed)) as browser:
        await sign_in(browser, "bob@example.com")
    (user,) = await database["users"].find().to_list(None)
    assert (user["email"], user["name"]) == ("new@example.com", "A New Name")


async def test_the_built_in_provider_knows_people_again_after_a_move_to_another_port(database):
    for port in (8000, 8001):
        auth = auth_for(database, settings_for(port=port))
        async with browser_for(auth, f"http://localhost:{port}") as browser:
            await sign_in(browser, "bob@example.com")
    assert await stored(database) == {**NOTHING, "users": 1, "sessions": 2}


async def test_an_address_that_changes_hands_is_another_user(database):
    class Successor(DevelopmentProvider):
        def claims(self, code):
            return {**super().claims(code), "sub": "somebody-else"}

    for kind in (DevelopmentProvider, Successor):
        async with browser_for(auth_for(database, kind=kind)) as browser:
            await sign_in(browser, "bob@example.com")
    assert await database["users"].count_documents({"email": "bob@example.com"}) == 2


async def test_text_from_outside_is_stored_as_text(database):
    """A user is written by an aggregation pipeline, in which `$…` could name a field."""

    class Hostile(DevelopmentProvider):
        def claims(self, code):
            return {**super().claims(code), "name": "$role", "sub": "$email"}

    async with browser_for(auth_for(database, kind=Hostile)) as browser:
        await sign_in(browser, "bob@example.com")
    (user,) = await database["users"].find().to_list(None)
    assert (user["name"], user["sub"], user["role"]) == ("$role", "$email", "USER")


# Roles


async def role_after_sign_in(database, settings, email, kind=DevelopmentProvider):
    async with browser_for(auth_for(database, settings, kind)) as browser:
        await sign_in(browser, email)
        return (await browser.post("/api/auth/refresh")).json()["user"]["role"]


async def test_ada_is_admin_and_admin_emails_add_to_her(database):
    settings = settings_for(admin_emails="Boss@Example.com")
    assert await role_after_sign_in(database, settings, "ada@example.com") == "ADMIN"
    assert await role_after_sign_in(database, settings, "boss@example.com") == "ADMIN"
    assert await role_after_sign_in(database, settings, "eve@example.com") == "USER"


@pytest.mark.parametrize("verified", [False, None, "true", 1])
async def test_an_unverified_address_makes_nobody_admin(database, verified):
    class Unverified(DevelopmentProvider):
        def claims(self, code):
            return {**super().claims(code), "email_verified": verified}

    role = await role_after_sign_in(database, settings_for(), "ada@example.com", Unverified)
    assert role == "USER"


async def test_the_role_follows_the_configuration_but_a_grant_stays(database):
    listed = settings_for(admin_emails="bob@example.com,eve@example.com")
    for email in ("bob@example.com", "eve@example.com"):
        assert await role_after_sign_in(database, listed, email) == "ADMIN"
    assert await auth_for(database).people.grant_admin("Eve@example.com ")
    assert await role_after_sign_in(database, settings_for(), "bob@example.com") == "USER"
    assert await role_after_sign_in(database, settings_for(), "eve@example.com") == "ADMIN"


# What nobody may read


async def test_no_secret_reaches_the_logs_the_audit_or_an_address(database, caplog):
    caplog.set_level(logging.DEBUG)
    async with browser_for(auth_for(database)) as browser:
        callback = await to_callback(browser)
        (transaction,) = await database["signins"].find().to_list(None)
        arrived = await browser.get(callback)
        refresh = browser.cookies["rowlock_refresh"]
        token = await access_token(browser)
    answer = query_of(callback)
    secrets = [answer["code"], answer["state"], transaction["verifier"], transaction["nonce"]]
    secrets += [refresh, refresh.split(".")[0], token]
    # The browser of this test writes down where it goes; the server has to keep silent.
    said = [
        r.getMessage() for r in caplog.records if r.name != "httpx2" or "/token" in r.getMessage()
    ]
    audited = await database["audit_outbox"].find().to_list(None)
    sessions = await database["sessions"].find().to_list(None)
    seen = f"{said} {audited} {sessions} {arrived.headers['location']}"
    assert [secret for secret in secrets if secret in seen] == []
