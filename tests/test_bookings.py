"""Bookings over HTTP: what is answered, and what then stands in MongoDB, Redis and the ledger."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from server import settlement
from server.payments import demo
from server.repo.demo_payments import DemoPaymentRepo
from tests.running import (
    IN_MODULE_LOOP,
    book,
    booked,
    eventually,
    lock,
    pay,
    problem,
    served,
    states,
    user_id,
)
from tests.stored import refunds

pytestmark = IN_MODULE_LOOP

server = served()
brisk = served("brisk", seat_lock_ttl=1)
lonely = served("lonely", background_work="off")
"""What a request does not finish, nobody does."""


async def shown(client, booking):
    answer = await client.get(f"/api/bookings/{booking}")
    assert answer.status_code == 200, answer.text
    return answer.json()["booking"]


async def cancel(client, booking):
    return await client.delete(f"/api/bookings/{booking}")


async def confirmed(client, showtime, *seats):
    booking = await booked(client, showtime, *seats)
    assert (await pay(client, booking)).json()["booking"]["status"] == "confirmed"
    return booking


def actions(row):
    return [entry["action"] for entry in row["timeline"]]


# -- making a booking --------------------------------------------------------------------------


async def test_locked_seats_become_a_pending_booking_with_the_deadline_of_the_lock(server):
    showtime = await server.showtime()
    held = (await lock(server.bob, showtime, "A1", "B1", "B2")).json()["lock"]
    answer = await book(server.bob, showtime, "A1", "B1")
    assert answer.status_code == 201
    booking = answer.json()["booking"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", booking["id"])
    assert booking["showtime_id"] == showtime
    assert booking["seats"] == ["A1", "B1"]
    assert booking["status"] == "pending"
    assert booking["amount"] == {"currency": "EUR", "minor": 1000 + 1500}
    assert booking["expires_at"] == held["expires_at"]
    assert 0 < booking["expires_in_ms"] <= held["expires_in_ms"]

    row = await server.stored.booking(booking["id"])
    assert row["user_id"] == await user_id(server.bob)
    assert row["claims"] == row["seats"] == ["A1", "B1"]
    assert (row["status"], row["amount"]) == ("pending", {"currency": "EUR", "minor": 2500})
    assert actions(row) == ["booking.created"]
    claim = f"c:{booking['id']}"
    assert await server.stored.seats(showtime) == {
        "A1": claim,
        "B1": claim,
        "B2": f"l:{row['user_id']}",
    }
    rest = (await server.bob.get(f"/api/showtimes/{showtime}/seats/lock")).json()["lock"]
    assert (rest["id"], rest["seats"], rest["expires_at"]) == (
        held["id"],
        ["B2"],
        held["expires_at"],
    )
    assert await server.stored.intents_of(booking["id"]) == []


async def test_seats_that_are_not_mine_yet_are_locked_on_the_way(server):
    showtime = await server.showtime()
    await lock(server.bob, showtime, "A1")
    booking = await booked(server.bob, showtime, "A1", "A2")
    claim = f"c:{booking}"
    assert await server.stored.seats(showtime) == {"A1": claim, "A2": claim}
    assert await states(server.visitor, showtime) == {"A1": "l", "A2": "l"}


async def test_a_taken_seat_refuses_the_whole_booking(server):
    showtime = await server.showtime()
    await lock(server.eve, showtime, "A2")
    sold = await confirmed(server.eve, showtime, "A3")
    before = await server.stored.image(showtime)
    refusal = problem(await book(server.bob, showtime, "A1", "A2", "A3"), 409, "seats_unavailable")
    locked, gone = refusal["unavailable"]
    assert locked.keys() == {"seat", "state", "retry_in_ms"}
    assert (locked["seat"], locked["state"]) == ("A2", "locked")
    assert gone == {"seat": "A3", "state": "booked"}
    assert await server.stored.image(showtime) == before
    assert [row["_id"] for row in await server.stored.bookings_of(showtime)] == [sold]


@pytest.mark.parametrize(
    ("seats", "changes", "status", "code"),
    [
        ([f"A{n}" for n in range(1, 9)] + ["B1", "B2", "B3"], {}, 409, "seat_limit_reached"),
        (["Z1"], {}, 422, "unknown_seats"),
        (["A1"], {"starts_in": -timedelta(seconds=1)}, 409, "showtime_closed"),
        (["A1"], {"status": "closed"}, 409, "showtime_closed"),
        (["A1"], {"blocked": frozenset({"A1"})}, 409, "seats_unavailable"),
    ],
)
async def test_a_refused_booking_leaves_nothing(server, seats, changes, status, code):
    showtime = await server.showtime(**changes)
    problem(await book(server.bob, showtime, *seats), status, code)
    assert await server.stored.bookings_of(showtime) == []
    taken = await server.stored.seats(showtime)
    assert taken == dict.fromkeys(changes.get("blocked", ()), "x")


async def test_an_unknown_showtime_is_not_found(server):
    problem(await book(server.bob, "sho_nowhere", "A1"), 404, "not_found")


async def test_one_person_may_have_several_bookings(server):
    showtime = await server.showtime()
    first, second = [await booked(server.bob, showtime, seat) for seat in ("A1", "A2")]
    assert first != second
    assert await server.stored.seats(showtime) == {"A1": f"c:{first}", "A2": f"c:{second}"}


# -- paying ------------------------------------------------------------------------------------


async def test_an_approved_payment_confirms_and_charges_once(server):
    showtime = await server.showtime()
    booking = await booked(server.bob, showtime, "A1", "B1")
    answer = await pay(server.bob, booking)
    assert answer.status_code == 200
    assert answer.json()["booking"]["status"] == "confirmed"
    assert answer.json()["booking"].keys() == (await shown(server.bob, booking)).keys()
    row = await server.stored.booking(booking)
    assert (row["status"], row["claims"]) == ("confirmed", ["A1", "B1"])
    assert actions(row) == [
        "booking.created",
        "payment.started",
        "payment.captured",
        "booking.confirmed",
    ]
    assert "seats_due" not in row
    assert await server.stored.seats(showtime) == dict.fromkeys(("A1", "B1"), f"b:{booking}")
    assert await states(server.visitor, showtime) == {"A1": "b", "B1": "b"}
    [intent] = await server.stored.intents_of(booking)
    assert intent["_id"] == row["intent_id"]
    assert (intent["status"], intent["amount"]) == ("captured", row["amount"])


async def test_a_declined_payment_can_be_tried_again(server):
    showtime = await server.showtime()
    booking = await booked(server.bob, showtime, "A1")
    for _ in range(2):
        problem(await pay(server.bob, booking, "demo:decline"), 402, "payment_declined")
        row = await server.stored.booking(booking)
        assert (row["status"], row["claims"]) == ("pending", ["A1"])
        assert await server.stored.seats(showtime) == {"A1": f"c:{booking}"}
        assert await server.stored.charged(booking) == 0
    assert (await pay(server.bob, booking)).status_code == 200
    intents = await server.stored.intents_of(booking)
    assert [intent["status"] for intent in intents] == ["declined", "declined", "captured"]
    assert await server.stored.charged(booking) == 1000


async def test_a_lost_answer_is_told_as_unknown_and_settled_later(server):
    showtime = await server.showtime()
    booking = await booked(server.bob, showtime, "A1")
    answer = await pay(server.bob, booking, "demo:timeout")
    assert answer.status_code == 202
    assert answer.json()["booking"]["status"] == "paying"
    assert (await shown(server.bob, booking))["status"] == "paying"
    assert await server.stored.charged(booking) == 1000, "captured all the same"
    assert await states(server.visitor, showtime) == {"A1": "l"}
    assert (await pay(server.bob, booking)).status_code == 202, "and nobody pays twice meanwhile"
    problem(await cancel(server.bob, booking), 409, "booking_state")

    await server.stored.past_its_deadline(booking)

    async def settled():
        return await server.stored.seats(showtime) == {"A1": f"b:{booking}"}

    await eventually(settled)
    assert (await shown(server.bob, booking))["status"] == "confirmed"
    assert await server.stored.charged(booking) == 1000
    assert actions(await server.stored.booking(booking))[-2:] == [
        "payment.captured",
        "booking.confirmed",
    ]


async def test_a_slow_provider_is_waited_for(server, monkeypatch):
    monkeypatch.setattr(demo, "SLOW_SECONDS", 0.2)
    booking = await booked(server.bob, await server.showtime(), "A1")
    answer = await pay(server.bob, booking, "demo:slow")
    assert answer.status_code == 200
    assert answer.elapsed >= timedelta(seconds=0.2)
    assert await server.stored.charged(booking) == 1000


async def test_a_provider_that_is_too_slow_leaves_the_outcome_open(server, monkeypatch):
    monkeypatch.setattr(demo, "SLOW_SECONDS", 60)
    monkeypatch.setattr(settlement, "CONFIRM_SECONDS", 0.1)
    showtime = await server.showtime()
    booking = await booked(server.bob, showtime, "A1")
    answer = await pay(server.bob, booking, "demo:slow")
    assert (answer.status_code, answer.json()["booking"]["status"]) == (202, "paying")
    await server.stored.past_its_deadline(booking)

    async def freed():
        return await server.stored.seats(showtime) == {}

    await eventually(freed)
    assert (await shown(server.bob, booking))["status"] == "expired"
    [intent] = await server.stored.intents_of(booking)
    assert intent["status"] == "cancelled", "so that it cannot be captured any more"


async def test_an_unknown_payment_method_moves_nothing(server):
    booking = await booked(server.bob, await server.showtime(), "A1")
    problem(await pay(server.bob, booking, "demo:free"), 422, "invalid_request")
    assert actions(await server.stored.booking(booking)) == ["booking.created"]
    assert await server.stored.intents_of(booking) == []


async def test_what_is_confirmed_or_cancelled_is_not_paid_again(server):
    showtime = await server.showtime()
    sold = await confirmed(server.bob, showtime, "A1")
    refusal = problem(await pay(server.bob, sold), 409, "booking_state")
    assert refusal["booking_status"] == "confirmed"
    assert await server.stored.charged(sold) == 1000
    dropped = await booked(server.bob, showtime, "A2")
    await cancel(server.bob, dropped)
    refusal = problem(await pay(server.bob, dropped), 409, "booking_state")
    assert refusal["booking_status"] == "cancelled"
    assert await server.stored.intents_of(dropped) == []


async def test_ten_payments_at_once_charge_once(server):
    booking = await booked(server.bob, await server.showtime(), "A1")
    answers = await asyncio.gather(*(pay(server.bob, booking) for _ in range(10)))
    assert {answer.status_code for answer in answers} <= {200, 202, 409}
    assert 200 in {answer.status_code for answer in answers}
    assert await server.stored.charged(booking) == 1000
    assert actions(await server.stored.booking(booking)).count("payment.captured") == 1


async def test_each_payment_is_made_by_its_own_method(server):
    """Approved and declined at once: whichever counts, the ledger says the same."""
    for _ in range(5):
        booking = await booked(server.bob, await server.showtime(), "A1")
        approved, declined = await asyncio.gather(
            pay(server.bob, booking), pay(server.bob, booking, "demo:decline")
        )
        captured = [
            intent["method"]
            for intent in await server.stored.intents_of(booking)
            if intent["status"] == "captured"
        ]
        row = await server.stored.booking(booking)
        assert captured == (["demo:approve"] if row["status"] == "confirmed" else [])
        assert declined.status_code in (402, 202, 409)
        assert approved.status_code in (200, 202, 409)


# -- time --------------------------------------------------------------------------------------


async def test_an_unpaid_booking_ends_with_its_lock(brisk):
    showtime = await brisk.showtime()
    booking = await booked(brisk.bob, showtime, "A1")

    async def over():
        return (await shown(brisk.bob, booking))["expires_in_ms"] == 0

    await eventually(over)
    problem(await pay(brisk.bob, booking), 409, "lock_expired")

    async def expired():
        return (await shown(brisk.bob, booking))["status"] == "expired"

    await eventually(expired)
    problem(await pay(brisk.bob, booking), 409, "lock_expired")
    problem(await cancel(brisk.bob, booking), 409, "booking_state")
    row = await brisk.stored.booking(booking)
    assert "claims" not in row
    assert actions(row) == ["booking.created", "booking.expired"]
    assert row["timeline"][-1]["actor_id"] is None
    assert await brisk.stored.charged(booking) == 0

    async def freed():
        return await brisk.stored.seats(showtime) == {}

    await eventually(freed)

    async def told():
        released = {"action": "seat.released", "target.booking_id": booking}
        return await brisk.stored.database["audit_logs"].find_one(released)

    assert (await eventually(told))["detail"] == {"seats": ["A1"], "reason": "expired"}
    assert (await book(brisk.eve, showtime, "A1")).status_code == 201


# -- cancelling --------------------------------------------------------------------------------


async def test_a_pending_booking_is_cancelled_and_its_seats_are_free(server):
    showtime = await server.showtime()
    booking = await booked(server.bob, showtime, "A1", "A2")
    for _ in range(2):
        answer = await cancel(server.bob, booking)
        assert answer.status_code == 200
        assert answer.json()["booking"]["status"] == "cancelled"
        assert answer.json()["booking"]["refund"] is None
    row = await server.stored.booking(booking)
    assert "claims" not in row
    assert actions(row) == ["booking.created", "booking.cancelled"]
    assert await server.stored.seats(showtime) == {}
    assert await server.stored.intents_of(booking) == []
    assert (await lock(server.eve, showtime, "A1")).status_code == 200


async def test_a_confirmed_booking_is_cancelled_and_refunded(server):
    showtime = await server.showtime()
    booking = await confirmed(server.bob, showtime, "A1", "B1")
    assert await server.stored.charged(booking) == 2500
    answer = await cancel(server.bob, booking)
    assert answer.status_code == 200
    assert answer.json()["booking"]["status"] == "cancelled"
    assert answer.json()["booking"]["refund"] == "done"
    row = await server.stored.booking(booking)
    assert "claims" not in row
    assert refunds(row) == ["done"]
    assert actions(row)[-2:] == ["booking.cancelled", "payment.refunded"]
    [intent] = await server.stored.intents_of(booking)
    assert intent["refunds"] == {f"refund:{booking}": 2500}
    assert await server.stored.charged(booking) == 0
    assert await server.stored.seats(showtime) == {}
    resold = await confirmed(server.eve, showtime, "A1")
    assert await server.stored.seats(showtime) == {"A1": f"b:{resold}"}


async def test_cancelling_five_times_at_once_refunds_once(server):
    booking = await confirmed(server.bob, await server.showtime(), "A1")
    answers = await asyncio.gather(*(cancel(server.bob, booking) for _ in range(5)))
    assert [answer.status_code for answer in answers] == [200] * 5
    assert {answer.json()["booking"]["status"] for answer in answers} == {"cancelled"}
    assert await server.stored.charged(booking) == 0
    row = await server.stored.booking(booking)
    assert actions(row).count("booking.cancelled") == 1
    assert actions(row).count("payment.refunded") == 1


async def test_after_the_start_nothing_is_refunded_but_an_unpaid_booking_may_go(server):
    showtime = await server.showtime(starts_in=timedelta(seconds=3))
    starts = datetime.now(UTC) + timedelta(seconds=3)
    sold = await confirmed(server.bob, showtime, "A1")
    unpaid = await booked(server.bob, showtime, "A2")
    await asyncio.sleep((starts - datetime.now(UTC)).total_seconds())
    refusal = problem(await cancel(server.bob, sold), 409, "booking_state")
    assert refusal["booking_status"] == "confirmed"
    assert await server.stored.charged(sold) == 1000
    assert (await server.stored.booking(sold))["status"] == "confirmed"
    assert (await cancel(server.bob, unpaid)).json()["booking"]["status"] == "cancelled"
    assert await server.stored.seats(showtime) == {"A1": f"b:{sold}"}


# -- other people's bookings --------------------------------------------------------------------


async def test_another_persons_booking_does_not_exist(server):
    showtime = await server.showtime()
    booking = await booked(server.bob, showtime, "A1")
    before = await server.stored.booking(booking)
    for client in (server.eve, server.ada):
        problem(await client.get(f"/api/bookings/{booking}"), 404, "not_found")
        problem(await cancel(client, booking), 404, "not_found")
        problem(await pay(client, booking), 404, "not_found")
        listed = (await client.get("/api/bookings")).json()["items"]
        assert booking not in [item["id"] for item in listed]
    after = await server.stored.booking(booking)
    assert {**after, "audit_due": 0} == {**before, "audit_due": 0}
    assert await server.stored.intents_of(booking) == []


# -- reading -----------------------------------------------------------------------------------


async def test_my_bookings_come_newest_first_in_pages_and_by_status(server):
    """Ada's, because nobody else in this file books for her."""
    showtime = await server.showtime()
    made = [await confirmed(server.ada, showtime, seat) for seat in ("A1", "A2", "A3", "A4", "A5")]
    await cancel(server.ada, made[1])
    await cancel(server.ada, made[3])

    async def listed(**query):
        pages, cursor = [], {}
        while True:
            answer = await server.ada.get("/api/bookings", params={**query, **cursor})
            body = answer.json()
            assert body.keys() == {"items", "next_cursor"}
            pages.append([item["id"] for item in body["items"]])
            if body["next_cursor"] is None:
                return pages
            cursor = {"cursor": body["next_cursor"]}

    newest = made[::-1]
    assert await listed() == [newest]
    assert await listed(limit=2) == [newest[:2], newest[2:4], newest[4:]]
    assert await listed(limit=5) == [newest]
    assert await listed(status="cancelled") == [[made[3], made[1]]]
    assert await listed(status="confirmed", limit=2) == [[made[4], made[2]], [made[0]]]
    assert await listed(status="pending") == [[]]
    single = await shown(server.ada, made[0])
    items = (await server.ada.get("/api/bookings?status=confirmed")).json()["items"]
    assert single | {"expires_in_ms": 0} == items[-1] | {"expires_in_ms": 0}


