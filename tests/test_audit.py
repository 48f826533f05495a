"""The audit log: all that happened is in it, once, in a chain that shows what was tampered with."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from server.audit import AuditRelay
from server.models import new_id, rfc3339
from server.repo.audit_logs import GENESIS, AuditLogRepo, digest
from server.repo.bookings import BookingRepo
from server.repo.leases import LeaseRepo
from server.repo.mongo import BulkWriteError
from server.repo.outbox import AuditRecord, Outbox
from server.repo.seat_log import SeatLog
from server.repo.users import Users
from tests.desk import ANN, desk
from tests.running import (
    IN_MODULE_LOOP,
    booked,
    eventually,
    lock,
    pay,
    plan,
    problem,
    served,
    sign_in,
    user_id,
)
from tests.stored import stocked

pytestmark = IN_MODULE_LOOP

server = served()
brisk = served("brisk", seat_lock_ttl=3)
stored = stocked()


async def feed(client, **query):
    answer = await client.get("/api/admin/audit", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def until(client, count, **query):
    """The feed once it holds `count` entries, which the relay needs a moment for."""

    async def enough():
        items = await feed(client, **query)
        assert len(items) <= count, items
        return items if len(items) == count else None

    return await eventually(enough)


async def log_of(stored):
    return [row async for row in AuditLogRepo(stored.database).chain()]


def assert_chained(rows):
    previous = GENESIS
    for number, row in enumerate(rows, start=1):
        assert row["n"] == number
        assert row["previous"] == previous
        assert row["hash"] == digest(row)
        previous = row["hash"]


# -- what is in it -------------------------------------------------------------------------------


async def test_what_a_person_does_to_seats_and_bookings_is_told(server):
    showtime = await server.showtime()
    bob = {"id": await user_id(server.bob), "email": "bob@example.com"}
    server.bob.headers["X-Request-ID"] = "req-of-bob"
    await lock(server.bob, showtime, "A1", "A2", "A3")
    await server.bob.post(f"/api/showtimes/{showtime}/seats/lock/extend")
    await server.bob.delete(f"/api/showtimes/{showtime}/seats/lock?seats=A3")
    booking = await booked(server.bob, showtime, "A1")
    await pay(server.bob, booking, "demo:decline")
    await pay(server.bob, booking)
    await server.bob.delete(f"/api/bookings/{booking}")
    del server.bob.headers["X-Request-ID"]

    of_seats = ["seat.locked", "seat.locked", "seat.released", "seat.booked", "seat.released"]
    of_booking = [
        "booking.created",
        "payment.started",
        "payment.declined",
        "payment.started",
        "payment.captured",
        "booking.confirmed",
        "booking.cancelled",
        "payment.refunded",
    ]
    told = await until(server.ada, len(of_seats + of_booking), showtime=showtime)
    actions = [entry["action"] for entry in reversed(told)]
    assert [action for action in actions if action.startswith("seat.")] == of_seats
    assert [action for action in actions if not action.startswith("seat.")] == of_booking
    for entry in told:
        assert entry["target"]["showtime_id"] == showtime
        assert entry["actor"] == bob
        assert entry["request_id"] == "req-of-bob"
        assert entry["outcome"] == ("refused" if entry["action"] == "payment.declined" else "ok")
    sale = next(entry for entry in told if entry["action"] == "seat.booked")
    assert sale["detail"] == {"seats": ["A1"]}
    assert sale["target"]["booking_id"] == booking
    freed = [entry["detail"] for entry in told if entry["action"] == "seat.released"]
    assert freed == [
        {"seats": ["A1"], "reason": "cancelled"},
        {"seats": ["A3"], "reason": "released"},
    ]


async def test_what_time_does_is_told_of_the_system(brisk):
    showtime = await brisk.showtime()
    await lock(brisk.bob, showtime, "A1", "A2")
    booking = await booked(brisk.bob, showtime, "A1")

    async def all_over():
        told = await feed(brisk.ada, showtime=showtime)
        return told if len(told) >= 5 else None

    told = await eventually(all_over)
    by_system = {
        (e["action"], e["target"].get("booking_id")): e for e in told if e["actor"] == "system"
    }
    assert by_system.keys() == {
        ("seat.released", None),
        ("seat.released", booking),
        ("booking.expired", booking),
    }
    assert by_system["seat.released", None]["detail"] == {"seats": ["A2"], "reason": "expired"}
    assert by_system["seat.released", booking]["detail"] == {"seats": ["A1"], "reason": "expired"}


async def test_an_administrator_who_revokes_is_named(server):
    showtime = await server.showtime()
    await lock(server.bob, showtime, "A1")
    await server.ada.delete(f"/api/showtimes/{showtime}/seats/locks?seats=A1")
    told = {e["detail"].get("reason"): e for e in await until(server.ada, 2, showtime=showtime)}
    assert told["revoked"]["actor"]["email"] == "ada@example.com"
    assert told["revoked"]["target"]["user_id"] == await user_id(server.bob)


async def test_signing_in_and_out_is_told(server):
    eve = await user_id(server.eve)
    before = len(await until(server.ada, 1, actor=eve, action="auth.signed_in"))
    await sign_in(server.eve, "eve@example.com")
    assert (await server.eve.post("/api/auth/logout")).status_code == 204
    [newest, *_] = await until(server.ada, before + 1, actor=eve, action="auth.signed_in")
    assert newest["actor"] == {"id": eve, "email": "eve@example.com"}
    assert newest["request_id"]
    [out] = await until(server.ada, 1, actor=eve, action="auth.signed_out")
    assert out["target"] == newest["target"]


async def test_an_entry_has_these_fields_and_no_others(server):
    showtime = await server.showtime()
    await lock(server.bob, showtime, "A1")
    [entry] = await until(server.ada, 1, showtime=showtime)
    assert entry.keys() == {
        "id",
        "at",
        "actor",
        "action",
        "outcome",
        "target",
        "detail",
        "request_id",
    }


async def test_nothing_secret_is_in_it(server):
    text = (await server.ada.get("/api/admin/audit?limit=200")).text
    for client in (server.ada, server.bob):
        assert client.headers["Authorization"].removeprefix("Bearer ") not in text
        assert client.cookies["rowlock_refresh"] not in text


# -- reading it ----------------------------------------------------------------------------------


async def test_it_is_read_newest_first_in_pages(server):
    showtime = await server.showtime()
    for seat in ("A1", "A2", "A3", "A4", "A5"):
        await lock(server.bob, showtime, seat)
        await until(server.ada, int(seat[1]), showtime=showtime)
    pages, cursor = [], {}
    while True:
        query = {"showtime": showtime, "limit": 2, **cursor}
        body = (await server.ada.get("/api/admin/audit", params=query)).json()
        pages.append([entry["detail"]["seats"][0] for entry in body["items"]])
        if body["next_cursor"] is None:
            break
        cursor = {"cursor": body["next_cursor"]}
        await lock(server.bob, showtime, "B1")  # what comes meanwhile shifts no page
    assert pages == [["A5", "A4"], ["A3", "A2"], ["A1"]]


async def test_filters_narrow_alone_and_together(server):
    showtime, other = await server.showtime(), await server.showtime()
    eve = await user_id(server.eve)
    for client, where, seat in (
        (server.bob, showtime, "A1"),
        (server.eve, showtime, "A2"),
        (server.eve, other, "A3"),
    ):
        await lock(client, where, seat)
    await server.eve.delete(f"/api/showtimes/{other}/seats/lock")
    booking = await booked(server.bob, showtime, "A1")
    await until(server.ada, 3, showtime=showtime)
    await until(server.ada, 2, showtime=other)

    async def seats(**query):
        items = await feed(server.ada, **query)
        return [(e["action"], *e["detail"].get("seats", [])) for e in items]

    assert await seats(showtime=other) == [("seat.released", "A3"), ("seat.locked", "A3")]
    assert await seats(showtime=other, action="seat.locked") == [("seat.locked", "A3")]
    assert await seats(showtime=showtime, actor=eve) == [("seat.locked", "A2")]
    assert await seats(booking=booking) == [("booking.created",)]
    assert await seats(booking=booking, actor=eve) == []
    assert await seats(showtime="sho_nowhere") == []


async def test_from_is_inclusive_and_to_is_not(server):
    showtime = await server.showtime()
    for seat in ("A1", "A2", "A3"):
        await lock(server.bob, showtime, seat)
        await asyncio.sleep(0.002)
    entries = await until(server.ada, 3, showtime=showtime)
    middle = entries[1]["at"]
    assert [e["at"] for e in await feed(server.ada, showtime=showtime, **{"from": middle})] == [
        entries[0]["at"],
        middle,
    ]
    assert await feed(server.ada, showtime=showtime, to=middle) == entries[2:]
    assert await feed(server.ada, showtime=showtime, **{"from": middle, "to": middle}) == []


@pytest.mark.parametrize(
    "query",
    [
        {"from": "yesterday"},
        {"from": "2026-01-01T00:00:00"},
        {"from": "0001-01-01T00:00:00+23:59"},
        {"to": "9999-12-31T23:59:59-23:59"},
        {"action": "$where"},
        {"action": "SEAT.LOCKED"},
        {"actor": "{}"},
        {"booking": '{"$ne": null}'},
        {"showtime[$ne]": "x"},
        {"limit": "0"},
        {"limit": "201"},
        {"cursor": "W10"},  # []
        {"cursor": "Wy0xXQ"},  # [-1]
        {"cursor": "WzEwMDAwMDAwMDAwMDAwMDAwMDAwMF0"},  # [1e23, whole]
        {"cursor": "nonsense"},
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(server, query):
    problem(await server.ada.get("/api/admin/audit", params=query), 422, "invalid_request")


# -- the chain and the relay -----------------------------------------------------------------------


def relay_on(stored, **changed):
    database = stored.database
    parts = {
        "logs": AuditLogRepo(database),
        "seat_log": SeatLog(stored.redis),
        "bookings": BookingRepo(database),
        "outbox": Outbox(database),
        "users": Users(database),
        "leases": LeaseRepo(database),
    }
    return AuditRelay(**parts | changed)


async def happen(stored):
    """Something of each of the three kinds: seats, a booking, an act; returns the showtime."""
    showtime = await plan(stored.database)
    here = desk(stored)
    await here.locks.lock(ANN, showtime, ["A1", "A2"])
    await here.pay(await here.pending(showtime, "A1"))
    await Outbox(stored.database).add(AuditRecord("auth.signed_in", "ok", actor="ann"))
    return showtime


ACTIONS = sorted(
    [
        "auth.signed_in",
        "booking.confirmed",
        "booking.created",
        "payment.captured",
        "payment.started",
        "seat.booked",
        "seat.locked",
    ]
)


async def emptied(stored):
    """Nothing waits for the relay any more."""
    database = stored.database
    assert await database["audit_outbox"].count_documents({}) == 0
    assert await database["bookings"].count_documents({"audit_due": True}) == 0
    async for key in stored.redis.scan_iter("*:log"):
        assert await stored.redis.xlen(key) == 0


async def test_what_happened_is_copied_once_into_a_chain(stored):
    relay = relay_on(stored)
    before = len(await log_of(stored))
    await happen(stored)
    assert await relay.run_once() == len(ACTIONS)
    assert await relay.run_once() == 0
    await emptied(stored)
    rows = await log_of(stored)
    assert sorted(row["action"] for row in rows[before:]) == ACTIONS
    assert_chained(rows)
    times = [row["at"] for row in rows[before:]]
    assert times == sorted(times)
    await relay.stop()


@pytest.mark.parametrize("point", ["outbox.remove", "bookings.audited", "seat_log.forget"])
async def test_a_relay_that_dies_after_copying_adds_nothing_twice(stored, point):
    class Killed(Exception):
        pass

    def dying(repo, method):
        async def die(*args):
            raise Killed

        setattr(repo, method, die)
        return repo

    name, method = point.split(".")
    repos = {
        "outbox": Outbox(stored.database),
        "bookings": BookingRepo(stored.database),
        "seat_log": SeatLog(stored.redis),
    }
    before = len(await log_of(stored))
    await happen(stored)
    broken = relay_on(stored, **{name: dying(repos[name], method)})
    with pytest.raises(Killed):
        await broken.run_once()
    await broken.stop()

    heir = relay_on(stored)
    assert await heir.run_once() == 0
    await heir.stop()
    await emptied(stored)
    rows = await log_of(stored)
    assert sorted(row["action"] for row in rows[before:]) == ACTIONS
    assert_chained(rows)


async def test_an_old_timeline_that_grows_adds_only_what_is_new(stored):
    relay, here = relay_on(stored), desk(stored)
    booking = await here.pending(await plan(stored.database), "A1")
    await relay.run_once()
    before = len(await log_of(stored))
    await here.cancellations.by_buyer(ANN, booking.id)
    await relay.run_once()
    added = (await log_of(stored))[before:]
    assert sorted(row["action"] for row in added) == ["booking.cancelled", "seat.released"]
    await relay.stop()


async def test_a_timeline_that_grows_while_it_is_copied_stays_due(stored):
    here = desk(stored)
    booking = await here.pending(await plan(stored.database), "A1")

    class Late(AuditLogRepo):
        async def append(self, entries):
            await here.cancellations.by_buyer(ANN, booking.id)
            return await super().append(entries)

    late = relay_on(stored, logs=Late(stored.database))
    await late.run_once()
    await late.stop()
    assert (await stored.booking(booking.id))["audit_due"] is True
    heir = relay_on(stored)
    await heir.run_once()
    await heir.stop()
    told = [
        r["action"] for r in await log_of(stored) if r["target"].get("booking_id") == booking.id
    ]
    assert sorted(told) == ["booking.cancelled", "booking.created", "seat.released"]


async def test_one_relay_at_a_time_and_the_next_takes_over(stored):
    first, second = relay_on(stored), relay_on(stored)
    await happen(stored)
    assert await first.run_once() == len(ACTIONS)
    await happen(stored)
    assert await second.run_once() == 0, "the first one holds the lease"
    await first.stop()
    heir = relay_on(stored)
    assert await heir.run_once() == len(ACTIONS)
    await heir.stop()


async def test_a_relay_that_is_gone_without_a_word_is_outlived(stored):
    gone = relay_on(stored)
    await gone.run_once()
    await happen(stored)
    over = [{"$set": {"until": "$$NOW"}}]
    await stored.database["leases"].update_one({"_id": "audit-relay"}, over)
    heir = relay_on(stored)
    assert await heir.run_once() == len(ACTIONS)
    await heir.stop()


async def test_relays_that_all_believe_to_lead_break_nothing(stored):
    class Always(LeaseRepo):
        async def hold(self, job, holder, seconds):
            return True

    relays = [relay_on(stored, leases=Always(stored.database)) for _ in range(5)]
    before = len(await log_of(stored))
    refused = 0
    for _ in range(4):
        await happen(stored)
        outcomes = await asyncio.gather(
            *(relay.run_once() for relay in relays), return_exceptions=True
        )
        failures = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        assert {type(failure) for failure in failures} <= {BulkWriteError}
        refused += len(failures)
    await relays[0].run_once()
    await emptied(stored)
    rows = await log_of(stored)
    assert sorted(row["action"] for row in rows[before:]) == sorted(ACTIONS * 4)
    assert_chained(rows)
    assert refused, "they never met"


async def test_two_writers_never_fork_the_chain(stored):
    """Each with entries of its own: whoever is slower is refused, and may try again."""

    def entries(writer):
        at = {"at": datetime.now(UTC), "action": "test.entry"}
        return [{"_id": f"{writer}-{number}", **at} for number in range(3)]

    writers = [new_id("writer") for _ in range(5)]
    waiting, refused = list(writers), 0
    while waiting:
        outcomes = await asyncio.gather(
            *(AuditLogRepo(stored.database).append(entries(writer)) for writer in waiting),
            return_exceptions=True,
        )
        assert {type(outcome) for outcome in outcomes} <= {int, BulkWriteError}
        waiting = [
            writer
            for writer, outcome in zip(waiting, outcomes, strict=True)
            if isinstance(outcome, Exception)
        ]
        refused += len(waiting)
    rows = await log_of(stored)
    assert_chained(rows)
    added = [row["_id"] for row in rows if row["_id"].startswith("writer_")]
    assert sorted(added) == sorted(row["_id"] for writer in writers for row in entries(writer))
    assert refused, "they never met"


async def test_a_changed_and_a_missing_entry_are_found(stored):
    relay = relay_on(stored)
    await happen(stored)
    await relay.run_once()
    await relay.stop()
    rows = await log_of(stored)
    assert_chained(rows)
    for tampered in (
        [*rows[:2], {**rows[2], "actor": "system"}, *rows[3:]],
        [*rows[:2], {**rows[2], "at": rows[2]["at"] + timedelta(seconds=1)}, *rows[3:]],
        [*rows[:2], *rows[3:]],
        [{**row, "n": row["n"] - 1} for row in rows[1:]],
    ):
        with pytest.raises(AssertionError):
            assert_chained(tampered)


async def test_the_hash_of_an_entry_survives_the_store(stored):
    """Written, read back, hashed again: the same, whatever its detail holds."""
    logs, entry_id = AuditLogRepo(stored.database), new_id("act")
    [last] = (await log_of(stored))[-1:]
    detail = {"text": "Zoë {} } $ne \u0000", "number": 2**40, "none": None, "deep": [{"x": [1]}]}
    entry = {"_id": entry_id, "at": last["at"], "action": "test.entry", "detail": detail}
    assert await logs.append([entry, entry]) == 1
    assert await logs.append([entry]) == 0
    rows = await log_of(stored)
    assert_chained(rows)
    assert rows[-1]["detail"] == detail
    assert rfc3339(rows[-1]["at"]) == rfc3339(last["at"])
    await stored.database["audit_logs"].delete_one({"_id": entry_id})
