"""Every route against every role, with the ids of what belongs to somebody else: no leak."""

import json
import re

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from server.api import audit_live
from server.models import new_id
from tests.access_matrix import (
    ADMIN,
    ANYBODY,
    CALLS,
    CLASSES,
    FILES,
    MAY,
    OWNER,
    ROLES,
    SIGNED_IN,
    SOCKET,
    STAFF,
    body_of,
    routed,
)
from tests.access_people import ann, callers
from tests.running import IN_MODULE_LOOP, eventually, served, sign_in

__all__ = ["ann", "callers"]

pytestmark = IN_MODULE_LOOP

server = served(background_work="off", rate_limits="off")

OVER_HTTP = [call for call in CALLS if call.method not in (SOCKET, FILES)]
SOCKETS = [call for call in CALLS if call.method == SOCKET]
ENDLESS = "GET /api/showtimes/{showtime_id}/live"
"""What it tells is read as a socket."""

HERS = ("users", "sessions", "bookings", "idempotency", "audit_outbox")
"""Collections in which there is something of Ann's, or the comparison would be of nothing."""

MADE_UP = re.compile(r"[0-9a-f]{32}|[A-Za-z0-9_-]{43}")


def pairs(wanted):
    """Each route with each role, where `wanted`, as parameters of a test."""
    return [
        pytest.param(call, role, id=f"{call} {role}")
        for call in OVER_HTTP
        for role in ROLES
        if wanted(call, role) and str(call) != ENDLESS
    ]


def may(*classes):
    return lambda call, role: call.access in classes and role in MAY[call.access]


async def kept(server, ann):
    """All that is stored of Ann, whatever collection it is in, and of the showtimes she has seats
    in."""
    database, ids = server.stored.database, ann.ids
    # Not by her address, for which a stranger may ask to be registered.
    known_by, rows = [mark for mark in ann.marks if mark not in ids["email"]], {}
    for name in await database.list_collection_names():
        if name != "leases":  # which the server renews by itself
            found = await database[name].find().sort("_id", 1).to_list(None)
            rows[name] = [row for row in found if any(mark in repr(row) for mark in known_by)]
    assert all(rows[name] for name in HERS), "a check that cannot fail"
    shows = [await server.stored.image(ids[name]) for name in ("showtime_id", "further")]
    planned = await database["showtimes"].find().sort("_id", 1).to_list(None)
    charged = await server.stored.ledger.find().sort("_id", 1).to_list(None)
    return rows, shows, planned, charged


async def send(client, call, ids):
    """Without the cookies of an earlier answer: each call stands for itself."""
    client.cookies.clear()
    body = body_of(call, ids)
    if call.method == "POST" and call.path == "/dev/mails/{name}":
        form = {"ticket": await ticket_of(client)}
        return await client.post(call.filled_in(ids), data=form)
    return await client.request(
        call.method,
        call.filled_in(ids),
        headers={"Idempotency-Key": new_id("key")},
        **({} if body is None else {"json": body}),
    )


async def ticket_of(client):
    answer = await client.post("/api/auth/ticket")
    return answer.json()["ticket"] if answer.status_code == 200 else "made-up"


def leaks(ann, call, text):
    """What `text` tells of Ann that the caller did not say himself."""
    said = f"{call.filled_in(ann.ids)} {json.dumps(body_of(call, ann.ids))}"
    return [mark for mark in ann.marks if mark in text and mark not in said]


async def test_every_route_is_in_one_of_the_classes(server):
    """A new route has to be put where it belongs, and is then held to it."""
    rows = [str(call) for call in CALLS]
    assert len(rows) == len(set(rows))
    optional = {"POST /api/payments/stripe/webhook"}  # where Stripe takes the payments
    assert routed(server.app) | optional == set(rows)
    assert set(CLASSES) == set(MAY)


async def test_ann_herself_is_let_in(server, ann):
    """What the others are refused is there."""
    async with httpx.AsyncClient(base_url=server.url, timeout=20) as browser:
        await sign_in(browser, ann.ids["email"])
        ids = ann.ids | {"booking_id": ann.ids["paid"]}
        sessions = (await browser.get("/api/auth/sessions")).json()["items"]
        assert ids["session_id"] in [session["id"] for session in sessions]
        for call in OVER_HTTP:
            if call.access == OWNER and call.method == "GET" and "/dev/" not in call.path:
                assert (await send(browser, call, ids)).status_code == 200, call
        answer = await browser.get(f"/api/showtimes/{ids['showtime_id']}/seats/lock")
        assert answer.json()["lock"]["id"] in ann.marks


