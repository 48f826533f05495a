"""The order of the saga's writes, and what stands when it is cut off between two of them."""

import pytest

from server import bookings as bookings_module
from server.booking import TimelineEntry
from server.bookings import booking_id_for
from server.errors import (
    BookingState,
    IdempotencyKeyReused,
    LockExpired,
    NotFound,
    PaymentDeclined,
    SeatsUnavailable,
    StoreUnavailable,
)
from server.payments import PaymentImpossible, PaymentUnknown
from server.repo import redis
from server.repo.bookings import BookingRepo, SeatsClaimed
from server.repo.claims import ClaimStore
from server.repo.keys import showtime_keys
from server.repo.redis import Scripts
from server.repo.seat_answers import Claim
from tests.desk import ANN, BEN, CAT, Watched, desk
from tests.running import IN_MODULE_LOOP, plan
from tests.stored import refunds, stocked

pytestmark = IN_MODULE_LOOP

stored = stocked()


class Crash(Exception):
    """The process ends here."""


async def crash(*args, **kwargs):
    raise Crash


async def forget_in_redis(stored, showtime, *seats):
    """Lose what Redis knows of some seats, as a failover without its last writes would."""
    await stored.redis.hdel(showtime_keys(showtime)["seats_key"], *seats)


# -- the order ---------------------------------------------------------------------------------


async def test_the_booking_stands_before_an_intent_and_the_intent_before_money(stored):
    seen = {}
    provider = Watched(stored)
    here = desk(stored, provider)
    booking = await here.pending(await plan(stored.database), "A1", "A2")
    assert provider.steps == []

    async def look(step):
        seen[step] = await stored.booking(booking.id)

    provider.before["create_intent"] = lambda: look("create_intent")
    provider.before["confirm"] = lambda: look("confirm")
    paid = await here.pay(booking)

    assert provider.steps == ["create_intent", "confirm"]
    assert seen["create_intent"]["status"] == "pending"
    assert seen["create_intent"]["claims"] == ["A1", "A2"]
    [intent] = await stored.intents_of(booking.id)
    assert (seen["confirm"]["status"], seen["confirm"]["intent_id"]) == ("paying", intent["_id"])
    assert seen["confirm"]["timeline"][-1]["action"] == "payment.started"
    assert paid.status == "confirmed"


async def test_money_is_back_on_its_way_only_after_the_seats_were_given_up(stored):
    seen = {}
    provider = Watched(stored)
    here = desk(stored, provider)
    showtime = await plan(stored.database)
    booking = await here.pay(await here.pending(showtime, "A1"))

    async def look():
        seen.update(await stored.booking(booking.id))

    provider.before["refund"] = look
    await here.cancellations.by_buyer(ANN, booking.id)
    assert (seen["status"], refunds(seen), "claims" in seen) == ("cancelled", ["due"], False)


async def test_a_change_and_what_the_log_says_of_it_are_one_write(stored):
    here = desk(stored)
    booking = await here.pending(await plan(stored.database), "A1")
    entry = TimelineEntry("test.entry", "ok", "ann", "req_1", {"$set": "is only a word here"})
    assert await here.bookings.confirm(booking, [entry]) is None, "it is not being paid"
    assert len((await stored.booking(booking.id))["timeline"]) == 1
    paying = await here.bookings.start_payment(booking, "$intent", [entry])
    row = await stored.booking(booking.id)
    assert (paying.status, row["intent_id"], row["audit_due"]) == ("paying", "$intent", True)
    assert row["timeline"][-1]["detail"] == {"$set": "is only a word here"}
    assert row["timeline"][-1]["at"] == row["updated_at"]


# -- the last guard ------------------------------------------------------------------------------


@pytest.mark.parametrize("paid", [False, True])
async def test_what_redis_forgot_mongodb_still_refuses(stored, paid):
    """Redis grants a seat that is claimed: 409, the map is mended, nothing is charged."""
    provider = Watched(stored)
    here = desk(stored, provider)
    showtime = await plan(stored.database)
    first = await here.pending(showtime, "A1", "A2", caller=BEN)
    if paid:
        first = await here.pay(first)
    image = await stored.seats(showtime)
    await forget_in_redis(stored, showtime, "A1", "A2")
    provider.steps.clear()

    with pytest.raises(SeatsUnavailable) as refusal:
        await here.pending(showtime, "A2", "A3")
    [told] = refusal.value.fields["unavailable"]
    assert told["seat"] == "A2"
    assert told["state"] == ("booked" if paid else "locked")
    assert ("retry_in_ms" in told) is not paid
    assert told.get("retry_in_ms", 300_000) > 290_000
    assert await stored.seats(showtime) == image, "A2 is Ben's again, A3 is free"
    assert [row["_id"] for row in await stored.bookings_of(showtime)] == [first.id]
    assert provider.steps == []


