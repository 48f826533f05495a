"""What the reconciler finishes, what it leaves alone, and that doing it twice is doing it once."""

import asyncio
from datetime import UTC, datetime

import pytest

from server import settlement
from server.errors import LockExpired
from server.models import from_ms, to_ms
from server.payments import PaymentUnknown
from server.repo.keys import showtime_keys
from server.repo.seat_answers import Claim
from tests.desk import ANN, BEN, Watched, desk
from tests.running import IN_MODULE_LOOP, plan
from tests.stored import refunds, stocked

pytestmark = IN_MODULE_LOOP

stored = stocked()

LONG_AGO = datetime.fromtimestamp(0, UTC)


async def unreachable():
    raise PaymentUnknown("the provider does not answer")


async def paying(here, stored, provider, *seats, method="demo:timeout"):
    """A booking whose payment is open, with its time over."""
    showtime = await plan(stored.database)
    booking = await here.pending(showtime, *seats or ("A1",))
    provider.before["confirm"] = None if method == "demo:timeout" else unreachable
    paid = await here.pay(booking, method)
    assert paid.status == "paying"
    provider.before.clear()
    provider.steps.clear()
    await stored.past_its_deadline(booking.id)
    return booking


def actions(row):
    return [entry["action"] for entry in row["timeline"]]


async def log_of(stored, showtime):
    """The events of a showtime that no relay has taken yet: (type, reason, booking)."""
    rows = await stored.redis.xrange(showtime_keys(showtime)["log_key"])
    return [
        (fields["type"], fields["reason"], fields["booking"])
        for _, fields in rows
        if fields["showtime"] == showtime
    ]


# -- pending -----------------------------------------------------------------------------------


async def test_a_pending_booking_past_its_deadline_expires(stored):
    here = desk(stored)
    showtime = await plan(stored.database)
    booking = await here.pending(showtime, "A1", "A2")
    await stored.past_its_deadline(booking.id)
    await here.reconcile()
    row = await stored.booking(booking.id)
    assert row["status"] == "expired"
    assert "claims" not in row
    assert "seats_due" not in row
    assert actions(row) == ["booking.created", "booking.expired"]
    assert row["timeline"][-1]["actor_id"] is None
    seats, locks, _ = await stored.image(showtime)
    assert (seats, locks) == ({}, {})
    assert (await log_of(stored, showtime))[-1] == ("seat.released", "expired", booking.id)
    with pytest.raises(LockExpired):
        await here.pay(booking)


async def test_before_its_deadline_nothing_happens_to_a_booking(stored):
    here, provider = desk(stored), Watched(stored)
    showtime = await plan(stored.database)
    await here.pending(showtime, "A1")
    await here.pay(await here.pending(showtime, "A2"))
    watched = desk(stored, provider)
    in_time = await here.pending(showtime, "A3")
    assert (await here.pay(in_time, "demo:timeout")).status == "paying"
    before = await stored.digest()
    await watched.reconciler.run_once()
    assert await stored.digest() == before
    assert provider.steps == []


# -- paying ------------------------------------------------------------------------------------


async def test_a_payment_that_was_captured_becomes_a_sale(stored):
    provider = Watched(stored)
    here = desk(stored, provider)
    booking = await paying(here, stored, provider, "A1", "B1")
    await here.reconcile()
    row = await stored.booking(booking.id)
    assert (row["status"], row["claims"]) == ("confirmed", ["A1", "B1"])
    assert actions(row)[-2:] == ["payment.captured", "booking.confirmed"]
    assert await stored.seats(booking.showtime_id) == dict.fromkeys(("A1", "B1"), f"b:{booking.id}")
    assert await stored.charged(booking.id) == 2500
    assert provider.steps == ["cancel"]


async def test_a_payment_that_never_was_is_fenced_off_and_the_booking_expires(stored):
    provider = Watched(stored)
    here = desk(stored, provider)
    booking = await paying(here, stored, provider, method="demo:approve")
    intent_id = (await stored.booking(booking.id))["intent_id"]
    await here.reconcile()
    row = await stored.booking(booking.id)
    assert row["status"] == "expired"
    assert "claims" not in row
    assert actions(row)[-2:] == ["payment.cancelled", "booking.expired"]
    assert await stored.seats(booking.showtime_id) == {}
    assert await provider.confirm(intent_id) == "cancelled", "a confirmation that comes too late"
    assert await stored.charged(booking.id) == 0


