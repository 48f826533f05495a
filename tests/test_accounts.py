"""Local accounts over HTTP: register, sign in, change the password; and what is stored of it."""

import asyncio
import json
import logging

import pytest
from argon2 import PasswordHasher

from server.api.requests import MAX_BODY
from server.auth.password_rules import MAX_LENGTH
from server.repo.users import Users
from tests.accounts import (
    ANOTHER,
    CHANGE,
    LOGIN,
    PASSWORD,
    REGISTER,
    an_email,
    cheap_hashes,
    log_in,
    register,
    stranger,
)
from tests.running import IN_MODULE_LOOP, eventually, problem, served, user_id

pytestmark = IN_MODULE_LOOP

__all__ = ["cheap_hashes"]

server = served()

REFRESH = "/api/auth/refresh"


async def row_of(server, email):
    rows = await server.stored.database["users"].find({"email": email}).to_list(None)
    assert len(rows) == 1
    return rows[0]


async def sessions_of(server, user):
    return await server.stored.database["sessions"].count_documents({"user_id": user})


async def audited(server, request_id):
    """What the audit log holds of a request, oldest first, once it has arrived there."""

    async def arrived():
        waiting = await server.stored.database["audit_outbox"].count_documents({})
        rows = server.stored.database["audit_logs"].find({"request_id": request_id})
        return not waiting and await rows.sort("n", 1).to_list(None)

    return await eventually(arrived)


# -- register --------------------------------------------------------------------------------------


async def test_whoever_registers_is_signed_in(server):
    async with stranger(server.url) as person:
        email = an_email()
        body = {"email": email, "password": PASSWORD, "name": "Pat Doe"}
        answer = await person.post(REGISTER, json=body)
        assert answer.status_code == 201
        granted = answer.json()
        row = await row_of(server, email)
        user = {"id": row["_id"], "email": email, "name": "Pat Doe", "role": "USER"}
        assert granted.keys() == {"access_token", "token_type", "expires_in", "user"}
        assert granted["user"] == user
        again = await person.post(REFRESH)
        assert again.json()["user"] == user
        bearer = {"Authorization": f"Bearer {granted['access_token']}"}
        me = (await person.get("/api/me", headers=bearer)).json()
    ways = {"has_password": True, "google_linked": False, "email_verified": False}
    assert me == {"user": user, "account": ways}
    assert await sessions_of(server, row["_id"]) == 1


async def test_what_is_stored_is_a_hash(server):
    async with stranger(server.url) as person:
        email = await register(person)
    row = await row_of(server, email)
    assert row["password_hash"].startswith("$argon2id$v=19$")
    assert PasswordHasher().verify(row["password_hash"], PASSWORD)
    assert PASSWORD not in str(row)
    assert (row["role"], row["email_verified"]) == ("USER", False)
    assert not row.keys() & {"provider", "sub"}


async def test_an_address_is_taken_in_any_case(server):
    async with stranger(server.url) as person, stranger(server.url) as other:
        email = await register(person)
        before = await row_of(server, email)
        body = {"email": email.upper(), "password": ANOTHER, "name": "Other"}
        answer = await other.post(REGISTER, json=body)
        problem(answer, 409, "email_taken")
        assert "set-cookie" not in answer.headers
        assert await row_of(server, email) == before
        assert (await log_in(other, email.upper())).status_code == 200


async def test_of_two_who_register_one_address_at_once_one_wins(server):
    email = an_email("race")
    body = {"email": email, "password": PASSWORD}
    async with stranger(server.url) as client:
        answers = await asyncio.gather(
            *(client.post(REGISTER, json=body | {"name": f"N{n}"}) for n in range(6))
        )
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [201, 409, 409, 409, 409, 409]
    row = await row_of(server, email)
    (won,) = (answer for answer in answers if answer.status_code == 201)
    assert won.json()["user"]["id"] == row["_id"]
    assert await sessions_of(server, row["_id"]) == 1


async def test_whoever_signs_in_at_a_provider_with_that_address_is_another_user(server):
    async with stranger(server.url) as person:
        await register(person, "bob@example.com")  # Bob is signed in at the provider already
        mine, theirs = await user_id(person), await user_id(server.bob)
    assert mine != theirs
    me = (await server.bob.get("/api/me")).json()["account"]
    assert me == {"has_password": False, "google_linked": True, "email_verified": True}


async def test_a_claimed_address_makes_nobody_an_administrator(server):
    """ada@example.com is ADMIN by the configuration, once a provider has verified it."""
    async with stranger(server.url) as person:
        await register(person, "ada@example.com")
        refreshed = (await person.post(REFRESH)).json()
        assert refreshed["user"]["role"] == "USER"
        problem(await person.get("/api/admin/ping"), 403, "forbidden")
        email = await register(person)
    assert not await Users(server.stored.database).with_email(email, verified=True)