async def test_a_third_booking_in_the_way_of_mending_is_no_bug(stored):
    here = desk(stored)
    showtime = await plan(stored.database)
    first = await here.pending(showtime, "A1", "A2", caller=BEN)
    await forget_in_redis(stored, showtime, "A1", "A2")
    await here.locks.lock(CAT, showtime, ["A1"])
    assert await here.claims.begin_checkout(showtime, "cat", "bk_crashed", ["A1"])
    with pytest.raises(SeatsUnavailable):
        await here.pending(showtime, "A2")
    seats = await stored.seats(showtime)
    assert "A2" not in seats
    assert [row["_id"] for row in await stored.bookings_of(showtime)] == [first.id]


async def test_redis_may_be_lost_in_the_middle_of_a_lost_race(stored):
    """Emptied between the grant and MongoDB's refusal: loaded anew, and still refused."""

    class Wiping(BookingRepo):
        async def insert(self, booking, entry):
            await stored.redis.flushdb()
            return await super().insert(booking, entry)

    here = desk(stored)
    showtime = await plan(stored.database)
    first = await here.pending(showtime, "A1", caller=BEN)
    await forget_in_redis(stored, showtime, "A1")
    with pytest.raises(SeatsUnavailable):
        await desk(stored, bookings=Wiping(stored.database)).pending(showtime, "A1")
    assert await stored.seats(showtime) == {"A1": f"c:{first.id}"}


async def test_a_rival_that_has_let_go_meanwhile_is_told_as_a_moment_of_trouble(stored):
    class Refusing(BookingRepo):
        async def insert(self, booking, entry):
            raise SeatsClaimed

    showtime = await plan(stored.database)
    with pytest.raises(StoreUnavailable):
        await desk(stored, bookings=Refusing(stored.database)).saga.create(
            ANN, showtime, ["A1"], "rival"
        )
    assert await stored.seats(showtime) == {}
    booking = await desk(stored).saga.create(ANN, showtime, ["A1"], "rival")
    assert await stored.seats(showtime) == {"A1": f"c:{booking.id}"}


async def test_redis_may_be_lost_before_the_booking_is_stored(stored):
    class Wiping(BookingRepo):
        async def insert(self, booking, entry):
            await stored.redis.flushdb()
            return await super().insert(booking, entry)

    showtime = await plan(stored.database)
    booking = await desk(stored, bookings=Wiping(stored.database)).pending(showtime, "A1")
    assert await stored.seats(showtime) == {"A1": f"c:{booking.id}"}
    assert "seats_due" not in await stored.booking(booking.id)


async def test_after_a_sale_a_third_booking_in_the_way_delays_only_the_map(stored):
    here = desk(stored)
    showtime = await plan(stored.database)
    booking = await here.pending(showtime, "A1")
    await forget_in_redis(stored, showtime, "A1")
    await here.locks.lock(CAT, showtime, ["A1"])
    assert await here.claims.begin_checkout(showtime, "cat", "bk_crashed", ["A1"])
    assert (await here.pay(booking)).status == "confirmed"
    assert (await stored.booking(booking.id))["seats_due"] is True
    await here.claims.release(showtime, "bk_crashed", ["A1"], reason="expired")
    await here.reconcile()
    assert await stored.seats(showtime) == {"A1": f"b:{booking.id}"}
    assert "seats_due" not in await stored.booking(booking.id)


# -- cut off in the middle -----------------------------------------------------------------------


async def test_cut_off_before_the_booking_is_stored_a_repeat_finishes(stored):
    class Crashing(BookingRepo):
        insert = crash

    showtime = await plan(stored.database)
    with pytest.raises(Crash):
        await desk(stored, bookings=Crashing(stored.database)).saga.create(
            ANN, showtime, ["A1"], "cut-off"
        )
    assert await stored.bookings_of(showtime) == []
    booking = await desk(stored).saga.create(ANN, showtime, ["A1"], "cut-off")
    assert await stored.seats(showtime) == {"A1": f"c:{booking.id}"}
    assert (await stored.booking(booking.id))["claims"] == ["A1"]


