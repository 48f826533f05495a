"""At the counter: a clerk locks seats for a customer."""

import asyncio

import pytest_asyncio

from server.models import new_id
from tests.running import (
    IN_MODULE_LOOP,
    book,
    eventually,
    lock,
    problem,
    served,
    sign_in,
    states,
    user_id,
)

pytestmark = IN_MODULE_LOOP

server = served(max_seats_per_user=4)


@pytest_asyncio.fixture(loop_scope="module")
async def clerk(server):
    """Eve at the counter."""
    await server.stored.database["users"].update_one(
        {"email": "eve@example.com"}, {"$set": {"role": "BOX_OFFICE", "granted_role": "BOX_OFFICE"}}
    )
    await sign_in(server.eve, "eve@example.com")
    return server.eve


async def lock_for(client, showtime, customer, *seats):
    return await client.post(
        f"/api/admin/showtimes/{showtime}/seats/lock",
        json={"customer": customer, "seats": [*seats]},
    )


async def person(server, **changes):
    """Somebody who is stored, and cannot sign in."""
    row = {"_id": new_id("usr"), "name": "", "role": "USER", "email_verified": True}
    row |= {"provider": "test", "sub": row["_id"], "email": f"{row['_id']}@example.com"} | changes
    await server.stored.database["users"].insert_one(row)
    return row


async def test_the_lock_is_the_customers_and_the_act_the_clerks(server, clerk):
    showtime, bob = await server.showtime(), await user_id(server.bob)
    answer = await lock_for(clerk, showtime, bob, "A1", "A2")
    assert answer.status_code == 200, answer.text
    held = answer.json()["lock"]
    assert held["seats"] == ["A1", "A2"]
    assert await server.stored.seats(showtime) == {"A1": f"l:{bob}", "A2": f"l:{bob}"}
    mine = (await server.bob.get(f"/api/showtimes/{showtime}/seats/lock")).json()["lock"]
    assert mine["id"] == held["id"]

    logs = server.stored.database["audit_logs"]
    entry = await eventually(lambda: logs.find_one({"target.showtime_id": showtime}))
    assert entry["action"] == "seat.locked"
    assert entry["actor"] == {"id": await user_id(clerk), "email": "eve@example.com"}
    assert (entry["target"]["user_id"], entry["target"]["lock_id"]) == (bob, held["id"])
    assert entry["detail"]["seats"] == ["A1", "A2"]
    assert entry["request_id"] == answer.headers["x-request-id"]


async def test_seats_join_the_lock_that_the_customer_has_and_the_customer_books_them(server, clerk):
    showtime, bob = await server.showtime(), await user_id(server.bob)
    own = (await lock(server.bob, showtime, "A1")).json()["lock"]
    both = (await lock_for(clerk, showtime, "bob@example.com", "A2")).json()["lock"]
    assert (both["id"], both["seats"], both["expires_at"]) == (
        own["id"],
        ["A1", "A2"],
        own["expires_at"],
    )
    answer = await book(server.bob, showtime, "A1", "A2")
    assert answer.status_code == 201
    (row,) = await server.stored.bookings_of(showtime)
    assert row["user_id"] == bob


async def test_the_caps_are_the_customers_and_each_customer_has_their_own(server, clerk):
    showtime, bob = await server.showtime(), await user_id(server.bob)
    assert (await lock(server.bob, showtime, "A1", "A2", "A3")).status_code == 200
    refusal = problem(await lock_for(clerk, showtime, bob, "A4", "A5"), 409, "seat_limit_reached")
    assert refusal["limit"] == 4
    others = [(await person(server))["_id"] for _ in range(4)]
    rows = ["A5 A6 A7 A8", "B1 B2 B3 B4", "B5 B6 B7", "A4"]
    for other, seats in zip(others, rows, strict=True):
        assert (await lock_for(clerk, showtime, other, *seats.split())).status_code == 200
    held = await server.stored.seats(showtime)
    assert len(held) == 15
    assert "B8" not in held
    answer = await lock_for(clerk, showtime, others[3], "A1")
    assert problem(answer, 409, "seats_unavailable")["unavailable"][0]["seat"] == "A1"


