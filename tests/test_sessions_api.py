"""Where I am signed in: the list, and an end to one session or to all others."""

from datetime import timedelta

import httpx
import pytest
import pytest_asyncio

from server.models import new_id
from tests.running import IN_MODULE_LOOP, eventually, problem, served, sign_in, user_id

pytestmark = IN_MODULE_LOOP

server = served()

SESSIONS = "/api/auth/sessions"
LAPTOP = "Mozilla/5.0 (X11; Linux x86_64) Laptop/1.0"


@pytest_asyncio.fixture(loop_scope="module")
async def browsers(server):
    """Two browsers of one person who has signed in nowhere else."""
    email = f"{new_id('p')}@example.com"
    async with (
        httpx.AsyncClient(base_url=server.url, headers={"User-Agent": LAPTOP}) as laptop,
        httpx.AsyncClient(base_url=server.url, headers={"User-Agent": "Phone/2"}) as phone,
    ):
        for browser in (laptop, phone):
            await sign_in(browser, email)
        yield laptop, phone


async def sessions_of(browser):
    answer = await browser.get(SESSIONS)
    assert answer.status_code == 200, answer.text
    assert answer.json()["next_cursor"] is None
    return answer.json()["items"]


async def mine(browser):
    (current,) = [each for each in await sessions_of(browser) if each["current"]]
    return current["id"]


async def refreshes(browser):
    return (await browser.post("/api/auth/refresh")).status_code == 200


async def ends_of(server, person):
    """What the audit log says about the ends of this person's sessions: (session, reason)."""
    rows = (
        await server.stored.database["audit_logs"]
        .find({"action": "auth.session_revoked"})
        .to_list()
    )
    return {
        (row["target"]["session_id"], row["detail"]["reason"], (row["actor"] or {}).get("id"))
        for row in rows
        if row["target"]["user_id"] == person
    }


async def test_the_list_tells_where_and_since_when(browsers):
    laptop, phone = browsers
    seen = await sessions_of(laptop)
    assert [each["user_agent"] for each in seen] == ["Phone/2", LAPTOP]
    assert [each["current"] for each in seen] == [False, True]
    assert [each["current"] for each in await sessions_of(phone)] == [True, False]
    for each in seen:
        assert each["created_at"] <= each["last_used_at"] < each["expires_at"]
        left = timedelta(milliseconds=each["expires_in_ms"])
        assert timedelta(days=30, minutes=-1) < left <= timedelta(days=30)
        assert len(each) == 7


async def test_the_list_comes_in_pages(server, browsers):
    laptop, _ = browsers
    person = await user_id(laptop)
    row = await server.stored.database["sessions"].find_one({"user_id": person})
    more = [{**row, "_id": f"{person}{n}", "token_hash": str(n)} for n in range(5)]
    await server.stored.database["sessions"].insert_many(more)
    seen, cursor, sizes = [], {}, []
    while cursor is not None and len(sizes) < 5:
        body = (await laptop.get(SESSIONS, params={"limit": 3, **cursor})).json()
        seen += body["items"]
        sizes.append(len(body["items"]))
        cursor = {"cursor": body["next_cursor"]} if body["next_cursor"] else None
    assert sizes == [3, 3, 1]
    assert [each["id"] for each in seen] == [each["id"] for each in await sessions_of(laptop)]
    for bad in ({"limit": 0}, {"limit": "x"}, {"surprise": 1}, {"cursor": "nonsense"}):
        problem(await laptop.get(SESSIONS, params=bad), 422, "invalid_request")


async def test_the_list_opens_no_session(server, browsers):
    laptop, _ = browsers
    family, _, secret = laptop.cookies["rowlock_refresh"].partition(".")
    text = str(await server.stored.database["sessions"].find().to_list())
    assert await mine(laptop) in text
    for kept in (family, secret):
        assert kept not in (await laptop.get(SESSIONS)).text
        assert kept not in text


async def test_the_one_used_last_stands_first(browsers):
    laptop, _ = browsers
    assert await refreshes(laptop)
    assert [each["current"] for each in await sessions_of(laptop)] == [True, False]


async def test_what_a_browser_calls_itself_is_kept_short_and_visible(server, browsers):
    laptop, _ = browsers
    laptop.headers["User-Agent"] = "a\tb" + "x" * 2000
    assert await refreshes(laptop)
    (seen,) = [each["user_agent"] for each in await sessions_of(laptop) if each["current"]]
    assert seen == "ab" + "x" * 254


async def test_one_session_ends_and_the_others_live(server, browsers):
    laptop, phone = browsers
    person, gone = await user_id(laptop), await mine(phone)
    answer = await laptop.delete(f"{SESSIONS}/{gone}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert not await refreshes(phone)
    assert await refreshes(laptop)
    assert [each["id"] for each in await sessions_of(laptop)] == [await mine(laptop)]
    problem(await laptop.delete(f"{SESSIONS}/{gone}"), 404, "not_found")
    expected = {(gone, "revoked_by_user", person)}
    await eventually(lambda: _is(ends_of(server, person), expected))


async def test_all_others_end_and_this_one_lives(server, browsers):
    laptop, phone = browsers
    person, gone = await user_id(laptop), await mine(phone)
    assert (await laptop.delete(SESSIONS)).status_code == 204
    assert not await refreshes(phone)
    assert await refreshes(laptop)
    assert (await laptop.delete(SESSIONS)).status_code == 204
    expected = {(gone, "revoked_by_user", person)}
    await eventually(lambda: _is(ends_of(server, person), expected))


async def test_who_was_shown_the_door_cannot_show_it_to_others(browsers):
    laptop, phone = browsers
    kept, gone = await mine(laptop), await mine(phone)
    await laptop.delete(f"{SESSIONS}/{gone}")
    for method, path in (("GET", SESSIONS), ("DELETE", SESSIONS), ("DELETE", f"{SESSIONS}/{kept}")):
        problem(await phone.request(method, path), 401, "unauthenticated")
    assert await refreshes(laptop)


async def test_my_own_session_may_be_ended_too(browsers):
    laptop, phone = browsers
    assert (await laptop.delete(f"{SESSIONS}/{await mine(laptop)}")).status_code == 204
    assert not await refreshes(laptop)
    assert await refreshes(phone)


async def test_another_persons_session_is_not_found(server, browsers):
    laptop, _ = browsers
    theirs = await mine(laptop)
    problem(await server.eve.delete(f"{SESSIONS}/{theirs}"), 404, "not_found")
    problem(await server.ada.delete(f"{SESSIONS}/{theirs}"), 404, "not_found")
    assert (await server.eve.delete(SESSIONS)).status_code == 204
    assert await refreshes(laptop)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_visitor_sees_nothing(server, method):
    problem(await server.visitor.request(method, SESSIONS), 401, "unauthenticated")


async def test_a_session_that_ran_out_is_not_shown(server, browsers):
    laptop, phone = browsers
    gone = await mine(phone)
    await server.stored.database["sessions"].update_one(
        {"_id": gone}, [{"$set": {"expires_at": "$$NOW"}}]
    )
    assert gone not in [each["id"] for each in await sessions_of(laptop)]
    problem(await laptop.delete(f"{SESSIONS}/{gone}"), 404, "not_found")


async def _is(found, expected):
    return await found == expected