async def test_cut_off_before_the_booking_is_stored_a_repeat_may_come_too_late(stored):
    showtime = await plan(stored.database)
    here = desk(stored)
    over = Claim(booking_id_for("ann", "late"), "ann", ["A1"], booked=False, expires_at=1)
    await here.locks.mine(ANN, showtime)  # loads the showtime
    await here.claims.claim(showtime, over)
    with pytest.raises(LockExpired):
        await here.saga.create(ANN, showtime, ["A1"], "late")
    assert await stored.bookings_of(showtime) == []


async def test_cut_off_after_the_booking_is_stored_a_repeat_finds_it(stored):
    here = desk(stored)
    showtime = await plan(stored.database)
    first = await here.saga.create(ANN, showtime, ["A1"], "once")
    again = await here.saga.create(ANN, showtime, ["A1"], "once")
    assert (again.id, again.status) == (first.id, "pending")
    assert len(await stored.bookings_of(showtime)) == 1


async def test_a_key_that_made_a_booking_makes_no_other_one(stored):
    """Even when the answer under it was forgotten, which happens after 72 hours."""
    here = desk(stored)
    showtime, other = await plan(stored.database), await plan(stored.database)
    await here.saga.create(ANN, showtime, ["A1"], "mine")
    for asked in ((showtime, ["A2"]), (other, ["A1"])):
        with pytest.raises(IdempotencyKeyReused):
            await here.saga.create(ANN, *asked, "mine")
    assert (await stored.seats(showtime)).keys() == {"A1"}
    assert await stored.bookings_of(other) == []
    assert (await here.saga.create(BEN, other, ["A1"], "mine")).user_id == "ben"


async def test_a_provider_that_opens_no_intent_leaves_the_booking_pending(stored):
    provider = Watched(stored)
    here = desk(stored, provider)
    booking = await here.pending(await plan(stored.database), "A1")
    provider.before["create_intent"] = crash
    with pytest.raises(StoreUnavailable, match="Nothing was charged"):
        await here.pay(booking)
    assert (await stored.booking(booking.id))["status"] == "pending"
    assert provider.steps == ["create_intent"]
    provider.before.clear()
    assert (await here.pay(booking)).status == "confirmed"


async def test_a_provider_that_will_not_open_an_intent_has_declined(stored):
    async def never():
        raise PaymentImpossible("no such card")

    provider = Watched(stored)
    here = desk(stored, provider)
    booking = await here.pending(await plan(stored.database), "A1")
    provider.before["create_intent"] = never
    with pytest.raises(PaymentDeclined):
        await here.pay(booking)
    row = await stored.booking(booking.id)
    assert (row["status"], row["timeline"][-1]["action"]) == ("pending", "payment.declined")
    provider.before.clear()
    assert (await here.pay(booking)).status == "confirmed"


async def test_cards_are_not_to_be_tried_out(stored, monkeypatch):
    monkeypatch.setattr(bookings_module, "MAX_PAYMENTS", 3)
    provider = Watched(stored)
    here = desk(stored, provider)
    booking = await here.pending(await plan(stored.database), "A1")
    for _ in range(5):
        with pytest.raises(PaymentDeclined):
            await here.pay(booking, "demo:decline")
    assert provider.steps.count("create_intent") == 3


async def test_cut_off_before_the_intent_is_stored_no_money_moves(stored):
    class Crashing(BookingRepo):
        start_payment = crash

    provider = Watched(stored)
    here = desk(stored, provider)
    booking = await here.pending(await plan(stored.database), "A1")
    cut_off = desk(stored, provider, bookings=Crashing(stored.database))
    with pytest.raises(Crash):
        await cut_off.saga.pay(ANN, booking.id, "demo:approve", "first")
    assert provider.steps == ["create_intent"]
    assert await stored.charged(booking.id) == 0

    with pytest.raises(PaymentDeclined):
        await here.saga.pay(ANN, booking.id, "demo:decline", "second")
    assert await stored.charged(booking.id) == 0, "the first method must not be charged instead"
    assert (await here.saga.pay(ANN, booking.id, "demo:approve", "first")).status == "confirmed"
    assert await stored.charged(booking.id) == 1000