# -- clients that hang up -------------------------------------------------------------------------


async def hang_up_while(server, seen, path, body, key):
    """Send a request, close the socket as soon as `seen()`, hear nothing."""
    _, writer = await asyncio.open_connection(*server.address)
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: {server.bob.headers['Authorization']}\r\nIdempotency-Key: {key}\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    writer.write(head.encode() + content)
    await writer.drain()
    await eventually(seen)
    writer.transport.abort()


async def test_a_client_that_hangs_up_stops_no_payment(server, monkeypatch):
    monkeypatch.setattr(demo, "SLOW_SECONDS", 1.5)
    showtime = await server.showtime()
    booking = await booked(server.bob, showtime, "A1")

    async def paying():
        return (await server.stored.booking(booking))["status"] == "paying"

    body = {"payment_method": "demo:slow"}
    await hang_up_while(server, paying, f"/api/bookings/{booking}/pay", body, "hangs-up")
    assert await paying(), "the client was gone before the money moved"

    async def done():
        return (await server.stored.booking(booking))["status"] == "confirmed"

    await eventually(done)
    assert await server.stored.charged(booking) == 1000

    async def kept():
        return [row for row in await server.stored.answers("hangs-up") if "status" in row]

    await eventually(kept)
    again = await pay(server.bob, booking, "demo:slow", key="hangs-up")
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")


