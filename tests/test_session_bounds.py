"""How many sessions one person has, how long an unused one lasts, and what takes its place."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from server.auth.opaque import digest
from server.auth.sessions import GRACE, IDLE, MAX_SESSIONS
from server.models import Identity
from server.repo.outbox import Outbox
from tests.accounts import PASSWORD, accounts_for, log_in, register
from tests.auth_flow import access_token, audit_of, auth_for, browser_for, sign_in

REFRESH = "/api/auth/refresh"
PAGE = {"Sec-Fetch-Site": "same-origin"}
EMAIL = "pat@example.com"


def cookie_of(browser):
    return browser.cookies["rowlock_refresh"]


async def ends(database):
    """Which sessions ended before their time, and why."""
    rows = database["audit_outbox"].find({"action": "auth.session_revoked"})
    return [(row["target"]["session_id"], row["detail"]["reason"]) async for row in rows]


async def family(database, count):
    """Somebody with so many sessions, the first one a minute older than the next."""
    auth, now = auth_for(database), datetime.now(UTC)
    async with browser_for(auth) as browser:
        await sign_in(browser)
    user = await database["users"].find_one()
    await database["sessions"].delete_many({})
    rows = [
        {
            "_id": f"session{number:03}",
            "user_id": user["_id"],
            "token_hash": f"hash{number}",
            "spent": [],
            "created_at": now - timedelta(minutes=count - number),
            "last_used_at": now - timedelta(minutes=count - number),
            "expires_at": now + timedelta(days=1),
            "user_agent": "",
        }
        for number in range(count)
    ]
    await database["sessions"].insert_many(rows)
    await database["audit_outbox"].delete_many({})
    return auth, user["_id"]


# -- how many --------------------------------------------------------------------------------------


async def test_a_sign_in_ends_the_oldest_beyond_the_newest_fifty(database):
    auth, user = await family(database, MAX_SESSIONS + 2)
    async with browser_for(auth) as browser:
        await sign_in(browser)
        assert await access_token(browser)
    left = {row["_id"] async for row in database["sessions"].find({"user_id": user})}
    assert len(left) == MAX_SESSIONS == 50
    gone = [f"session{number:03}" for number in range(3)]
    assert not left & set(gone)
    assert sorted(await ends(database)) == [(name, "too_many") for name in gone]


async def test_all_sessions_end_in_one_go_with_an_entry_each(database):
    auth, user = await family(database, 30)
    ended = await asyncio.gather(
        *(
            auth.sessions.revoke_all(user, "blocked", "r", except_session="session007")
            for _ in range(3)
        )
    )
    assert sorted(ended) == [0, 0, 29]
    assert [row["_id"] async for row in database["sessions"].find()] == ["session007"]
    expected = [(f"session{n:03}", "blocked") for n in range(30) if n != 7]
    assert sorted(await ends(database)) == expected


async def test_without_the_entries_no_session_ends(database, monkeypatch):
    auth, user = await family(database, 5)

    async def dying(self, transaction, records):
        raise ConnectionError("the process has died")

    monkeypatch.setattr(Outbox, "add_within", dying)
    with pytest.raises(ConnectionError):
        await auth.sessions.revoke_all(user, "blocked", "r")
    assert await database["sessions"].count_documents({}) == 5
    assert await ends(database) == []


# -- how long --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spare", "status"), [(60, 200), (-1, 401)])
async def test_a_session_that_nobody_uses_ends_after_two_weeks(database, spare, status):
    assert timedelta(days=14) == IDLE
    async with browser_for(auth_for(database)) as browser:
        await sign_in(browser)
        used = datetime.now(UTC) - IDLE + timedelta(seconds=spare)
        await database["sessions"].update_one({}, {"$set": {"last_used_at": used}})
        user = await database["users"].find_one()
        row = await database["sessions"].find_one()
        auth = auth_for(database)
        listed = await auth.sessions.of(Identity(user["_id"], "USER", row["_id"]))
        assert len(listed) == (1 if status == 200 else 0)
        assert (await browser.post(REFRESH)).status_code == status
    assert await audit_of(database) == [("auth.signed_in", "ok", None)]  # nobody stole it


async def test_a_late_tab_is_known_however_many_tokens_came_after_its_own(database):
    async with browser_for(auth_for(database)) as browser:
        await sign_in(browser)
        first = cookie_of(browser)
        for _ in range(20):
            assert (await browser.post(REFRESH, headers=PAGE)).status_code == 200
        current = cookie_of(browser)
        headers = {**PAGE, "Cookie": f"rowlock_refresh={first}"}
        late = await browser.post(REFRESH, headers=headers)
        assert late.status_code == 200
        assert late.cookies["rowlock_refresh"] == current


async def test_spent_tokens_are_forgotten_after_the_grace(database):
    async with browser_for(auth_for(database)) as browser:
        await sign_in(browser)
        for _ in range(5):
            await browser.post(REFRESH)
        old = datetime.now(UTC) - GRACE - timedelta(seconds=1)
        await database["sessions"].update_one({}, {"$set": {"spent.$[].at": old}})
        await browser.post(REFRESH)
        (row,) = await database["sessions"].find().to_list(None)
        assert len(row["spent"]) == 1


# -- one browser, one session ----------------------------------------------------------------------


async def test_who_signs_in_again_has_left_the_session_before(database):
    auth = accounts_for(database)
    async with browser_for(auth) as browser:
        old = []
        await register(browser, EMAIL)
        for again in (
            lambda: log_in(browser, EMAIL),
            lambda: register(browser, "other@example.com", PASSWORD),
            lambda: sign_in(browser, "bob@example.com"),
            lambda: sign_in(browser, "eve@example.com"),
        ):
            old.append(digest(cookie_of(browser).partition(".")[0]))
            await again()
            assert await database["sessions"].count_documents({}) == 1
        assert await access_token(browser)
    assert await ends(database) == [(each, "replaced") for each in old]


async def test_a_sign_in_that_fails_leaves_the_session_alone(database):
    auth = accounts_for(database)
    async with browser_for(auth) as browser:
        await register(browser, EMAIL)
        assert (await log_in(browser, EMAIL, "no such password")).status_code == 401
        assert await access_token(browser)
    assert await ends(database) == []


async def test_the_way_back_from_another_site_ends_the_session_before_too(database):
    """A browser does not send a strict cookie there; what it took along tells."""
    async with browser_for(auth_for(database)) as browser:
        await sign_in(browser)
        session = digest(cookie_of(browser).partition(".")[0])
        login = await browser.get("/api/auth/google/login", params={"login_hint": EMAIL})
        consent = await browser.get(login.headers["location"])
        browser.cookies.delete("rowlock_refresh")
        assert (await browser.get(consent.headers["location"])).status_code == 303
        assert "rowlock_leaving" not in browser.cookies
        assert await access_token(browser)
        assert await database["sessions"].count_documents({}) == 1
    assert await ends(database) == [(session, "replaced")]