async def test_cut_off_after_the_sale_a_repeat_is_told_of_it(stored):
    """Nothing was answered, so the same payment comes again: it is made, and not made twice."""
    provider = Watched(stored)
    here = desk(stored, provider)
    booking = await here.pending(await plan(stored.database), "A1")
    for _ in range(2):
        paid = await here.saga.pay(ANN, booking.id, "demo:approve", "same")
        assert paid.status == "confirmed"
    assert provider.steps == ["create_intent", "confirm"]
    for method, key in (("demo:approve", "another"), ("demo:slow", "same")):
        with pytest.raises(BookingState):
            await here.saga.pay(ANN, booking.id, method, key)
    assert await stored.charged(booking.id) == 1000


@pytest.mark.parametrize("failure", [PaymentUnknown, OSError, Crash])
async def test_an_outcome_that_nobody_knows_is_not_a_failure(stored, failure):
    async def fails():
        raise failure("no answer")

    provider = Watched(stored)
    here = desk(stored, provider)
    showtime = await plan(stored.database)
    booking = await here.pending(showtime, "A1")
    provider.before["confirm"] = fails
    assert (await here.pay(booking)).status == "paying"
    row = await stored.booking(booking.id)
    assert (row["status"], row["claims"]) == ("paying", ["A1"])
    assert await stored.seats(showtime) == {"A1": f"c:{booking.id}"}


async def test_without_redis_a_sale_stands_and_is_shown_later(stored):
    gone = redis.connect("redis://127.0.0.1:1/0")
    here = desk(stored)
    showtime = await plan(stored.database)
    booking = await here.pending(showtime, "A1")
    apart = desk(stored, claims=ClaimStore(Scripts(gone)))
    assert (await apart.pay(booking)).status == "confirmed"
    assert (await stored.booking(booking.id))["seats_due"] is True
    assert await stored.seats(showtime) == {"A1": f"c:{booking.id}"}
    await here.reconcile()
    assert await stored.seats(showtime) == {"A1": f"b:{booking.id}"}
    assert "seats_due" not in await stored.booking(booking.id)
    await gone.aclose()


async def test_without_redis_nothing_is_booked(stored):
    gone = redis.connect("redis://127.0.0.1:1/0")
    showtime = await plan(stored.database)
    with pytest.raises(StoreUnavailable):
        await desk(stored, claims=ClaimStore(Scripts(gone))).pending(showtime, "A1")
    assert await stored.bookings_of(showtime) == []
    await gone.aclose()


async def test_a_refund_that_fails_stays_due(stored):
    provider = Watched(stored)
    here = desk(stored, provider)
    showtime = await plan(stored.database)
    booking = await here.pay(await here.pending(showtime, "A1"))
    provider.before["refund"] = crash
    cancelled = await here.cancellations.by_buyer(ANN, booking.id)
    assert (cancelled.status, cancelled.refund) == ("cancelled", "due")
    assert await stored.seats(showtime) == {}
    assert await stored.charged(booking.id) == 1000
    provider.before.clear()
    for _ in range(2):
        await stored.past_its_deadline(booking.id)
        await here.reconcile()
    assert await stored.charged(booking.id) == 0
    row = await stored.booking(booking.id)
    assert refunds(row) == ["done"]
    assert [e["action"] for e in row["timeline"]].count("payment.refunded") == 1


# -- time and strangers ----------------------------------------------------------------------------


async def test_time_is_over_when_mongodb_says_so(stored):
    provider = Watched(stored)
    here = desk(stored, provider)
    booking = await here.pending(await plan(stored.database), "A1")
    await stored.past_its_deadline(booking.id)
    with pytest.raises(LockExpired):
        await here.pay(booking)
    assert "confirm" not in provider.steps
    assert await stored.charged(booking.id) == 0


async def test_a_payment_that_began_in_time_may_end_late(stored):
    provider = Watched(stored)
    here = desk(stored, provider)
    booking = await here.pending(await plan(stored.database), "A1")
    provider.before["confirm"] = lambda: stored.past_its_deadline(booking.id)
    assert (await here.pay(booking)).status == "confirmed"


async def test_strangers_are_told_nothing(stored):
    here = desk(stored)
    booking = await here.pending(await plan(stored.database), "A1")
    for call in (
        here.saga.get(BEN, booking.id),
        here.cancellations.by_buyer(BEN, booking.id),
        here.saga.pay(BEN, booking.id, "demo:approve", "key"),
    ):
        with pytest.raises(NotFound):
            await call
    assert await stored.charged(booking.id) == 0
