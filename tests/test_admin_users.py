"""What administrators do about people: lists, roles, blocks, and that one of them remains."""

import asyncio
from datetime import UTC, datetime

import pytest

from server.errors import EmailUnverified, LastAdmin, NotFound
from server.models import Caller
from server.repo.outbox import Outbox
from server.repo.people import PeopleRepo, UserChange
from server.repo.users import Users
from tests.auth_flow import access_token, auth_for, browser_for, settings_for
from tests.auth_flow import sign_in as sign_in_to

ME = Caller("usr_me", "req_of_mine")
DEMOTE, BLOCK, UNBLOCK = (
    UserChange(role="USER"),
    UserChange(blocked=True),
    UserChange(blocked=False),
)


def repo_of(database, listed=()):
    return PeopleRepo(database, Outbox(database), listed)


async def stored(database, user_id, role="USER", **changes):
    """Somebody who is there already; a role is granted, unless `granted_role` is None."""
    now = datetime.now(UTC)
    row = {
        "_id": user_id,
        "provider": "test",
        "sub": user_id,
        "name": user_id.title(),
        "email": f"{user_id}@example.com",
        "email_verified": True,
        "role": role,
        "granted_role": role,
        "created_at": now,
        "signed_in_at": now,
        **changes,
    }
    row = {name: value for name, value in row.items() if value is not None}
    await database["users"].insert_one(row)
    return await row_of(database, user_id)


async def row_of(database, user_id):
    return await database["users"].find_one({"_id": user_id})


async def acts(database):
    """What is on its way to the audit log."""
    rows = await database["audit_outbox"].find().sort("_id", 1).to_list(None)
    return [(row["action"], row["actor"], row["target"].get("user_id")) for row in rows]


async def administrators(database):
    rows = database["users"].find({"role": "ADMIN", "blocked": {"$ne": True}})
    return {row["_id"] async for row in rows}


# -- changing ------------------------------------------------------------------------------------


async def test_a_change_and_its_audit_entry_are_stored_together(database):
    await stored(database, "ann", "ADMIN")
    await stored(database, "bob", granted_role=None)
    people = repo_of(database)
    changed = await people.change(ME, "bob", UserChange(role="BOX_OFFICE", blocked=True))
    assert (changed.user.role, changed.user.blocked) == ("BOX_OFFICE", True)
    row = await row_of(database, "bob")
    assert (row["role"], row["granted_role"], row["blocked"]) == ("BOX_OFFICE", "BOX_OFFICE", True)
    role, block = await database["audit_outbox"].find().sort("_id", 1).to_list(None)
    assert (role["action"], role["actor"], role["outcome"]) == (
        "admin.role_changed",
        "usr_me",
        "ok",
    )
    assert role["target"] == block["target"] == {"user_id": "bob"}
    assert role["detail"] == {"before": "USER", "after": "BOX_OFFICE"}
    assert (block["action"], block["request_id"]) == ("admin.user_blocked", "req_of_mine")


async def test_what_is_so_already_is_no_act(database):
    await stored(database, "bob")
    for change in (UNBLOCK, UserChange(role="USER"), UserChange()):
        await repo_of(database).change(ME, "bob", change)
    assert await acts(database) == []
    assert await repo_of(database).change(ME, "nobody", BLOCK) is None
    assert await acts(database) == []


async def test_without_the_audit_entry_there_is_no_change(database):
    """Whoever dies between the two has done neither."""

    class Dying(Outbox):
        async def add_within(self, transaction, records):
            await super().add_within(transaction, records)
            raise ConnectionError("the process has died")

    await stored(database, "bob")
    with pytest.raises(ConnectionError):
        await PeopleRepo(database, Dying(database)).change(ME, "bob", BLOCK)
    assert "blocked" not in await row_of(database, "bob")
    assert await acts(database) == []


async def test_one_change_asked_for_many_times_at_once_is_one_act(database):
    await stored(database, "ann", "ADMIN")
    await stored(database, "bob")
    change = UserChange(role="ADMIN", blocked=True)
    await asyncio.gather(*(repo_of(database).change(ME, "bob", change) for _ in range(12)))
    assert sorted(await acts(database)) == [
        ("admin.role_changed", "usr_me", "bob"),
        ("admin.user_blocked", "usr_me", "bob"),
    ]