WEAK = [("short", "too_short"), ("password1234", "common"), ("rowlock rowlock", "personal")]


@pytest.mark.parametrize(("password", "reason"), WEAK)
async def test_a_weak_password_is_refused_with_the_reason(server, password, reason):
    async with stranger(server.url) as person:
        email = an_email()
        answer = await person.post(
            REGISTER, json={"email": email, "password": password, "name": "Pat"}
        )
    assert problem(answer, 422, "weak_password")["reason"] == reason
    assert password not in answer.text or reason == "too_short"
    assert await server.stored.database["users"].count_documents({"email": email}) == 0


# -- sign in ---------------------------------------------------------------------------------------


async def test_a_password_signs_in(server):
    async with stranger(server.url) as person, stranger(server.url) as laptop:
        email = await register(person)
        answer = await log_in(laptop, email)
        assert answer.status_code == 200
        assert answer.json()["user"]["id"] == await user_id(person)
        assert (await laptop.post(REFRESH)).status_code == 200
    row = await row_of(server, email)
    assert row["signed_in_at"] > row["created_at"]
    assert await sessions_of(server, row["_id"]) == 2


async def refusals(server, client):
    """Every kind of sign-in that fails, with its answer."""
    blocked, email = await register(client), await register(client)
    users = server.stored.database["users"]
    await users.update_one({"email": blocked}, {"$set": {"blocked": True}})
    return {
        "wrong password": await log_in(client, email, ANOTHER),
        "another case": await log_in(client, email, PASSWORD.upper()),
        "unknown": await log_in(client, an_email()),
        "blocked": await log_in(client, blocked),
        "blocked and wrong": await log_in(client, blocked, ANOTHER),
        "no password": await log_in(client, "eve@example.com"),
    }


async def test_all_refusals_are_the_same(server):
    async with stranger(server.url) as client:
        answers = await refusals(server, client)
    told = set()
    for answer in answers.values():
        problem(answer, 401, "unauthenticated")
        assert "set-cookie" not in answer.headers
        body = answer.json()
        del body["request_id"]
        left_out = ("x-request-id", "date", "ratelimit")
        headers = {k: v for k, v in answer.headers.items() if k not in left_out}
        told.add(json.dumps([body, sorted(headers.items())]))
    assert len({text.replace(str(len(text)), "") for text in told}) == 1


async def test_whoever_is_blocked_meanwhile_gets_no_session(server):
    async with stranger(server.url) as person:
        email = await register(person)
        user = await user_id(person)
        before = await sessions_of(server, user)
        await server.stored.database["users"].update_one({"_id": user}, {"$set": {"blocked": True}})
        problem(await log_in(person, email), 401, "unauthenticated")
        assert await sessions_of(server, user) == before


# -- change ----------------------------------------------------------------------------------------


async def change(client, current=PASSWORD, new=ANOTHER):
    return await client.post(CHANGE, json={"current_password": current, "new_password": new})


async def test_a_changed_password_is_the_only_one_and_ends_all_other_sessions(server):
    async with stranger(server.url) as here, stranger(server.url) as there:
        email = await register(here)
        await log_in(there, email)
        answer = await change(here)
        assert (answer.status_code, answer.content) == (204, b"")
        problem(await there.post(REFRESH), 401, "unauthenticated")
        assert (await here.post(REFRESH)).status_code == 200
        problem(await log_in(there, email), 401, "unauthenticated")
        assert (await log_in(there, email, ANOTHER)).status_code == 200
    row = await row_of(server, email)
    assert row["password_changed_at"] > row["created_at"]


async def test_a_wrong_current_password_changes_nothing(server):
    async with stranger(server.url) as here, stranger(server.url) as there:
        email = await register(here)
        await log_in(there, email)
        before = await row_of(server, email)
        for wrong in (ANOTHER, PASSWORD + "x", PASSWORD.upper()):
            problem(await change(here, wrong), 403, "forbidden")
        body = problem(await change(here, new="password1234"), 422, "weak_password")
        assert body["reason"] == "common"
        assert await row_of(server, email) == before
        assert (await there.post(REFRESH)).status_code == 200


async def test_of_two_changes_at_once_one_wins(server):
    async with stranger(server.url) as person:
        email = await register(person)
        news = ["four brown owls by night", "five white swans by noon"]
        answers = await asyncio.gather(*(change(person, new=new) for new in news))
        assert sorted(answer.status_code for answer in answers) == [204, 403]
        (kept,) = (n for n, a in zip(news, answers, strict=True) if a.status_code == 204)
        assert (await log_in(person, email, kept)).status_code == 200


