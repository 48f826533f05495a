"""Refresh, sign-out and the cookies that carry them."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from server.auth.build import build_auth
from server.auth.opaque import digest
from server.auth.sessions import GRACE
from tests.auth_flow import (
    ORIGIN,
    access_token,
    audit_of,
    auth_for,
    browser_for,
    settings_for,
    sign_in,
    stored,
)

REFRESH, LOGOUT = "/api/auth/refresh", "/api/auth/logout"
REUSED = ("auth.session_revoked", "ok", "refresh_token_reused")
SIGNED_IN = ("auth.signed_in", "ok", None)
SIGNED_OUT = ("auth.signed_out", "ok", None)


def unauthenticated(answer):
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "set-cookie" not in answer.headers
    return True


def cookie_of(browser):
    return browser.cookies["rowlock_refresh"]


def bearing(token):
    return {"Cookie": f"rowlock_refresh={token}"}


# Refresh


async def test_each_refresh_brings_a_new_token_and_spends_the_old_one(database):
    async with browser_for(auth_for(database)) as browser:
        await sign_in(browser)
        seen = [cookie_of(browser)]
        for _ in range(3):
            assert await access_token(browser)
            seen.append(cookie_of(browser))
    assert len(set(seen)) == 4
    assert len({token.split(".")[0] for token in seen}) == 1
    (session,) = await database["sessions"].find().to_list(None)
    assert session["token_hash"] == digest(seen[-1])


async def test_a_reused_token_ends_the_whole_family(database):
    auth = auth_for(database)
    async with browser_for(auth) as victim, browser_for(auth) as thief:
        await sign_in(victim)
        stolen = cookie_of(victim)
        await access_token(victim)
        assert unauthenticated(await thief.post(REFRESH, headers=bearing(stolen)))
        assert await stored(database) == {"users": 1, "sessions": 0, "signins": 0, "tickets": 0}
        assert unauthenticated(await victim.post(REFRESH))
    assert await audit_of(database) == [SIGNED_IN, REUSED]


PAGE = {"Sec-Fetch-Site": "same-origin"}
"""What a browser says of a request that a page of ours makes."""


async def test_a_page_that_was_left_too_soon_gets_the_same_successor_again(database):
    async with browser_for(auth_for(database)) as browser:
        await sign_in(browser)
        spent = cookie_of(browser)
        first = await browser.post(REFRESH, headers=PAGE)
        successor = cookie_of(browser)
        again = await browser.post(REFRESH, headers={**PAGE, **bearing(spent)})
        assert (first.status_code, again.status_code) == (200, 200)
        assert cookie_of(browser) == successor
        assert await access_token(browser)


async def test_of_many_uses_by_our_pages_at_once_all_get_one_successor(database):
    async with browser_for(auth_for(database)) as browser:
        await sign_in(browser)
        headers = {**PAGE, **bearing(cookie_of(browser))}
        answers = await asyncio.gather(*(browser.post(REFRESH, headers=headers) for _ in range(20)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.cookies["rowlock_refresh"] for answer in answers}) == 1


async def test_a_tab_that_lags_behind_gets_the_token_that_is_current_by_then(database):
    async with browser_for(auth_for(database)) as browser:
        await sign_in(browser)
        spent = [cookie_of(browser)]
        for _ in range(4):
            await browser.post(REFRESH, headers=PAGE)
            spent.append(cookie_of(browser))
        current = spent.pop()
        for token in spent:
            late = await browser.post(REFRESH, headers={**PAGE, **bearing(token)})
            assert late.status_code == 200
            assert late.cookies["rowlock_refresh"] == current
        assert await access_token(browser)


async def test_two_tabs_that_refresh_at_the_same_instant_both_stay_signed_in(database):
    """Again and again, each with the cookie that it saw when it began."""
    async with browser_for(auth_for(database)) as browser:
        await sign_in(browser)
        for _ in range(12):
            headers = {**PAGE, **bearing(cookie_of(browser))}
            tabs = await asyncio.gather(*(browser.post(REFRESH, headers=headers) for _ in "ab"))
            assert [tab.status_code for tab in tabs] == [200, 200]
        assert await access_token(browser)
    assert await audit_of(database) == [SIGNED_IN]


async def test_within_the_grace_another_secret_is_still_a_forgery(database):
    async with browser_for(auth_for(database)) as browser:
        await sign_in(browser)
        forged = cookie_of(browser).split(".")[0] + "." + "x" * 43
        await browser.post(REFRESH, headers=PAGE)
        assert unauthenticated(await browser.post(REFRESH, headers={**PAGE, **bearing(forged)}))
    assert await audit_of(database) == [SIGNED_IN, REUSED]


async def test_the_grace_ends_with_its_time(database):
    async with browser_for(auth_for(database)) as browser:
        await sign_in(browser)
        spent = cookie_of(browser)
        await browser.post(REFRESH, headers=PAGE)
        await database["sessions"].update_one(
            {}, {"$set": {"spent.0.at": datetime.now(UTC) - GRACE - timedelta(seconds=1)}}
        )
        assert unauthenticated(await browser.post(REFRESH, headers={**PAGE, **bearing(spent)}))
        assert await stored(database) == {"users": 1, "sessions": 0, "signins": 0, "tickets": 0}


async def test_a_family_that_ends_takes_no_other_with_it(database):
    auth = auth_for(database)
    async with browser_for(auth) as laptop, browser_for(auth) as phone:
        await sign_in(laptop)
        await sign_in(phone)
        spent = cookie_of(laptop)
        await access_token(laptop)
        await laptop.post(REFRESH, headers=bearing(spent))
        assert await access_token(phone)


async def test_of_many_uses_of_one_token_at_once_at_most_one_succeeds(database):
    async with browser_for(auth_for(database)) as browser:
        await sign_in(browser)
        headers = bearing(cookie_of(browser))
        browser.cookies.clear()
        answers = await asyncio.gather(*(browser.post(REFRESH, headers=headers) for _ in range(12)))
    assert [answer.status_code for answer in answers].count(200) == 1
    assert (await stored(database))["sessions"] == 0
    assert (await audit_of(database)).count(REUSED) == 1


@pytest.mark.parametrize(
    "token",
    ["", "x", ".", "a" * 43, "a" * 43 + "." + "b" * 43, '{"$ne": ""}', "a" * 5000, "x.y.z"],
)
async def test_a_made_up_token_is_refused(database, token):
    async with browser_for(auth_for(database)) as browser:
        assert unauthenticated(await browser.post(REFRESH, headers=bearing(token)))
        assert unauthenticated(await browser.post(REFRESH))
    assert sum((await stored(database)).values()) == 0
    assert await audit_of(database) == []


async def test_a_forged_secret_under_a_living_family_ends_it(database):
    async with browser_for(auth_for(database)) as browser:
        await sign_in(browser)
        forged = cookie_of(browser).split(".")[0] + "." + "x" * 43
        assert unauthenticated(await browser.post(REFRESH, headers=bearing(forged)))
    assert (await stored(database))["sessions"] == 0


async def test_a_session_ends_thirty_days_after_sign_in_however_often_it_is_used(database):
    async with browser_for(auth_for(database)) as browser:
        await sign_in(browser)
        before = await database["sessions"].find_one()
        await access_token(browser)
        after = await database["sessions"].find_one()
        assert after["expires_at"] == before["expires_at"]
        assert abs(before["expires_at"] - datetime.now(UTC) - timedelta(days=30)).seconds < 60
        await database["sessions"].update_many({}, [{"$set": {"expires_at": "$$NOW"}}])
        assert unauthenticated(await browser.post(REFRESH))
    assert await audit_of(database) == [SIGNED_IN]  # it ran out, nobody stole it


async def test_the_role_is_read_anew_at_each_refresh(database):
    async with browser_for(auth_for(database)) as browser:
        await sign_in(browser, "bob@example.com")
        await database["users"].update_many({}, {"$set": {"role": "ADMIN", "name": "Robert"}})
        user = (await browser.post(REFRESH)).json()["user"]
    assert (user["role"], user["name"]) == ("ADMIN", "Robert")


async def test_a_user_who_is_gone_has_no_session(database):
    async with browser_for(auth_for(database)) as browser:
        await sign_in(browser)
        bearer = {"Authorization": f"Bearer {await access_token(browser)}"}
        await database["users"].delete_many({})
        assert unauthenticated(await browser.get("/api/me", headers=bearer))
        assert unauthenticated(await browser.post(REFRESH))
    assert (await stored(database))["sessions"] == 0


async def test_who_is_blocked_has_no_session(database):
    async with browser_for(auth_for(database)) as browser:
        await sign_in(browser)
        await database["users"].update_many({}, {"$set": {"blocked": True}})
        assert unauthenticated(await browser.post(REFRESH))
    assert (await stored(database))["sessions"] == 0
    assert await audit_of(database) == [SIGNED_IN, ("auth.session_revoked", "ok", "blocked")]


# Sign-out


async def test_sign_out_ends_the_session_and_clears_the_cookie(database):
    async with browser_for(auth_for(database)) as browser:
        await sign_in(browser)
        token = cookie_of(browser)
        answer = await browser.post(LOGOUT)
        assert (answer.status_code, answer.content) == (204, b"")
        assert (
            'rowlock_refresh=""; HttpOnly; Max-Age=0; Path=/api/auth'
            in (answer.headers["set-cookie"])
        )
        assert "rowlock_refresh" not in browser.cookies
        assert unauthenticated(await browser.post(REFRESH, headers=bearing(token)))
    assert (await stored(database))["sessions"] == 0
    assert await audit_of(database) == [SIGNED_IN, SIGNED_OUT]


@pytest.mark.parametrize("token", ["", "rubbish", "a" * 43 + "." + "b" * 43])
async def test_sign_out_answers_the_same_when_nobody_is_signed_in(database, token):
    async with browser_for(auth_for(database)) as browser:
        for _ in range(2):
            assert (await browser.post(LOGOUT, headers=bearing(token))).status_code == 204
    assert await audit_of(database) == []


async def test_a_spent_token_signs_out_as_well(database):
    async with browser_for(auth_for(database)) as browser:
        await sign_in(browser)
        spent = cookie_of(browser)
        await access_token(browser)
        browser.cookies.clear()
        assert (await browser.post(LOGOUT, headers=bearing(spent))).status_code == 204
    assert (await stored(database))["sessions"] == 0
    assert await audit_of(database) == [SIGNED_IN, REUSED]


# Requests that ride on the cookie from elsewhere

CROSS_SITE = [
    {"Origin": "https://evil.test"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://localhost:8001"},
    {"Origin": "http://localhost:8000.evil.test"},
    {"Origin": "http://localhost:8000@evil.test"},
    {"Origin": "https://evil.test", "Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "surprise"},
    {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"},
]
OURS = [
    {},
    {"Origin": ORIGIN},
    {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "https://shop.example", "Sec-Fetch-Site": "same-site"},
]


@pytest.mark.parametrize("path", [REFRESH, LOGOUT])
@pytest.mark.parametrize("headers", CROSS_SITE, ids=str)
async def test_another_site_cannot_use_the_cookie(database, path, headers):
    async with browser_for(auth_for(database)) as browser:
        await sign_in(browser)
        before = await database["sessions"].find_one()
        answer = await browser.post(path, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert "set-cookie" not in answer.headers
        assert await database["sessions"].find_one() == before
        assert await audit_of(database) == [SIGNED_IN]


@pytest.mark.parametrize(("path", "status"), [(REFRESH, 200), (LOGOUT, 204)])
@pytest.mark.parametrize("headers", OURS, ids=str)
async def test_our_own_pages_and_clients_that_are_no_browser_can(database, path, status, headers):
    settings = settings_for(cors_origins="https://shop.example")
    async with browser_for(auth_for(database, settings)) as browser:
        await sign_in(browser)
        assert (await browser.post(path, headers=headers)).status_code == status


@pytest.mark.parametrize("path", [REFRESH, LOGOUT, "/api/auth/ticket"])
async def test_these_calls_are_posts(database, path):
    async with browser_for(auth_for(database)) as browser:
        answer = await browser.get(path)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


# The cookies


async def refresh_cookie(database, origin, **changes):
    """Return the refresh cookie as it is set when the server is reached under `origin`."""
    auth = auth_for(database, settings_for(**changes))
    async with browser_for(auth, origin) as browser:
        return (await sign_in(browser)).headers["set-cookie"]


@pytest.mark.parametrize("origin", [ORIGIN, "http://127.0.0.1:8000", "http://[::1]:8000"])
async def test_over_http_on_loopback_in_development_the_cookie_is_not_secure(database, origin):
    cookie = await refresh_cookie(database, origin)
    assert cookie.startswith("rowlock_refresh=")
    assert "; Path=/api/auth;" in cookie
    assert "; HttpOnly;" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie
    assert "Domain" not in cookie
    (max_age,) = (part for part in cookie.split("; ") if part.startswith("Max-Age="))
    assert 30 * 86400 - 60 <= int(max_age.removeprefix("Max-Age=")) <= 30 * 86400


async def test_under_any_other_name_the_cookies_are_secure(database):
    origin = "http://rowlock.lan:8000"
    async with browser_for(auth_for(database, settings_for(public_url=origin)), origin) as browser:
        for answer in (await browser.post(LOGOUT), await browser.get("/api/auth/google/login")):
            assert answer.headers["set-cookie"].startswith("rowlock_")
            assert "; Secure" in answer.headers["set-cookie"]


async def test_over_https_the_cookie_belongs_to_this_host_alone(database):
    origin = "https://rowlock.test"
    auth = auth_for(database, settings_for(public_url=origin))
    async with browser_for(auth, origin) as browser:
        login = await browser.get("/api/auth/google/login")
        assert login.headers["set-cookie"].startswith("__Host-rowlock_signin_")
        cookie = (await sign_in(browser)).headers["set-cookie"]
        assert cookie.startswith("__Host-rowlock_refresh=")
        assert "; Path=/;" in cookie
        assert "; Secure" in cookie
        assert "; HttpOnly;" in cookie
        assert await access_token(browser)
        assert (await browser.post(LOGOUT)).status_code == 204
        assert "__Host-rowlock_refresh" not in browser.cookies


async def test_in_production_loopback_is_no_exception(database):
    """Nor does the built-in provider exist there."""
    settings = settings_for(
        app_env="production", public_url="http://localhost:8000", google_client_id="id"
    )
    auth = build_auth(settings, database)
    assert auth.provider is None
    async with browser_for(auth) as browser:
        answer = await browser.post(LOGOUT)
        assert "; Secure" in answer.headers["set-cookie"]
        assert (await browser.get("/dev/oidc/authorize")).status_code == 404