@pytest.mark.parametrize(("call", "role"), pairs(lambda call, role: role not in MAY[call.access]))
async def test_who_may_not_changes_nothing_and_learns_nothing(server, ann, callers, call, role):
    bookings = ("booking_id", "paid") if "{booking_id}" in call.path else ("booking_id",)
    for ids in (ann.ids | {"booking_id": ann.ids[name]} for name in bookings):
        before = await server.stored.digest()
        answer = await send(callers[role], call, ids)
        expected = [401] if role == "nobody" else [404] if call.access == OWNER else [403]
        assert answer.status_code in expected, answer.text
        assert answer.headers["content-type"].startswith("application/problem+json")
        assert leaks(ann, call, answer.text + str(answer.headers)) == []
        after = await server.stored.digest()
        beside = {"idempotency", "tickets", "audit_outbox", "system.profile"}  # notes on the caller
        changed = {name for name in after.keys() | before if after.get(name) != before.get(name)}
        assert changed <= (set() if role == "nobody" else beside)


@pytest.mark.parametrize(("call", "role"), pairs(may(SIGNED_IN)))
async def test_who_acts_for_himself_does_not_touch_ann(server, ann, callers, call, role):
    """Also where the ids are hers: her showtime, her seats, her mail address."""
    before = await kept(server, ann)
    answer = await send(callers[role], call, ann.ids)
    assert answer.status_code not in (401, 403), answer.text
    assert answer.status_code < 500
    assert leaks(ann, call, answer.text + str(answer.headers)) == []
    assert await kept(server, ann) == before


@pytest.mark.parametrize(("call", "role"), pairs(may(ANYBODY)))
async def test_what_is_open_tells_nothing_of_ann(server, ann, callers, call, role):
    before = await kept(server, ann)
    answer = await send(callers[role], call, ann.ids)
    assert answer.status_code < 500
    assert leaks(ann, call, answer.text + str(answer.headers)) == []
    assert await kept(server, ann) == before


@pytest.mark.parametrize(("call", "role"), pairs(may(STAFF, ADMIN)))
async def test_who_may_is_let_in(server, ann, callers, call, role):
    """With ids that nobody has, so that nothing comes of it."""
    nothing = {name: MADE_UP.sub("0" * 32, value) for name, value in ann.ids.items()}
    assert nothing["booking_id"] != ann.ids["booking_id"]
    answer = await send(callers[role], call, nothing | {"email": "nobody@example.com"})
    assert answer.status_code not in (401, 403, 405), answer.text
    assert answer.status_code < 500


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("call", SOCKETS, ids=str)
async def test_a_socket_tells_those_who_may(server, ann, callers, call, role, monkeypatch):
    monkeypatch.setattr(audit_live, "HEARTBEAT_SECONDS", 0.05)
    address = server.url.replace("http", "ws", 1) + call.filled_in(ann.ids)
    before = await kept(server, ann)
    ticket = await ticket_of(callers[role])
    heard = ""
    async with connect(address) as socket:
        await socket.send(json.dumps({"type": "auth", "ticket": ticket}))
        if role in MAY[call.access]:
            heard = await socket.recv()
        else:
            with pytest.raises(ConnectionClosed):
                heard = await socket.recv()
            assert socket.close_code == 1008
            heard += socket.close_reason
    if call.access == ANYBODY or role not in MAY[call.access]:
        assert leaks(ann, call, heard) == []
    assert await kept(server, ann) == before


async def test_who_loses_a_role_has_lost_it_at_the_next_call(server, ann, callers):
    people, admin = server.stored.database["users"], callers["ADMIN"]
    mail = {"email": "admin@example.com"}
    assert (await admin.get("/api/admin/users")).status_code == 200
    lost = [({"role": "BOX_OFFICE"}, 403), ({"role": "ADMIN", "blocked": True}, 401)]
    for change, status in lost:
        await people.update_one(mail, {"$set": change})
        for call in OVER_HTTP:
            if call.access == ADMIN:
                answer = await send(admin, call, ann.ids)
                assert answer.status_code == status, (call, answer.text)
                assert leaks(ann, call, answer.text) == []
    await people.update_one(mail, {"$set": {"role": "ADMIN", "blocked": False}})

    async def is_back():
        return (await admin.get("/api/admin/ping")).status_code == 200

    assert await eventually(is_back)
