"""Idempotency-Key: one effect per key, the first answer to every repeat."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from server import idempotency
from server.errors import LockExpired, RateLimited, StoreUnavailable
from server.idempotency import Answer, IdempotentRequests, fingerprint
from server.models import new_id
from server.repo import idempotency as stored_answers
from server.repo.idempotency import IdempotencyRepo
from tests.running import (
    IN_MODULE_LOOP,
    book,
    booked,
    eventually,
    lock,
    pay,
    problem,
    served,
    user_id,
)

pytestmark = IN_MODULE_LOOP

server = served()

_REUSED = "idempotency_key_reused"
LONG_AGO = datetime.fromtimestamp(0, UTC)


def replayed(answer):
    return answer.headers.get("idempotent-replayed") == "true"


async def left_running(stored, key):
    """Make the first request look as if its process had died before it could answer."""
    [row] = await stored.answers(key)
    change = {"$unset": {"status": "", "body": ""}, "$set": {"token": "of a dead process"}}
    await stored.database["idempotency"].update_one({"_id": row["_id"]}, change)
    return row["_id"]


async def lease_ends(stored, row_id):
    change = {"$set": {"locked_until": LONG_AGO}}
    await stored.database["idempotency"].update_one({"_id": row_id}, change)


# -- the key -----------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": ""}])
async def test_without_a_key_nothing_is_done(server, headers):
    showtime = await server.showtime()
    booking = await booked(server.bob, showtime, "A1")
    for path, body in (
        ("/api/bookings", {"showtime_id": showtime, "seats": ["A2"]}),
        (f"/api/bookings/{booking}/pay", {"payment_method": "demo:approve"}),
    ):
        answer = await server.bob.post(path, json=body, headers=headers)
        problem(answer, 400, "idempotency_key_missing")
    assert await server.stored.seats(showtime) == {"A1": f"c:{booking}"}
    assert await server.stored.intents_of(booking) == []


@pytest.mark.parametrize("key", [b"k" * 256, b"a\tb", b"a\x85b", b"a\xa0b"])
async def test_a_key_is_255_printable_characters_at_most(server, key):
    showtime = await server.showtime()
    answer = await server.bob.post(
        "/api/bookings",
        json={"showtime_id": showtime, "seats": ["A1"]},
        headers={b"Idempotency-Key": key},
    )
    problem(answer, 422, "invalid_request")
    assert await server.stored.bookings_of(showtime) == []


@pytest.mark.parametrize("key", ["k" * 255, "{}", "}", '{"$ne": null}', "$where", "a:b", "ü"])
async def test_any_other_key_will_do(server, key):
    showtime = await server.showtime()
    headers = {b"Idempotency-Key": key.encode("latin-1")}
    body = {"showtime_id": showtime, "seats": ["A1"]}
    answers = [await server.bob.post("/api/bookings", json=body, headers=headers) for _ in "12"]
    assert [(answer.status_code, replayed(answer)) for answer in answers] == [
        (201, False),
        (201, True),
    ]
    assert len(await server.stored.bookings_of(showtime)) == 1


# -- repeats -----------------------------------------------------------------------------------


async def test_a_repeat_is_answered_as_the_first_was(server):
    showtime, key = await server.showtime(), new_id("key")
    first = await book(server.bob, showtime, "A1", "A2", key=key)
    again = await book(server.bob, showtime, "A1", "A2", key=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert (replayed(first), replayed(again)) == (False, True)
    assert again.json() == first.json()
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert len(await server.stored.bookings_of(showtime)) == 1


async def test_a_payment_is_made_once_per_key(server):
    booking, key = await booked(server.bob, await server.showtime(), "A1"), new_id("key")
    answers = [await pay(server.bob, booking, key=key) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert [replayed(answer) for answer in answers] == [False, True, True]
    assert answers[0].json() == answers[2].json()
    assert len(await server.stored.intents_of(booking)) == 1


async def test_refusals_are_replayed_even_when_it_would_go_well_by_now(server):
    showtime, key = await server.showtime(), new_id("key")
    await lock(server.eve, showtime, "A1")
    first = await book(server.bob, showtime, "A1", key=key)
    problem(first, 409, "seats_unavailable")
    await server.eve.delete(f"/api/showtimes/{showtime}/seats/lock")
    again = await book(server.bob, showtime, "A1", key=key)
    problem(again, 409, "seats_unavailable")
    assert replayed(again)
    assert again.json() == first.json()
    assert await server.stored.bookings_of(showtime) == []
    assert (await book(server.bob, showtime, "A1")).status_code == 201


async def test_a_declined_payment_is_declined_again_under_its_key(server):
    booking, key = await booked(server.bob, await server.showtime(), "A1"), new_id("key")
    for repeat in (False, True):
        answer = await pay(server.bob, booking, "demo:decline", key=key)
        problem(answer, 402, "payment_declined")
        assert replayed(answer) is repeat
    assert len(await server.stored.intents_of(booking)) == 1


async def test_an_open_payment_is_told_as_open_again(server):
    booking, key = await booked(server.bob, await server.showtime(), "A1"), new_id("key")
    answers = [await pay(server.bob, booking, "demo:timeout", key=key) for _ in range(2)]
    assert [(a.status_code, replayed(a)) for a in answers] == [(202, False), (202, True)]


async def test_the_same_key_with_another_body_is_refused(server):
    showtime, key = await server.showtime(), new_id("key")
    first = await book(server.bob, showtime, "A1", key=key)
    for other in (("A2",), ("A1", "A2")):
        answer = await book(server.bob, showtime, *other, key=key)
        problem(answer, 422, "idempotency_key_reused")
    problem(await book(server.bob, await server.showtime(), "A1", key=key), 422, _REUSED)
    again = await book(server.bob, showtime, "A1", key=key)
    assert (again.json(), replayed(again)) == (first.json(), True)
    assert len(await server.stored.bookings_of(showtime)) == 1
    assert (await server.stored.seats(showtime)).keys() == {"A1"}


async def test_the_same_key_for_another_payment_is_refused(server):
    showtime, key = await server.showtime(), new_id("key")
    one, other = await booked(server.bob, showtime, "A1"), await booked(server.bob, showtime, "A2")
    problem(await pay(server.bob, one, "demo:decline", key=key), 402, "payment_declined")
    problem(await pay(server.bob, one, "demo:approve", key=key), 422, _REUSED)
    problem(await pay(server.bob, other, "demo:decline", key=key), 422, _REUSED)
    assert await server.stored.charged(one) == 0
    assert await server.stored.intents_of(other) == []


async def test_a_body_may_be_spelled_in_another_way(server):
    showtime, key = await server.showtime(), new_id("key")
    first = await book(server.bob, showtime, "A1", key=key)
    spelled = f'{{ "seats" : ["\\u00411"],\n "showtime_id":"{showtime}" }}'
    again = await server.bob.post(
        "/api/bookings",
        content=spelled,
        headers={"Idempotency-Key": key, "Content-Type": "application/json; charset=utf-8"},
    )
    assert (again.json(), replayed(again)) == (first.json(), True)


async def test_keys_belong_to_one_person_and_one_kind_of_request(server):
    showtime, key = await server.showtime(), new_id("key")
    mine = await book(server.bob, showtime, "A1", key=key)
    hers = await book(server.eve, showtime, "A2", key=key)
    assert (mine.status_code, hers.status_code) == (201, 201)
    assert not replayed(hers)
    assert mine.json()["booking"]["id"] != hers.json()["booking"]["id"]
    paid = await pay(server.bob, mine.json()["booking"]["id"], key=key)
    assert (paid.status_code, replayed(paid)) == (200, False)
    problem(await book(server.ada, showtime, "A1", key=key), 409, "seats_unavailable")


# -- what is not kept ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"seats"', 422),
        (b'{"seats": ["A1"]}', 422),
        (b'{"showtime_id": "SHOWTIME", "seats": ["A1"], "price": 0}', 422),
        (b'{"showtime_id": "SHOWTIME", "seats": ["Z1"]}', 422),
        (b'{"showtime_id": "sho_nowhere", "seats": ["A1"]}', 404),
    ],
)
async def test_a_wrong_request_may_be_put_right_under_its_key(server, body, status):
    showtime, key = await server.showtime(), new_id("key")
    answer = await server.bob.post(
        "/api/bookings",
        content=body.replace(b"SHOWTIME", showtime.encode()),
        headers={"Idempotency-Key": key, "Content-Type": "application/json"},
    )
    assert answer.status_code == status
    assert await server.stored.answers(key) == []
    right = await book(server.bob, showtime, "A1", key=key)
    assert (right.status_code, replayed(right)) == (201, False)


async def test_a_wrong_payment_may_be_put_right_under_its_key(server):
    booking, key = await booked(server.bob, await server.showtime(), "A1"), new_id("key")
    problem(await pay(server.bob, booking, "demo:free", key=key), 422, "invalid_request")
    problem(await pay(server.eve, booking, key=key), 404, "not_found")
    problem(await pay(server.bob, "bk_nowhere", key=key), 404, "not_found")
    assert await server.stored.answers(key) == []
    assert (await pay(server.bob, booking, key=key)).status_code == 200


@pytest.mark.parametrize(
    "failure", [StoreUnavailable(), RateLimited(), ConnectionError(), KeyError()]
)
async def test_a_failure_is_no_answer(server, failure):
    requests, key = IdempotentRequests(IdempotencyRepo(server.stored.database)), new_id("key")

    async def fails():
        raise failure

    async def works():
        return Answer(200, {"done": True})

    with pytest.raises(type(failure)):
        await requests.run("ann:book", key, "print", fails, pytest.fail)
    assert await server.stored.answers(key) == []
    done = await requests.run("ann:book", key, "print", works, pytest.fail)
    assert done == (Answer(200, {"done": True}), False)


async def test_a_refusal_is_an_answer(server):
    requests, key = IdempotentRequests(IdempotencyRepo(server.stored.database)), new_id("key")

    async def refuses():
        raise LockExpired

    for repeat in (False, True):
        answer, again = await requests.run(
            "ann:book", key, "print", refuses, lambda error: Answer(error.status, {"no": 1})
        )
        assert (answer, again) == (Answer(409, {"no": 1}), repeat)


async def test_answers_are_kept_for_72_hours(server):
    indexes = await server.stored.database["idempotency"].index_information()
    [expiry] = [index for index in indexes.values() if "expireAfterSeconds" in index]
    assert expiry["key"] == [("created_at", 1)]
    assert expiry["expireAfterSeconds"] == 72 * 3600
    showtime, key = await server.showtime(), new_id("key")
    await book(server.bob, showtime, "A1", key=key)
    [row] = await server.stored.answers(key)
    assert abs(datetime.now(UTC) - row["created_at"]) < timedelta(minutes=1)


async def test_a_forgotten_key_does_not_answer_for_another_request(server):
    showtime, key = await server.showtime(), new_id("key")
    first = await book(server.bob, showtime, "A1", key=key)
    await server.stored.database["idempotency"].delete_many({})
    problem(await book(server.bob, showtime, "A2", key=key), 422, _REUSED)
    assert (await server.stored.seats(showtime)).keys() == {"A1"}
    again = await book(server.bob, showtime, "A1", key=key)
    assert again.json()["booking"]["id"] == first.json()["booking"]["id"]


# -- at the same time ----------------------------------------------------------------------------


async def test_fifty_bookings_at_once_make_one(server):
    showtime, key = await server.showtime(), new_id("key")
    answers = await asyncio.gather(
        *(book(server.bob, showtime, "A1", "A2", key=key) for _ in range(50))
    )
    made = [answer for answer in answers if answer.status_code == 201]
    assert len([answer for answer in made if not replayed(answer)]) == 1
    assert len({answer.json()["booking"]["id"] for answer in made}) == 1
    for answer in answers:
        if answer.status_code != 201:
            problem(answer, 409, "idempotency_in_progress")
            assert int(answer.headers["retry-after"]) >= 1
    [row] = await server.stored.bookings_of(showtime)
    assert [entry["action"] for entry in row["timeline"]] == ["booking.created"]
    claim = f"c:{row['_id']}"
    assert await server.stored.seats(showtime) == {"A1": claim, "A2": claim}
    assert len(await server.stored.answers(key)) == 1


async def test_fifty_payments_at_once_charge_once(server):
    booking, key = await booked(server.bob, await server.showtime(), "A1"), new_id("key")
    answers = await asyncio.gather(*(pay(server.bob, booking, key=key) for _ in range(50)))
    paid = [answer for answer in answers if answer.status_code == 200]
    assert len([answer for answer in paid if not replayed(answer)]) == 1
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len(await server.stored.intents_of(booking)) == 1
    assert await server.stored.charged(booking) == 1000
    row = await server.stored.booking(booking)
    assert [entry["action"] for entry in row["timeline"]].count("payment.captured") == 1


async def test_while_the_first_one_runs_a_repeat_is_told_to_come_back(server):
    showtime, key = await server.showtime(), new_id("key")
    await book(server.bob, showtime, "A1", key=key)
    await left_running(server.stored, key)
    answer = await book(server.bob, showtime, "A1", key=key)
    problem(answer, 409, "idempotency_in_progress")
    assert int(answer.headers["retry-after"]) >= 1
    problem(await book(server.bob, showtime, "A2", key=key), 422, _REUSED)
    [row] = await server.stored.answers(key)
    assert "status" not in row, "a refusal to wait is not the answer"


# -- after a crash ---------------------------------------------------------------------------------


async def test_a_booking_that_was_never_begun_is_made_after_the_lease(server):
    showtime, key = await server.showtime(), new_id("key")
    body = {"seats": ["A1"], "showtime_id": showtime}
    row = f"{await user_id(server.bob)}:book:{key}"
    repo = IdempotencyRepo(server.stored.database)
    assert await repo.begin(row, fingerprint("/api/bookings", body), "of a dead process") == "mine"
    problem(await book(server.bob, showtime, "A1", key=key), 409, "idempotency_in_progress")
    await lease_ends(server.stored, row)
    answer = await book(server.bob, showtime, "A1", key=key)
    assert (answer.status_code, replayed(answer)) == (201, False)
    again = await book(server.bob, showtime, "A1", key=key)
    assert (again.json(), replayed(again)) == (answer.json(), True)


async def test_a_booking_that_was_made_is_found_after_the_lease(server):
    showtime, key = await server.showtime(), new_id("key")
    first = await book(server.bob, showtime, "A1", key=key)
    await lease_ends(server.stored, await left_running(server.stored, key))
    again = await book(server.bob, showtime, "A1", key=key)
    assert again.status_code == 201
    assert again.json()["booking"]["id"] == first.json()["booking"]["id"]
    assert len(await server.stored.bookings_of(showtime)) == 1


async def test_a_payment_that_was_made_is_found_after_the_lease(server):
    booking, key = await booked(server.bob, await server.showtime(), "A1"), new_id("key")
    await pay(server.bob, booking, key=key)
    await lease_ends(server.stored, await left_running(server.stored, key))
    again = await pay(server.bob, booking, key=key)
    assert (again.status_code, again.json()["booking"]["status"]) == (200, "confirmed")
    assert await server.stored.charged(booking) == 1000


async def test_many_repeats_after_a_crash_are_one_takeover(server):
    booking, key = await booked(server.bob, await server.showtime(), "A1"), new_id("key")
    problem(await pay(server.bob, booking, "demo:decline", key=key), 402, "payment_declined")
    await lease_ends(server.stored, await left_running(server.stored, key))
    answers = await asyncio.gather(
        *(pay(server.bob, booking, "demo:decline", key=key) for _ in range(20))
    )
    assert {answer.status_code for answer in answers} <= {402, 409}
    fresh = [a for a in answers if a.status_code == 402 and not replayed(a)]
    assert len(fresh) == 1
    assert await server.stored.charged(booking) == 0


async def test_a_first_request_that_was_taken_over_does_not_disturb(server):
    repo, key = IdempotencyRepo(server.stored.database), new_id("key")
    assert await repo.begin(key, "print", "first") == "mine"
    await lease_ends(server.stored, key)
    assert await repo.begin(key, "print", "second") == "mine"
    await repo.finish(key, "first", Answer(500, {}))
    await repo.abandon(key, "first")
    assert await repo.begin(key, "print", "third") == "running"
    await repo.finish(key, "second", Answer(200, {}))
    await repo.abandon(key, "second")
    assert await repo.begin(key, "print", "third") == Answer(200, {})


async def test_work_that_outlasts_its_lease_keeps_the_key(server, monkeypatch):
    for module in (idempotency, stored_answers):
        monkeypatch.setattr(module, "LEASE_SECONDS", 1)
    booking, key = await booked(server.bob, await server.showtime(), "A1"), new_id("key")
    first = asyncio.create_task(pay(server.bob, booking, "demo:slow", key=key))
    row_id = f"{await user_id(server.bob)}:pay:{key}"
    rows, leases = server.stored.database["idempotency"], set()
    while not first.done():
        row = await rows.find_one({"_id": row_id})
        leases |= {row["locked_until"]} if row else set()
        if row and "status" not in row:
            refusal = await pay(server.bob, booking, "demo:slow", key=key)
            assert refusal.status_code == 409 or replayed(refusal), "it was taken over"
        await asyncio.sleep(0.05)
    assert (await first).json()["booking"]["status"] == "confirmed"
    assert len(leases) > 3, "the lease was not renewed"
    assert await server.stored.charged(booking) == 1000


async def test_a_lease_that_is_not_renewed_ends_by_the_clock_of_mongodb(server, monkeypatch):
    monkeypatch.setattr(stored_answers, "LEASE_SECONDS", 1)
    repo, key = IdempotencyRepo(server.stored.database), new_id("key")
    assert await repo.begin(key, "print", "first") == "mine"
    assert await repo.begin(key, "print", "second") == "running"

    async def mine():
        return await repo.begin(key, "print", "third") == "mine"

    await eventually(mine, within=3)
    assert await repo.begin(key, "other print", "fourth") == "other_body"


async def test_a_client_that_hangs_up_while_booking_finds_its_booking(server):
    showtime, key = await server.showtime(), new_id("key")
    body = f'{{"showtime_id": "{showtime}", "seats": ["A1"]}}'
    _, writer = await asyncio.open_connection(*server.address)
    writer.write(
        "POST /api/bookings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: {server.bob.headers['Authorization']}\r\nIdempotency-Key: {key}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    await writer.drain()

    async def begun():
        return await server.stored.answers(key)

    async def answered():
        return [row for row in await begun() if "status" in row]

    await eventually(begun)
    writer.transport.abort()
    await eventually(answered)
    again = await book(server.bob, showtime, "A1", key=key)
    assert (again.status_code, replayed(again)) == (201, True)