async def test_a_declined_payment_goes_back_to_pending_while_time_is_left(stored):
    provider = Watched(stored)
    here = desk(stored, provider)
    booking = await paying(here, stored, provider, method="demo:decline")
    intent_id = (await stored.booking(booking.id))["intent_id"]
    assert await provider.confirm(intent_id) == "declined"
    in_time = {"$set": {"expires_at": booking.expires_at}}
    await stored.database["bookings"].update_one({"_id": booking.id}, in_time)
    await here.reconcile()
    row = await stored.booking(booking.id)
    assert (row["status"], row["claims"]) == ("pending", ["A1"])
    assert actions(row)[-1] == "payment.declined"
    assert await stored.seats(booking.showtime_id) == {"A1": f"c:{booking.id}"}
    assert (await here.pay(booking)).status == "confirmed"


async def test_a_declined_payment_without_time_left_ends(stored):
    provider = Watched(stored)
    here = desk(stored, provider)
    booking = await paying(here, stored, provider, method="demo:decline")
    await provider.confirm((await stored.booking(booking.id))["intent_id"])
    for _ in range(2):
        await here.reconcile()
    assert (await stored.booking(booking.id))["status"] == "expired"
    assert await stored.seats(booking.showtime_id) == {}


async def test_seats_are_kept_while_the_provider_cannot_be_asked(stored):
    provider = Watched(stored)
    here = desk(stored, provider)
    booking = await paying(here, stored, provider)
    provider.before["cancel"] = unreachable
    before = await stored.image(booking.showtime_id)
    for _ in range(2):
        await here.reconcile()
    row = await stored.booking(booking.id)
    assert (row["status"], row["claims"]) == ("paying", ["A1"])
    assert await stored.image(booking.showtime_id) == before
    provider.before.clear()
    await stored.past_its_deadline(booking.id)
    await here.reconcile()
    assert (await stored.booking(booking.id))["status"] == "confirmed"


async def test_an_answer_that_is_lost_again_is_asked_for_again(stored):
    provider = Watched(stored)
    here = desk(stored, provider)
    booking = await paying(here, stored, provider, method="demo:approve")
    provider.after["cancel"] = unreachable
    await here.reconcile()
    assert (await stored.booking(booking.id))["status"] == "paying"
    provider.after.clear()
    await stored.past_its_deadline(booking.id)
    await here.reconcile()
    assert (await stored.booking(booking.id))["status"] == "expired"


async def test_a_buyer_whose_payment_comes_through_late_is_not_sold_an_expired_booking(stored):
    """The fence falls while `confirm` is still on its way."""
    provider = Watched(stored)
    here = desk(stored, provider)
    showtime = await plan(stored.database)
    booking = await here.pending(showtime, "A1")

    async def reconcile_meanwhile():
        await stored.past_its_deadline(booking.id)
        await here.reconcile()

    provider.before["confirm"] = reconcile_meanwhile
    with pytest.raises(LockExpired, match="nothing was charged"):
        await here.pay(booking)
    assert (await stored.booking(booking.id))["status"] == "expired"
    assert await stored.charged(booking.id) == 0
    assert await stored.seats(showtime) == {}


async def test_a_buyer_and_the_reconciler_may_both_confirm(stored):
    provider = Watched(stored)
    here = desk(stored, provider)
    booking = await here.pending(await plan(stored.database), "A1")

    async def reconcile_meanwhile():
        await stored.past_its_deadline(booking.id)
        await here.reconcile()

    provider.after["confirm"] = reconcile_meanwhile
    assert (await here.pay(booking)).status == "confirmed"
    row = await stored.booking(booking.id)
    assert actions(row).count("payment.captured") == 1
    assert actions(row).count("booking.confirmed") == 1
    assert await stored.charged(booking.id) == 1000


# -- a provider that stays away ------------------------------------------------------------------


