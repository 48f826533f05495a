"""Users in the store: upsert by (provider, sub), roles."""

import asyncio

import pytest

from server.repo.users import Users

GOOGLE = "https://accounts.google.com"


async def upsert(users, sub="1", provider=GOOGLE, **changes):
    told = {"email": "Bob@Example.com", "email_verified": True, "name": "Bob", "admin": False}
    return await users.upsert_by_sub(provider, sub, **{**told, **changes})


async def test_the_first_sign_in_makes_a_user_and_the_next_ones_update_it(database):
    users = Users(database)
    first = await upsert(users)
    second = await upsert(users, name="Robert")
    assert (first.email, first.name, first.role) == ("bob@example.com", "Bob", "USER")
    assert (second.id, second.name) == (first.id, "Robert")
    assert await users.get(first.id) == second
    assert first.id.startswith("usr_")
    (row,) = await database["users"].find().to_list(None)
    assert row["created_at"] < row["signed_in_at"]


async def test_two_providers_may_use_the_same_sub(database):
    users = Users(database)
    assert (await upsert(users)).id != (await upsert(users, provider="https://idp.test")).id


async def test_one_person_who_signs_in_many_times_at_once_is_one_user(database):
    users = Users(database)
    found = await asyncio.gather(*(upsert(users) for _ in range(30)))
    assert len({user.id for user in found}) == 1
    assert await database["users"].count_documents({}) == 1


async def test_get_many_returns_those_that_exist(database):
    users = Users(database)
    ada, bob = await upsert(users, "1"), await upsert(users, "2")
    found = await users.get_many([ada.id, bob.id, "usr_gone"])
    assert sorted(user.id for user in found) == sorted([ada.id, bob.id])
    assert await users.get_many([]) == []
    assert await users.get("usr_gone") is None


async def test_a_granted_role_outlives_sign_ins_and_can_be_taken_back(database):
    users = Users(database)
    bob = await upsert(users)
    for role in ("ADMIN", "BOX_OFFICE", "USER"):
        await database["users"].update_one({"_id": bob.id}, {"$set": {"granted_role": role}})
        for listed in (False, True):  # what was decided about somebody, no list decides
            assert (await upsert(users, admin=listed)).role == role


async def test_a_listed_admin_is_one_as_long_as_the_list_says_so(database):
    users = Users(database)
    assert (await upsert(users, admin=True)).role == "ADMIN"
    assert (await upsert(users)).role == "USER"


@pytest.mark.parametrize(
    "email", ["eve@example.com", "", "bob", "^bob", "bob@example.com.evil.test"]
)
async def test_nobody_is_found_under_an_address_that_is_not_theirs(database, email):
    users = Users(database)
    await upsert(users)
    assert await users.with_email(email) == []


async def test_an_unverified_address_is_told_from_a_proven_one(database):
    users = Users(database)
    mallory = await upsert(users, "2", email_verified=False)
    assert await users.with_email("BOB@example.com ") == [mallory]
    assert await users.with_email("bob@example.com", verified=True) == []
    bob = await upsert(users)
    assert await users.with_email("bob@example.com", verified=True) == [bob]


async def test_who_is_blocked_administers_nothing(database):
    users = Users(database)
    ada = await upsert(users, admin=True)
    assert await users.administrators() == [ada]
    await database["users"].update_one({"_id": ada.id}, {"$set": {"blocked": True}})
    assert await users.administrators() == []
    assert (await users.get(ada.id)).blocked