async def test_who_has_no_password_cannot_change_it(server):
    problem(await change(server.bob), 409, "no_password")
    assert "password_hash" not in (
        await server.stored.database["users"].find_one({"_id": await user_id(server.bob)})
    )
    async with stranger(server.url) as nobody:
        problem(await change(nobody), 401, "unauthenticated")


# -- other sites -----------------------------------------------------------------------------------

CROSS_SITE = [
    {"Origin": "https://evil.test"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.test", "Sec-Fetch-Site": "same-origin"},
]


@pytest.mark.parametrize("headers", CROSS_SITE, ids=str)
async def test_no_other_site_signs_a_browser_in_to_an_account_of_its_own(server, headers):
    """Login CSRF: whoever is signed in to a stranger's account books for the stranger."""
    async with stranger(server.url) as person:
        email = await register(person)
        body = {"email": an_email(), "password": PASSWORD, "name": "Pat"}
        answers = [
            await person.post(REGISTER, json=body, headers=headers),
            await log_in(person, email, headers=headers),
            await person.post(
                CHANGE,
                json={"current_password": PASSWORD, "new_password": ANOTHER},
                headers=headers,
            ),
        ]
        for answer in answers:
            problem(answer, 403, "forbidden")
            assert "set-cookie" not in answer.headers
    assert await server.stored.database["users"].count_documents({"email": body["email"]}) == 0


async def test_a_form_of_another_site_is_no_json(server):
    async with stranger(server.url) as person:
        email = await register(person)
        body = json.dumps({"email": email, "password": PASSWORD})
        for media_type in ("text/plain", "application/x-www-form-urlencoded", "text/json"):
            for path in (LOGIN, REGISTER):
                answer = await person.post(path, content=body, headers={"Content-Type": media_type})
                problem(answer, 415, "unsupported_media_type")


# -- what nobody should send -----------------------------------------------------------------------

BAD_EMAILS = [
    *("", " ", "a", "@", "a@", "@b.c", "a@b", "a b@c.de", "a@b..de", "a@.de", "a@-b.de"),
    *("a@b.de\n", "\na@b.de", "a@b.de\x00", "a\x00@b.de", "a@b.de, c@d.ef", "<a@b.de>", '"a"@b.de'),
    *(
        "a@b.de\r\nBcc: c@d.ef",
        "a" * 65 + "@b.de",
        "a@" + "b" * 64 + ".de",
        "a@" + "b." * 200 + "de",
    ),
    *(
        "\u212aelvin@example.com",
        "admın@example.com",
        "аdmin@example.com",
        "ﬁ@example.com",
        "ä@b.de",
    ),
    *("a@exämple.com", "a@b。de", "\u202ea@b.de", "a@b.de\u200b", "＠", "a＠b.de"),
]


@pytest.mark.parametrize("path", [REGISTER, LOGIN])
async def test_an_address_that_looks_like_another_is_none(server, path):
    """Only ASCII: no two addresses are alike to the eye, or after folding their case."""
    before = await server.stored.database["users"].count_documents({})
    async with stranger(server.url) as client:
        for email in BAD_EMAILS:
            body = {"email": email, "password": PASSWORD}
            body |= {"name": "Pat"} if path == REGISTER else {}
            problem(await client.post(path, json=body), 422, "invalid_request")
    assert await server.stored.database["users"].count_documents({}) == before


WRONG = [None, True, 1, 1.5, [], {}, ["a@b.de"], {"$ne": ""}, {"$gt": ""}, [{"$regex": "."}]]


async def test_nothing_but_text_is_taken(server):
    good = {"email": an_email(), "password": PASSWORD, "name": "Pat"}
    async with stranger(server.url) as client:
        for field in good:
            for wrong in WRONG:
                answer = await client.post(REGISTER, json=good | {field: wrong})
                problem(answer, 422, "invalid_request")
                assert PASSWORD not in answer.text
        for unknown in (
            {"role": "ADMIN"},
            {"email_verified": True},
            {"_id": "usr_x"},
            {"$set": {}},
        ):
            problem(await client.post(REGISTER, json=good | unknown), 422, "invalid_request")
    assert await server.stored.database["users"].count_documents({"email": good["email"]}) == 0


async def test_long_and_broken_bodies_are_refused(server):
    email = an_email()
    head = f'{{"email":"{email}","name":"Pat","password":"'.encode()
    async with stranger(server.url) as client:

        async def send(password):
            headers = {"Content-Type": "application/json"}
            return await client.post(REGISTER, content=head + password + b'"}', headers=headers)

        problem(await send(b"a" * 10 * 2**20), 413, "body_too_large")
        for password in (
            b"a" * (MAX_LENGTH + 1),
            b"a" * (MAX_BODY - 200),
            b"\\ud800" * 20,
            b"\xed\xa0\x80" * 20,
            b"\xff" * 20,
            b"seven\x00grey\x00herons",
        ):
            problem(await send(password), 422, "invalid_request")
        answer = await send(b"seven\\u0000grey\\u0000herons")
        assert answer.status_code == 201  # any character that there is may be in a password
        assert (await log_in(client, email, "seven\0grey\0herons")).status_code == 200
        problem(await log_in(client, email, "seven"), 401, "unauthenticated")


@pytest.mark.parametrize(
    "name", ["", " ", "a" * 101, "a\nb", "a\x00b", "a\x1b[2J", "\u202egnp.exe"]
)
async def test_a_name_is_one_plain_line(server, name):
    async with stranger(server.url) as client:
        body = {"email": an_email(), "password": PASSWORD, "name": name}
        problem(await client.post(REGISTER, json=body), 422, "invalid_request")


@pytest.mark.parametrize("name", ["A", "Zoë Ünal-O'Brien", "小林 一茶", "<b>Pat</b>", "علی‌رضا"])
async def test_a_name_may_be_any_name(server, name):
    async with stranger(server.url) as client:
        email = await register(client, name=f" {name} ")
    assert (await row_of(server, email))["name"] == name


# -- what is told, and what is not -----------------------------------------------------------------


async def test_the_audit_log_says_who_did_what_and_no_secret(server):
    unknown = an_email("unknown")
    async with stranger(server.url) as person:
        person.headers["X-Request-ID"] = "acts-of-an-account"
        email = await register(person)
        user = await user_id(person)
        await log_in(person, email)
        await log_in(person, email, ANOTHER)
        await log_in(person, unknown)
        await change(person, ANOTHER)
        await change(person)
        await server.stored.database["users"].update_one({"_id": user}, {"$set": {"blocked": True}})
        await log_in(person, email, ANOTHER)
    rows = await audited(server, "acts-of-an-account")
    told = [(row["action"], row["outcome"], row["detail"].get("reason")) for row in rows]
    assert told == [
        ("auth.registered", "ok", None),
        ("auth.signed_in", "ok", None),
        ("auth.signed_in", "ok", None),
        ("auth.session_revoked", "ok", "replaced"),
        ("auth.failed", "refused", "wrong_password"),
        ("auth.failed", "refused", "unknown_account"),
        ("auth.failed", "refused", "wrong_password"),
        ("auth.session_revoked", "ok", "password_changed"),
        ("auth.password_changed", "ok", None),
        ("auth.failed", "refused", "blocked"),
    ]
    own = [row for row in rows if row["actor"] != "system"]
    assert all(row["actor"] == {"id": user, "email": email} for row in own)
    assert {
        row["detail"]["provider"] for row in rows if row["action"] != "auth.session_revoked"
    } == {"password"}
    failed = [row["target"] for row in rows if row["action"] == "auth.failed"]
    assert [target.get("user_id") for target in failed] == [user, None, user, user]
    assert set(failed[1]) == {"email_hash"}
    text = str(rows)
    for secret in (PASSWORD, ANOTHER, unknown, "argon2"):
        assert secret not in text


async def test_nothing_secret_is_logged_told_or_kept(server, caplog):
    caplog.set_level(logging.DEBUG)
    async with stranger(server.url) as person:
        email = await register(person)
        answers = [
            await person.get("/api/me"),
            await log_in(person, email),
            await log_in(person, email, ANOTHER),
            await person.post(REGISTER, json={"email": 1, "password": PASSWORD, "name": "Pat"}),
            await person.post(CHANGE, json={"current_password": PASSWORD, "new_password": 1}),
            await change(person, ANOTHER),
            await change(person),
            await person.post(REFRESH),
        ]
        marks = [cookie.value for cookie in person.cookies.jar if cookie.name == "rowlock_device"]
    assert len(marks) == 1
    logged = "\n".join(
        f"{record.getMessage()} {record.exc_text}"
        for record in caplog.records
        if not record.name.startswith(("httpx", "httpcore"))  # those are the client's
    )
    assert REGISTER in logged
    for answer in answers:
        assert PASSWORD not in answer.text
        assert ANOTHER not in answer.text
        assert "argon2" not in answer.text
        assert "password_hash" not in answer.text
    for secret in (PASSWORD, ANOTHER, "$argon2id", email, *marks):
        assert secret not in logged
    found = {}
    for name in await server.stored.database.list_collection_names():
        rows = str(await server.stored.database[name].find().to_list(None))
        found[name] = [secret for secret in (PASSWORD, ANOTHER, *marks) if secret in rows]
    assert not any(found.values()), found