async def test_it_is_asked_less_and_less_often_and_a_person_is_told_once(stored, caplog):
    provider = Watched(stored)
    here = desk(stored, provider)
    booking = await paying(here, stored, provider, method="demo:approve")
    provider.before["cancel"] = unreachable
    waits = []
    for _ in range(7):
        await stored.past_its_deadline(booking.id)
        await here.reconcile()
        row = await stored.booking(booking.id)
        waits.append((row["pay_by"] - row["updated_at"]).total_seconds())
        assert row["claims"] == ["A1"]
    assert waits == [1, 2, 4, 4, 4, 4, 4]
    await here.reconcile()
    assert provider.steps.count("cancel") == 7, "asked before its time"
    [alert] = [entry for entry in row["timeline"] if entry["action"] == "system.error"]
    assert (alert["outcome"], alert["actor_id"]) == ("error", None)
    assert alert["detail"] == {"about": "payment", "error": "PaymentUnknown"}
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert booking.id in record.getMessage()
    assert here.metrics.text().count(b'rowlock_alerts_total{reason="payment"} 1.0') == 1
    provider.before.clear()
    await stored.past_its_deadline(booking.id)
    await here.reconcile()
    assert (await stored.booking(booking.id))["status"] == "expired"


async def test_a_payment_that_the_provider_does_not_know_is_told_at_once(stored, caplog):
    provider = Watched(stored)
    here = desk(stored, provider)
    booking = await paying(here, stored, provider, method="demo:approve")
    await stored.ledger.delete_one({"_id": (await stored.booking(booking.id))["intent_id"]})
    for _ in range(2):
        await stored.past_its_deadline(booking.id)
        await here.reconcile()
    row = await stored.booking(booking.id)
    assert (row["status"], row["claims"]) == ("paying", ["A1"]), "nobody knows about the money"
    assert actions(row).count("system.error") == 1
    assert (row["pay_by"] - row["updated_at"]).total_seconds() == 30
    await stored.database["bookings"].delete_one({"_id": booking.id})


async def test_a_refund_is_tried_again_and_told_when_it_does_not_come_through(stored):
    provider = Watched(stored)
    here = desk(stored, provider)
    booking = await here.pay(await here.pending(await plan(stored.database), "A1"))
    provider.before["refund"] = unreachable
    await here.cancellations.by_buyer(ANN, booking.id)
    for _ in range(5):
        await stored.past_its_deadline(booking.id)
        await here.reconcile()
    assert actions(await stored.booking(booking.id)).count("system.error") == 1
    provider.before.clear()
    await stored.past_its_deadline(booking.id)
    await here.reconcile()
    row = await stored.booking(booking.id)
    assert (refunds(row), row["refund_due"]) == (["done"], False)
    assert await stored.charged(booking.id) == 0


async def test_a_provider_that_hangs_holds_up_nobody(stored, monkeypatch):
    monkeypatch.setattr(settlement, "ASK_SECONDS", 0.3)
    provider = Watched(stored)
    here = desk(stored, provider)
    bookings = [await paying(here, stored, provider, method="demo:approve") for _ in range(10)]

    async def hang():
        await asyncio.Event().wait()

    provider.before["cancel"] = hang
    began = asyncio.get_running_loop().time()
    await here.reconcile()
    assert asyncio.get_running_loop().time() - began < 10 * 0.3, "one after the other"
    assert {(await stored.booking(b.id))["status"] for b in bookings} == {"paying"}
    provider.before.clear()
    for booking in bookings:
        await stored.past_its_deadline(booking.id)
    await here.reconcile()
    assert {(await stored.booking(b.id))["status"] for b in bookings} == {"expired"}


async def test_hopeless_after_a_silence_is_told_all_the_same(stored):
    provider = Watched(stored)
    here = desk(stored, provider)
    booking = await paying(here, stored, provider, method="demo:approve")
    provider.before["cancel"] = unreachable
    await here.reconcile()
    provider.before.clear()
    await stored.ledger.delete_one({"_id": (await stored.booking(booking.id))["intent_id"]})
    for _ in range(3):
        await stored.past_its_deadline(booking.id)
        await here.reconcile()
    assert actions(await stored.booking(booking.id)).count("system.error") == 1
    await stored.database["bookings"].delete_one({"_id": booking.id})


async def test_a_late_answer_about_one_payment_does_not_hurry_the_next(stored):
    provider = Watched(stored)
    here = desk(stored, provider)
    first = await paying(here, stored, provider, method="demo:approve")
    asked_about = await here.bookings.get(first.id)
    entry = asked_about.timeline[0]
    await here.bookings.decline(asked_about, [entry])
    in_time = from_ms(to_ms(asked_about.created_at) + 10**9)
    await stored.database["bookings"].update_one(
        {"_id": first.id}, {"$set": {"expires_at": in_time}}
    )
    second = await here.bookings.start_payment(
        await here.bookings.get(first.id), "another intent", [entry]
    )
    before = (await stored.booking(second.id))["pay_by"]
    assert await here.bookings.postpone(asked_about, "pay_by", 1, 1, []) is None
    assert (await stored.booking(second.id))["pay_by"] == before
    await stored.database["bookings"].delete_one({"_id": first.id})


