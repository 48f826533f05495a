"""Identities of a provider and the accounts that they are linked with, in the store."""

import asyncio

import pytest

from server.repo.identities import Identities
from server.repo.indexes import create_indexes
from server.repo.mongo import DuplicateKeyError
from server.repo.users import Users

GOOGLE = "https://accounts.google.com"


async def add(database, user_id, email="bob@example.com", **more):
    row = {"_id": user_id, "email": email, "name": "Robert", "role": "USER", **more}
    await database["users"].insert_one({"email_verified": False, **row})


async def identity_of(database, user_id):
    row = await database["users"].find_one({"_id": user_id})
    return row.get("provider"), row.get("sub"), row["email_verified"]


async def test_an_account_gets_an_identity_and_keeps_it(database):
    await add(database, "usr_1")
    identities = Identities(database)
    assert await identities.link("usr_1", GOOGLE, "7", "Bob@Example.com") is None
    assert await identity_of(database, "usr_1") == (GOOGLE, "7", True)
    assert await identities.link("usr_1", GOOGLE, "7", "bob@example.com") is None
    assert await identities.link("usr_1", GOOGLE, "8", "bob@example.com") == "already_linked"
    assert await identities.link("usr_1", "https://x.test", "7", "bob@example.com") is not None
    assert await identity_of(database, "usr_1") == (GOOGLE, "7", True)


@pytest.mark.parametrize(
    ("user_id", "email"),
    [("usr_1", "eve@example.com"), ("usr_1", ""), ("usr_2", "bob@example.com"), ("", "")],
)
async def test_an_account_of_another_address_gets_none(database, user_id, email):
    await add(database, "usr_1")
    assert await Identities(database).link(user_id, GOOGLE, "7", email) == "email_mismatch"
    assert await identity_of(database, "usr_1") == (None, None, False)


async def test_of_many_accounts_that_want_one_identity_one_gets_it(database):
    for n in range(10):
        await add(database, f"usr_{n}")
    wanted = (
        Identities(database).link(f"usr_{n}", GOOGLE, "7", "bob@example.com") for n in range(10)
    )
    answers = await asyncio.gather(*wanted)
    assert sorted(answers, key=str) == [None, *["identity_taken"] * 9]
    assert await database["users"].count_documents({"sub": "7"}) == 1


async def test_who_signs_in_by_a_linked_identity_keeps_address_and_name(database):
    await add(database, "usr_1", password_hash="x")
    await Identities(database).link("usr_1", GOOGLE, "7", "bob@example.com")
    told = {"email": "moved@example.com", "email_verified": True, "name": "$role", "admin": False}
    user = await Users(database).upsert_by_sub(GOOGLE, "7", **told)
    assert (user.id, user.email, user.name) == ("usr_1", "bob@example.com", "Robert")


async def test_accounts_without_an_identity_do_not_stand_in_each_others_way(database):
    for n in range(3):
        await add(database, f"usr_{n}")
    await add(database, "usr_g", provider=GOOGLE, sub="7")
    with pytest.raises(DuplicateKeyError):
        await add(database, "usr_h", provider=GOOGLE, sub="7")


async def test_the_index_of_an_earlier_release_goes(database):
    """It took two accounts without an identity for the same one."""
    users = database["users"]
    await users.create_index([("provider", 1), ("sub", 1)], unique=True)
    await add(database, "usr_1")
    with pytest.raises(DuplicateKeyError):
        await add(database, "usr_2")
    for _ in range(2):
        await create_indexes(database)
    await add(database, "usr_2")
    assert "provider_1_sub_1" not in await users.index_information()
