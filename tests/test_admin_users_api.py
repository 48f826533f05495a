"""GET and PATCH /api/admin/users, as an administrator meets them."""

import pytest

from server.api.admin_users import UserPatch
from server.models import new_id, rfc3339
from tests.running import IN_MODULE_LOOP, eventually, problem, served, sign_in, user_id

pytestmark = IN_MODULE_LOOP

server = served()

USERS = "/api/admin/users"


async def patch(client, user_id, **change):
    return await client.patch(f"{USERS}/{user_id}", json=change)


async def listed(server, **query):
    answer = await server.ada.get(USERS, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_an_item_is_what_is_stored(server):
    (item,) = (await listed(server, email="BOB@example.com"))["items"]
    row = await server.stored.database["users"].find_one({"email": "bob@example.com"})
    assert item == {
        "id": row["_id"],
        "email": "bob@example.com",
        "name": row["name"],
        "role": "USER",
        "blocked": False,
        "email_verified": True,
        "providers": [row["provider"]],
        "created_at": rfc3339(row["created_at"]),
        "signed_in_at": rfc3339(row["signed_in_at"]),
    }


async def test_a_local_account_has_no_provider_but_its_password(server):
    email = f"{new_id('x')}@example.com"
    body = {"email": email, "name": "Lo", "password": "a quite long passphrase of mine"}
    answer = await server.visitor.post("/api/auth/register", json=body)
    assert answer.status_code == 201, answer.text
    (item,) = (await listed(server, email=email))["items"]
    assert (item["providers"], item["role"]) == (["password"], "USER")
    assert item["email_verified"] is False
    answer = await patch(server.ada, item["id"], role="BOX_OFFICE")
    problem(answer, 409, "email_unverified")
    assert "hash" not in str(item)
    server.visitor.cookies.clear()


async def test_lists_come_newest_first_in_pages(server):
    everybody = (await listed(server))["items"]
    assert len(everybody) >= 3
    assert everybody == sorted(everybody, key=lambda u: (u["created_at"], u["id"]), reverse=True)
    found, cursor = [], None
    while cursor is not None or not found:
        body = await listed(server, limit=1, **({"cursor": cursor} if cursor else {}))
        found += body["items"]
        assert len(found) <= len(everybody)
        cursor = body["next_cursor"]
    assert found == everybody


async def test_filters(server):
    eve = await user_id(server.eve)
    assert (await patch(server.ada, eve, role="BOX_OFFICE", blocked=True)).status_code == 200
    for query in ({"role": "BOX_OFFICE"}, {"blocked": True}, {"email": "eve@example.com"}):
        assert [user["id"] for user in (await listed(server, **query))["items"]] == [eve]
    assert eve not in {user["id"] for user in (await listed(server, blocked=False))["items"]}
    assert (await listed(server, role="ADMIN", blocked=True))["items"] == []
    for bad in ({"role": "ROOT"}, {"blocked": "x"}, {"email": "a"}, {"email": ""}, {"name": "x"}):
        problem(await server.ada.get(USERS, params=bad), 422, "invalid_request")
    await patch(server.ada, eve, role="USER", blocked=False)
    await sign_in(server.eve, "eve@example.com")


async def test_a_promotion_holds_from_the_next_token_and_a_demotion_at_once(server):
    ada, bob = await user_id(server.ada), await user_id(server.bob)
    answer = await patch(server.ada, bob, role="ADMIN")
    assert answer.json()["user"]["role"] == "ADMIN"
    problem(await server.bob.get(USERS), 403, "forbidden")
    await sign_in(server.bob, "bob@example.com")
    assert (await server.bob.get(USERS)).status_code == 200
    assert (await patch(server.ada, bob, role="USER")).status_code == 200
    problem(await server.bob.get(USERS), 403, "forbidden")
    problem(await patch(server.bob, ada, role="USER"), 403, "forbidden")

    logs = server.stored.database["audit_logs"]
    where = {"action": "admin.role_changed", "target.user_id": bob}
    await eventually(lambda: logs.count_documents({**where, "detail.after": "USER"}))
    first, last = await logs.find(where).sort("n", 1).to_list(None)
    assert first["detail"] == {"before": "USER", "after": "ADMIN"}
    assert last["detail"] == {"before": "ADMIN", "after": "USER"}
    assert last["actor"] == {"id": ada, "email": "ada@example.com"}
    assert first["request_id"] == answer.headers["x-request-id"]
    await sign_in(server.bob, "bob@example.com")


@pytest.mark.parametrize("change", [{"role": "USER"}, {"blocked": True}])
async def test_the_last_administrator_is_told_so(server, change):
    ada = await user_id(server.ada)
    problem(await patch(server.ada, ada, **change), 409, "last_admin")
    assert (await server.ada.get("/api/admin/ping")).status_code == 200


async def test_a_clerk_and_a_user_have_no_business_here(server):
    eve = await user_id(server.eve)
    await patch(server.ada, eve, role="BOX_OFFICE")
    await sign_in(server.eve, "eve@example.com")
    for client in (server.eve, server.bob):
        problem(await client.get(USERS), 403, "forbidden")
        problem(await patch(client, eve, role="ADMIN"), 403, "forbidden")
    row = await server.stored.database["users"].find_one({"_id": eve})
    assert row["role"] == "BOX_OFFICE"
    await patch(server.ada, eve, role="USER")
    await sign_in(server.eve, "eve@example.com")


async def test_what_is_no_change_is_refused(server):
    bob = await user_id(server.bob)
    before = await server.stored.database["users"].find_one({"_id": bob})
    bad = [{}, {"role": None, "blocked": True}, {"role": "ADMIN", "blocked": None}]
    bad += [{"blocked": 1}, {"blocked": "true"}]
    bad += [{"role": "ROOT"}, {"role": "admin"}, {"role": ["ADMIN"]}, {"role": "USER", "name": "x"}]
    for change in bad:
        problem(await patch(server.ada, bob, **change), 422, "invalid_request")
    problem(await patch(server.ada, "usr_nobody", role="USER"), 404, "not_found")
    problem(await patch(server.ada, "{}", role="USER"), 404, "not_found")
    assert await server.stored.database["users"].find_one({"_id": bob}) == before


async def test_the_schema_of_a_change_allows_what_is_taken_and_no_more():
    schema = UserPatch.model_json_schema()
    assert "null" not in str(schema)
    assert "None" not in str(schema)
    assert schema["minProperties"] == 1