# -- one among many ------------------------------------------------------------------------------


async def test_one_hopeless_booking_keeps_no_other_waiting(stored, caplog):
    provider = Watched(stored)
    here = desk(stored, provider)
    bookings = [await paying(here, stored, provider, method="demo:approve") for _ in range(3)]
    hopeless = (await stored.booking(bookings[1].id))["intent_id"]
    await stored.ledger.delete_one({"_id": hopeless})
    unpaid = await here.pending(await plan(stored.database), "A1")
    await stored.past_its_deadline(unpaid.id)
    await here.reconcile()
    ended = [(await stored.booking(b.id))["status"] for b in [*bookings, unpaid]]
    assert ended == ["expired", "paying", "expired", "expired"]
    assert bookings[1].id in caplog.text
    await stored.database["bookings"].delete_one({"_id": bookings[1].id})


async def test_three_hundred_that_lapse_together_end_in_one_round(stored):
    here = desk(stored)
    template = await stored.booking((await here.pending(await plan(stored.database), "A1")).id)
    many = [
        {
            **template,
            "_id": f"bk_many_{n}",
            "seats": [f"Z{n}"],
            "claims": [f"Z{n}"],
            "expires_at": LONG_AGO,
        }
        for n in range(300)
    ]
    await stored.database["bookings"].insert_many(many)
    await here.reconciler.run_once()
    ended = {"_id": {"$regex": "^bk_many_"}, "status": "expired"}
    assert await stored.database["bookings"].count_documents(ended) == 300
    await stored.database["bookings"].delete_many({"_id": {"$regex": "^bk_many_"}})


async def test_a_checkout_that_cannot_be_ended_holds_up_no_other(stored):
    """The seats of the first stand under another booking's id, which comes after it."""
    here = desk(stored)
    showtime = await plan(stored.database)
    sold = await here.pay(await here.pending(showtime, "A1"))
    keys = showtime_keys(showtime)
    await stored.redis.hset(keys["seats_key"], "A1", "c:bk_nobody")
    await stored.redis.hset(keys["locks_key"], "b:bk_nobody", "ben 2 A1")
    await stored.redis.zadd(
        keys["checkouts_key"], {f"{showtime}:{sold.id}": 1, f"{showtime}:bk_nobody": 2}
    )
    await stored.database["bookings"].update_one({"_id": sold.id}, {"$set": {"seats_due": True}})
    for _ in range(2):
        await stored.past_its_deadline(sold.id)
        await here.reconcile()
    assert await stored.seats(showtime) == {"A1": f"b:{sold.id}"}


async def test_a_sale_that_cannot_be_shown_is_told(stored, caplog):
    here = desk(stored)
    showtime = await plan(stored.database)
    sold = await here.pay(await here.pending(showtime, "A1"))
    await stored.redis.hset(showtime_keys(showtime)["seats_key"], "A1", "b:bk_nobody")
    await stored.database["bookings"].update_one({"_id": sold.id}, {"$set": {"seats_due": True}})
    for _ in range(6):
        await stored.database["bookings"].update_one({"_id": sold.id}, {"$unset": {"seats_at": ""}})
        await here.reconcile()
    row = await stored.booking(sold.id)
    assert actions(row).count("system.error") == 1
    assert row["timeline"][-1]["detail"] == {"about": "seats", "error": "SeatsTaken"}
    await here.reconcile()
    assert len((await stored.booking(sold.id))["timeline"]) == len(row["timeline"])
    await stored.database["bookings"].delete_one({"_id": sold.id})


async def test_ten_reconcilers_at_once_do_it_once(stored):
    provider = Watched(stored)
    here = desk(stored, provider)
    showtime = await plan(stored.database)
    unpaid = await here.pending(showtime, "A1")
    await stored.past_its_deadline(unpaid.id)
    captured = await paying(here, stored, provider)
    refunding = await here.pay(await here.pending(showtime, "A2"))
    provider.before["refund"] = unreachable
    await here.cancellations.by_buyer(ANN, refunding.id)
    provider.before.clear()
    await stored.past_its_deadline(refunding.id)

    await asyncio.gather(*(desk(stored, provider).reconcile() for _ in range(10)))

    assert actions(await stored.booking(unpaid.id)).count("booking.expired") == 1
    assert actions(await stored.booking(captured.id)).count("booking.confirmed") == 1
    assert actions(await stored.booking(refunding.id)).count("payment.refunded") == 1
    assert await stored.charged(captured.id) == 1000
    assert await stored.charged(refunding.id) == 0
    released = [event for event in await log_of(stored, showtime) if event[0] == "seat.released"]
    assert sorted(event[2] for event in released) == sorted([unpaid.id, refunding.id])
    booked = [e for e in await log_of(stored, captured.showtime_id) if e[0] == "seat.booked"]
    assert len(booked) == 1