@pytest.mark.parametrize("role", ["ADMIN", "BOX_OFFICE"])
async def test_who_has_proven_no_address_is_given_no_role(database, role):
    await stored(database, "ann", "ADMIN")
    before = await stored(database, "bob", email_verified=False, granted_role=None)
    with pytest.raises(EmailUnverified):
        await repo_of(database).change(ME, "bob", UserChange(role=role, blocked=True))
    assert await row_of(database, "bob") == before
    assert await acts(database) == []
    changed = await repo_of(database).change(ME, "bob", UserChange(role="USER", blocked=True))
    assert (changed.user.blocked, changed.email_verified) == (True, False)


# -- the last administrator ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "change", [DEMOTE, BLOCK, UserChange("BOX_OFFICE"), UserChange("USER", True)]
)
async def test_the_last_administrator_stays(database, change):
    before = await stored(database, "ann", "ADMIN")
    await stored(database, "kept-out", "ADMIN", blocked=True)
    await stored(database, "bob")
    with pytest.raises(LastAdmin):
        await repo_of(database).change(ME, "ann", change)
    assert await row_of(database, "ann") == before
    assert await acts(database) == []


@pytest.mark.parametrize("change", [DEMOTE, BLOCK])
async def test_one_of_two_may_go_and_a_blocked_one_may_be_demoted(database, change):
    for name in ("ann", "ben"):
        await stored(database, name, "ADMIN")
    await stored(database, "kept-out", "ADMIN", blocked=True)
    await repo_of(database).change(ME, "kept-out", DEMOTE)
    await repo_of(database).change(ME, "ann", change)
    assert await administrators(database) == {"ben"}


@pytest.mark.parametrize("change", [DEMOTE, BLOCK])
@pytest.mark.parametrize("count", [2, 3, 5])
async def test_administrators_who_take_each_other_away_at_once_leave_one(database, change, count):
    """Many rounds of all against all, each from a repo of their own, as from many processes."""
    names = [f"adm{number}" for number in range(count)]
    repos = [repo_of(database) for _ in names]
    refused = 0
    for _ in range(25):
        await database["users"].delete_many({})
        await database["audit_outbox"].delete_many({})
        for name in names:
            await stored(database, name, "ADMIN")
        circle = zip(repos, [*names[1:], names[0]], strict=True)
        answers = await asyncio.gather(
            *(repo.change(ME, other, change) for repo, other in circle), return_exceptions=True
        )
        lasts = sum(isinstance(answer, LastAdmin) for answer in answers)
        assert [
            a for a in answers if isinstance(a, Exception) and not isinstance(a, LastAdmin)
        ] == []
        left = await administrators(database)
        assert len(left) == lasts == 1, left
        assert len(await acts(database)) == count - 1
        refused += lasts
    assert refused == 25


async def test_demoting_and_blocking_at_once_leave_one(database):
    for _ in range(25):
        await database["users"].delete_many({})
        for name in ("ann", "ben"):
            await stored(database, name, "ADMIN")
        repo = repo_of(database)
        await asyncio.gather(
            *(repo.change(ME, *act) for act in (("ann", DEMOTE), ("ben", BLOCK))),
            return_exceptions=True,
        )
        assert len(await administrators(database)) == 1


async def test_who_is_administrator_until_the_next_sign_in_alone_does_not_count(database):
    """Somebody whom the list has dropped would leave nobody behind."""
    await stored(database, "ann", "ADMIN")
    await stored(database, "stale", "ADMIN", granted_role=None)
    with pytest.raises(LastAdmin):
        await repo_of(database).change(ME, "ann", DEMOTE)
    unverified = {"email": "un@example.com", "email_verified": False, "granted_role": None}
    await stored(database, "un", "ADMIN", **unverified)
    with pytest.raises(LastAdmin):
        await repo_of(database, ["un@example.com"]).change(ME, "ann", DEMOTE)
    await repo_of(database, ["Stale@example.com"]).change(ME, "ann", DEMOTE)
    assert await administrators(database) == {"stale", "un"}