async def test_whom_the_clerk_may_name(server, clerk):
    showtime = await server.showtime()
    one = await person(server)
    twin = await person(server, email=one["email"], email_verified=False)
    answer = await lock_for(clerk, showtime, one["email"].upper(), "A1")
    assert answer.status_code == 200
    assert (await server.stored.seats(showtime))["A1"] == f"l:{one['_id']}"  # not who claims it
    assert (await lock_for(clerk, showtime, twin["_id"], "A2")).status_code == 200

    pair = [await person(server, email="two@example.com") for _ in range(2)]
    problem(await lock_for(clerk, showtime, "two@example.com", "A3"), 422, "invalid_request")
    await server.stored.database["users"].update_one(
        {"_id": pair[0]["_id"]}, {"$set": {"blocked": True}}
    )
    assert (await lock_for(clerk, showtime, "two@example.com", "A3")).status_code == 200
    assert (await server.stored.seats(showtime))["A3"] == f"l:{pair[1]['_id']}"


async def test_nobody_and_who_is_blocked_is_no_customer(server, clerk):
    showtime, blocked = await server.showtime(), await person(server, blocked=True)
    for named in ("usr_nobody", "nobody@example.com", blocked["_id"], blocked["email"]):
        problem(await lock_for(clerk, showtime, named, "A1"), 404, "not_found")
    for named in ("", "a b", "a@", "@b", "a@b@c", "a" * 65, "a\x00@b.c", "a@b.c\n", ["x"], None):
        problem(await lock_for(clerk, showtime, named, "A1"), 422, "invalid_request")
    problem(await lock_for(clerk, "sho_nowhere", "bob@example.com", "A1"), 404, "not_found")
    assert await server.stored.seats(showtime) == {}


async def test_a_clerk_sees_the_locks_and_takes_none_away(server, clerk):
    showtime, bob = await server.showtime(), await user_id(server.bob)
    await lock_for(clerk, showtime, bob, "A1")
    locks = f"/api/showtimes/{showtime}/seats/locks"
    (seen,) = (await clerk.get(locks)).json()["items"]
    assert (seen["user_id"], seen["seats"]) == (bob, ["A1"])
    problem(await clerk.delete(f"{locks}?seats=A1"), 403, "forbidden")
    assert await states(clerk, showtime) == {"A1": "l"}


async def test_a_plain_user_locks_for_nobody_else(server):
    showtime, ada = await server.showtime(), await user_id(server.ada)
    problem(await lock_for(server.bob, showtime, ada, "A1"), 403, "forbidden")
    problem(await lock_for(server.visitor, showtime, ada, "A1"), 401, "unauthenticated")
    assert await server.stored.seats(showtime) == {}
    assert (await lock_for(server.ada, showtime, "bob@example.com", "A1")).status_code == 200


async def test_a_clerk_and_the_customer_at_once_stay_within_the_caps(server, clerk):
    showtime, bob = await server.showtime(), await user_id(server.bob)
    seats = [f"{row}{number}" for row in "AB" for number in range(1, 9)]
    answers = await asyncio.gather(
        *(lock_for(clerk, showtime, bob, seat) for seat in seats[::2]),
        *(lock(server.bob, showtime, seat) for seat in seats[1::2]),
    )
    assert sorted({answer.status_code for answer in answers}) == [200, 409]
    assert list((await server.stored.seats(showtime)).values()) == [f"l:{bob}"] * 4


async def test_a_blocked_owner_of_an_address_gives_way_to_nobody(server, clerk):
    """Whoever merely claims the address is not whom the clerk means."""
    showtime, owner = await server.showtime(), await person(server, blocked=True)
    await person(server, email=owner["email"], email_verified=False)
    problem(await lock_for(clerk, showtime, owner["email"], "A1"), 404, "not_found")
    body = {"email": owner["email"], "password": "seven grey herons at dawn", "name": "Pat"}
    problem(await server.visitor.post("/api/auth/register", json=body), 409, "email_taken")
    rows = {"email": owner["email"], "password_hash": {"$exists": True}}
    assert await server.stored.database["users"].count_documents(rows) == 0