# -- what Redis shows ------------------------------------------------------------------------------


async def test_a_sale_that_redis_does_not_show_is_shown(stored):
    here = desk(stored)
    showtime = await plan(stored.database)
    booking = await here.pay(await here.pending(showtime, "A1"))
    await stored.redis.hset(showtime_keys(showtime)["seats_key"], "A1", f"c:{booking.id}")
    due = {"$set": {"seats_due": True}}
    await stored.database["bookings"].update_one({"_id": booking.id}, due)
    await here.reconcile()
    assert await stored.seats(showtime) == {"A1": f"b:{booking.id}"}
    assert "seats_due" not in await stored.booking(booking.id)


async def test_a_showtime_that_redis_lost_is_loaded_on_the_way(stored):
    here = desk(stored)
    showtime = await plan(stored.database)
    sold = await here.pay(await here.pending(showtime, "A1"))
    unpaid = await here.pending(showtime, "A2")
    await stored.past_its_deadline(unpaid.id)
    await stored.redis.flushdb()
    await here.reconcile()
    assert (await stored.booking(unpaid.id))["status"] == "expired"
    assert await stored.seats(showtime) == {"A1": f"b:{sold.id}"}


async def test_seats_of_a_booking_that_never_came_to_be_are_freed_after_its_time(stored):
    """Cut off between Redis and MongoDB: the checkout is there, the booking is not."""
    here = desk(stored)
    showtime = await plan(stored.database)
    await here.pending(showtime, "A4", caller=BEN)
    for booking, seat, expires_at in (("bk_late", "A1", 1), ("bk_early", "A2", 2**42)):
        await here.claims.claim(showtime, Claim(booking, "ann", [seat], False, expires_at))
    before = await stored.seats(showtime)
    await here.reconcile()
    del before["A1"]
    assert await stored.seats(showtime) == before
    assert before["A2"] == "c:bk_early"
    assert (await log_of(stored, showtime))[-1] == ("seat.released", "expired", "bk_late")


async def test_a_checkout_is_not_given_up_before_its_time(stored):
    here = desk(stored)
    showtime = await plan(stored.database)
    booking = await here.pending(showtime, "A1")
    await here.image.abandon(showtime, booking.id)
    assert await stored.seats(showtime) == {"A1": f"c:{booking.id}"}


async def test_seats_of_a_booking_that_has_ended_are_freed(stored):
    here = desk(stored)
    showtime = await plan(stored.database)
    booking = await here.pending(showtime, "A1")
    ended = {"$set": {"status": "expired"}, "$unset": {"claims": ""}}
    await stored.database["bookings"].update_one({"_id": booking.id}, ended)
    queue = showtime_keys(showtime)["checkouts_key"]
    await stored.redis.zadd(queue, {f"{showtime}:{booking.id}": 1})
    await here.reconcile()
    assert await stored.seats(showtime) == {}


async def test_seats_of_an_open_payment_are_not_freed_by_their_queue(stored):
    provider = Watched(stored)
    here = desk(stored, provider)
    showtime = await plan(stored.database)
    booking = await here.pending(showtime, "A1")
    await here.pay(booking, "demo:timeout")
    queue = showtime_keys(showtime)["checkouts_key"]
    await stored.redis.zadd(queue, {f"{showtime}:{booking.id}": 1})
    await here.reconcile()
    assert await stored.seats(showtime) == {"A1": f"c:{booking.id}"}


async def test_the_deadline_of_a_booking_is_that_of_its_lock(stored):
    here = desk(stored)
    showtime = await plan(stored.database)
    lock = await here.locks.lock(ANN, showtime, ["A1"])
    booking = await here.pending(showtime, "A1")
    row = await stored.booking(booking.id)
    assert to_ms(row["expires_at"]) == lock.expires_at
    assert row["expires_at"] == booking.expires_at == from_ms(lock.expires_at)