async def test_among_those_whom_the_list_has_dropped_one_remains(database):
    for name in ("one", "two"):
        await stored(database, name, "ADMIN", granted_role=None)
    await repo_of(database).change(ME, "one", DEMOTE)
    with pytest.raises(LastAdmin):
        await repo_of(database).change(ME, "two", DEMOTE)


async def test_what_was_decided_about_somebody_on_the_list_outlives_sign_ins(database):
    auth = auth_for(database, settings_for(admin_emails=["bob@example.com"]))

    async def role_after_sign_in():
        async with browser_for(auth) as browser:
            await sign_in_to(browser, "bob@example.com")
            return (await browser.post("/api/auth/refresh")).json()["user"]["role"]

    await stored(database, "ann", "ADMIN")
    assert await role_after_sign_in() == "ADMIN"
    (bob,) = await Users(database).with_email("bob@example.com")
    await auth.people.change(ME, bob.id, DEMOTE)
    assert await role_after_sign_in() == "USER"
    assert [user.id for user in await auth.people.grant_admin("bob@example.com")] == [bob.id]
    assert await role_after_sign_in() == "ADMIN"


# -- grant-admin ---------------------------------------------------------------------------------


async def test_granting_is_for_those_who_proved_to_own_the_address(database):
    await stored(database, "bob", email="both@example.com")
    await stored(database, "mallory", email="both@example.com", email_verified=False)
    people = auth_for(database).people
    assert [user.id for user in await people.grant_admin(" Both@Example.com")] == ["bob"]
    assert await administrators(database) == {"bob"}
    assert await acts(database) == [("admin.role_changed", None, "bob")]
    assert await people.grant_admin("nobody@example.com") == []
    await stored(database, "out", blocked=True)
    assert await people.grant_admin("out@example.com") == []
    await people.grant_admin("both@example.com")
    assert len(await acts(database)) == 1


# -- sessions ------------------------------------------------------------------------------------


async def test_who_is_blocked_has_no_session_and_gets_none_back(database):
    auth = auth_for(database)
    await stored(database, "ann", "ADMIN")
    async with browser_for(auth) as one, browser_for(auth) as two:
        for browser in (one, two):
            await sign_in_to(browser, "bob@example.com")
            await access_token(browser)
        (bob,) = await Users(database).with_email("bob@example.com")
        assert await database["sessions"].count_documents({"user_id": bob.id}) == 2
        await auth.people.change(ME, bob.id, BLOCK)
        assert await database["sessions"].count_documents({"user_id": bob.id}) == 0
        assert (await one.post("/api/auth/refresh")).status_code == 401
        await auth.people.change(ME, bob.id, UNBLOCK)
        assert (await two.post("/api/auth/refresh")).status_code == 401
        await sign_in_to(one, "bob@example.com")
        await access_token(one)


async def test_a_session_that_a_dying_process_left_behind_does_not_outlive_the_block(database):
    auth = auth_for(database)
    async with browser_for(auth) as browser:
        await sign_in_to(browser, "bob@example.com")
        (bob,) = await Users(database).with_email("bob@example.com")
        await repo_of(database).change(ME, bob.id, BLOCK)  # and then it died
        await auth.people.change(ME, bob.id, UNBLOCK)
        assert (await browser.post("/api/auth/refresh")).status_code == 401
    assert await database["sessions"].count_documents({}) == 0


async def test_a_blocked_person_cannot_sign_in(database):
    auth = auth_for(database)
    async with browser_for(auth) as browser:
        await sign_in_to(browser, "bob@example.com")
        (bob,) = await Users(database).with_email("bob@example.com")
        await auth.people.change(ME, bob.id, BLOCK)
        answer = await sign_in_to(browser, "bob@example.com")
        assert "auth_error" in answer.headers["location"]
        assert (await browser.post("/api/auth/refresh")).status_code == 401
    assert await database["sessions"].count_documents({}) == 0


async def test_nobody_is_changed_who_is_not_there(database):
    with pytest.raises(NotFound):
        await auth_for(database).people.change(ME, "usr_nobody", BLOCK)