@pytest.mark.parametrize("cancelling", [False, True], ids=["paying", "cancelling"])
async def test_a_request_that_is_cut_off_stops_nothing_half_way(lonely, monkeypatch, cancelling):
    """As when a server that leaves waits no longer for its open requests."""
    showtime = await lonely.showtime()
    booking = await booked(lonely.bob, showtime, "A1")
    reached, may_go_on = asyncio.Event(), asyncio.Event()

    async def held_up(self, *args):
        reached.set()
        await may_go_on.wait()
        return await genuine(self, *args)

    if cancelling:
        await pay(lonely.bob, booking)
    step = "refund" if cancelling else "settle"
    genuine = getattr(DemoPaymentRepo, step)
    monkeypatch.setattr(DemoPaymentRepo, step, held_up)
    transport = httpx.ASGITransport(lonely.app)
    async with httpx.AsyncClient(
        transport=transport, base_url=lonely.url, headers=lonely.bob.headers
    ) as client:
        request = asyncio.create_task((cancel if cancelling else pay)(client, booking))
        await reached.wait()
        request.cancel()
        problem(await request, 503, "store_unavailable")
    may_go_on.set()

    async def done():
        row = await lonely.stored.booking(booking)
        return refunds(row) == ["done"] if cancelling else row["status"] == "confirmed"

    await eventually(done)
    assert await lonely.stored.charged(booking) == (0 if cancelling else 1000)
    last = (await lonely.stored.booking(booking))["timeline"][-1]
    assert last["actor_id"] == await user_id(lonely.bob)
