"""Cancelling: whole bookings and single seats, by buyer and administrator, and the money for it."""

import asyncio
from datetime import timedelta

import pytest

from server.booking import Booking
from server.errors import BookingState, NotFound, UnknownSeats
from server.repo.bookings import BookingRepo
from tests.desk import ANN, BEN, Watched, desk
from tests.running import (
    IN_MODULE_LOOP,
    book,
    booked,
    pay,
    plan,
    problem,
    served,
    states,
    user_id,
)
from tests.stored import refunds, stocked

pytestmark = IN_MODULE_LOOP

server = served()
strict = served("strict", refund_hours=2)
stored = stocked()


async def sold(here, stored, *seats):
    return await here.pay(await here.pending(await plan(stored.database), *seats))


async def confirmed(client, showtime, *seats):
    booking = await booked(client, showtime, *seats)
    assert (await pay(client, booking)).status_code == 200
    return booking


def of_booking(row):
    return [e["action"] for e in row["timeline"]]


# -- single seats ---------------------------------------------------------------------------------


async def test_one_seat_of_three_is_given_back(server):
    showtime = await server.showtime()
    booking = await confirmed(server.bob, showtime, "A1", "A2", "B1")
    answer = await server.bob.delete(f"/api/bookings/{booking}?seats=B1")
    assert answer.status_code == 200, answer.text
    told = answer.json()["booking"]
    assert (told["status"], told["seats"], told["cancelled_seats"]) == (
        "confirmed",
        ["A1", "A2"],
        ["B1"],
    )
    assert told["amount"] == {"currency": "EUR", "minor": 2000}
    assert told["refunds"] == [
        {"seats": ["B1"], "amount": {"currency": "EUR", "minor": 1500}, "status": "done"}
    ]
    row = await server.stored.booking(booking)
    assert (row["claims"], row.get("seats_due", False)) == (
        ["A1", "A2"],
        False,
    )
    assert await server.stored.charged(booking) == 2000
    assert await states(server.visitor, showtime) == {"A1": "b", "A2": "b"}
    assert (await book(server.eve, showtime, "B1")).status_code == 201


async def test_seats_are_given_back_one_by_one_until_nothing_is_left(stored):
    here = desk(stored, Watched(stored))
    booking = await sold(here, stored, "A1", "B1", "A3")
    for seat, left in (("B1", 2000), ("A1", 1000), ("A3", 0)):
        now = await here.cancellations.by_buyer(ANN, booking.id, [seat])
        assert await stored.charged(booking.id) == left
    assert now.status == "cancelled"
    row = await stored.booking(booking.id)
    assert "claims" not in row
    assert refunds(row) == ["done"] * 3
    assert [refund["key"] for refund in row["refunds"]] == [
        f"refund:{booking.id}:0",
        f"refund:{booking.id}:1",
        f"refund:{booking.id}",
    ]
    assert await stored.seats(booking.showtime_id) == {}
    assert of_booking(row).count("booking.cancelled") == 3
    assert of_booking(row).count("payment.refunded") == 3


async def test_a_repeat_gives_nothing_back_twice(stored):
    here = desk(stored, Watched(stored))
    booking = await sold(here, stored, "A1", "A2")
    for _ in range(3):
        now = await here.cancellations.by_buyer(ANN, booking.id, ["A2"])
        assert (now.status, now.seats) == ("confirmed", ["A1"])
    assert await stored.charged(booking.id) == 1000
    for _ in range(2):
        assert (await here.cancellations.by_buyer(ANN, booking.id)).status == "cancelled"
        assert (await here.cancellations.by_buyer(ANN, booking.id, ["A1"])).status == "cancelled"
    assert await stored.charged(booking.id) == 0
    assert refunds(await stored.booking(booking.id)) == ["done", "done"]


async def test_many_cancellations_at_once_are_each_done_once(stored):
    here = desk(stored, Watched(stored))
    for _ in range(5):
        seats = [f"A{n}" for n in range(1, 6)]
        booking = await sold(here, stored, *seats)
        asked = [[seat] for seat in seats[1:]] * 3
        ends = await asyncio.gather(
            *(here.cancellations.by_buyer(ANN, booking.id, some) for some in asked),
            return_exceptions=True,
        )
        assert {type(end) for end in ends} <= {Booking, BookingState}, "too much at once"
        for seat in seats[1:]:
            await here.cancellations.by_buyer(ANN, booking.id, [seat])
        row = await stored.booking(booking.id)
        assert (row["status"], row["claims"]) == ("confirmed", ["A1"])
        assert await stored.charged(booking.id) == 1000
        assert await stored.seats(booking.showtime_id) == {"A1": f"b:{booking.id}"}
        given_back = [seat for refund in row["refunds"] for seat in refund["seats"]]
        assert sorted(given_back) == seats[1:]


async def test_seats_that_were_never_in_the_booking_are_refused(stored):
    here = desk(stored, Watched(stored))
    booking = await sold(here, stored, "A1", "A2")
    with pytest.raises(UnknownSeats):
        await here.cancellations.by_buyer(ANN, booking.id, ["A1", "A3"])
    assert (await stored.booking(booking.id))["claims"] == ["A1", "A2"]


async def test_an_unpaid_booking_goes_whole_or_not_at_all(server):
    showtime = await server.showtime()
    booking = await booked(server.bob, showtime, "A1", "A2")
    refusal = await server.bob.delete(f"/api/bookings/{booking}?seats=A1")
    assert problem(refusal, 409, "booking_state")["booking_status"] == "pending"
    assert (await server.stored.booking(booking))["claims"] == ["A1", "A2"]
    assert (await server.bob.delete(f"/api/bookings/{booking}?seats=A1,A2")).status_code == 200
    assert await server.stored.seats(showtime) == {}


async def test_the_same_key_still_finds_a_booking_that_gave_seats_back(server):
    showtime = await server.showtime()
    first = await book(server.bob, showtime, "A1", "A2", key="gave-one-back")
    booking = first.json()["booking"]["id"]
    await pay(server.bob, booking)
    await server.bob.delete(f"/api/bookings/{booking}?seats=A2")
    await server.stored.database["idempotency"].delete_many({})  # as after 72 h
    again = await book(server.bob, showtime, "A1", "A2", key="gave-one-back")
    assert (again.status_code, again.json()["booking"]["id"]) == (201, booking)
    assert again.json()["booking"]["seats"] == ["A1"]


async def test_late_news_of_the_whole_booking_does_not_take_the_seat_again(stored):
    """Who read the booking before the seat was given back shows it after: eve has it by then."""
    here = desk(stored, Watched(stored))
    booking = await sold(here, stored, "A1", "A2")
    before = await here.bookings.get(booking.id)
    await here.cancellations.by_buyer(ANN, booking.id, ["A2"])
    await here.locks.lock(BEN, booking.showtime_id, ["A2"])
    await here.image.show(before)
    assert await stored.seats(booking.showtime_id) == {"A1": f"b:{booking.id}", "A2": "l:ben"}


async def test_a_seat_that_redis_was_not_told_of_is_freed_by_the_reconciler(stored):
    here = desk(stored, Watched(stored))
    booking = await sold(here, stored, "A1", "A2")
    entry = booking.timeline[0]
    await here.bookings.give_back(booking, ["A2"], "buyer", [entry])  # and the process dies
    assert await stored.seats(booking.showtime_id) == {
        "A1": f"b:{booking.id}",
        "A2": f"b:{booking.id}",
    }
    for _ in range(2):
        await here.reconcile()
    assert await stored.seats(booking.showtime_id) == {"A1": f"b:{booking.id}"}
    assert await stored.charged(booking.id) == 1000


async def test_a_booking_from_before_prices_were_kept_can_be_read_and_given_back(server):
    showtime = await server.showtime()
    booking = await confirmed(server.bob, showtime, "A1", "A2", "B1")
    where = {"_id": booking}
    await server.stored.database["bookings"].update_one(where, {"$unset": {"prices": ""}})
    told = (await server.bob.get(f"/api/bookings/{booking}")).json()["booking"]
    assert [price["minor"] for price in told["prices"].values()] == [1167, 1167, 1166]
    await server.bob.delete(f"/api/bookings/{booking}?seats=B1")
    assert await server.stored.charged(booking) == 2334
    await server.bob.delete(f"/api/bookings/{booking}")
    assert await server.stored.charged(booking) == 0


async def test_seats_that_were_free_of_charge_need_no_provider(stored):
    provider = Watched(stored)
    here = desk(stored, provider)
    booking = await sold(here, stored, "A1", "A2")
    where, free = {"_id": booking.id}, {"prices.A2": 0, "prices.A1": 1000}
    await stored.database["bookings"].update_one(where, {"$set": free})
    await here.cancellations.by_buyer(ANN, booking.id, ["A2"])
    assert refunds(await stored.booking(booking.id)) == ["done"]
    assert "refund" not in provider.steps


# -- the policy -----------------------------------------------------------------------------------


async def test_until_two_hours_before_and_not_later(strict):
    early, late = [await strict.showtime(timedelta(hours=h)) for h in (2.01, 1.99)]
    in_time, too_late = [await confirmed(strict.bob, each, "A1") for each in (early, late)]
    assert (await strict.bob.delete(f"/api/bookings/{in_time}")).status_code == 200
    refusal = problem(await strict.bob.delete(f"/api/bookings/{too_late}"), 409, "booking_state")
    assert refusal["booking_status"] == "confirmed"
    assert await strict.stored.charged(in_time) == 0
    assert await strict.stored.charged(too_late) == 1000
    row = (await strict.stored.booking(too_late))["status"]
    assert row == "confirmed"


async def test_a_booking_that_is_paid_while_it_is_cancelled_is_held_to_the_policy(stored):
    here = desk(stored, Watched(stored), refund_hours=48)
    booking = await here.pending(await plan(stored.database), "A1")

    class Slow(BookingRepo):
        async def cancel(self, *args):
            if (await stored.booking(booking.id))["status"] == "pending":
                await here.pay(booking)
            return await super().cancel(*args)

    slow = desk(stored, Watched(stored), refund_hours=48, bookings=Slow(stored.database))
    with pytest.raises(BookingState):
        await slow.cancellations.by_buyer(ANN, booking.id)
    assert (await stored.booking(booking.id))["status"] == "confirmed"
    assert await stored.charged(booking.id) == 1000


async def test_an_unpaid_booking_goes_at_any_time(strict):
    showtime = await strict.showtime(timedelta(hours=1))
    booking = await booked(strict.bob, showtime, "A1")
    assert (await strict.bob.delete(f"/api/bookings/{booking}")).status_code == 200


# -- administrators -------------------------------------------------------------------------------


async def test_an_administrator_cancels_anybodys_booking_at_any_time(strict):
    showtime = await strict.showtime(timedelta(hours=1))
    booking = await confirmed(strict.bob, showtime, "A1", "A2")
    path = f"/api/admin/bookings/{booking}/cancel"
    one = await strict.ada.post(path, json={"seats": ["A2"], "why": "The seat is broken."})
    assert (one.status_code, one.json()["booking"]["seats"]) == (200, ["A1"])
    whole = await strict.ada.post(path, json={})
    assert (whole.status_code, whole.json()["booking"]["status"]) == (200, "cancelled")
    assert await strict.stored.charged(booking) == 0
    row = await strict.stored.booking(booking)
    cancelled = [entry for entry in row["timeline"] if entry["action"] == "booking.cancelled"]
    assert [entry["detail"] for entry in cancelled] == [
        {"seats": ["A2"], "by": "admin", "why": "The seat is broken."},
        {"by": "admin"},
    ]
    assert {entry["actor_id"] for entry in cancelled} == {await user_id(strict.ada)}
    assert {refund["reason"] for refund in row["refunds"]} == {"admin"}


@pytest.mark.parametrize("what", ["bookings", "showtimes"])
async def test_nobody_else_may(server, what):
    showtime = await server.showtime()
    booking = await confirmed(server.bob, showtime, "A1")
    path = f"/api/admin/{what}/{booking if what == 'bookings' else showtime}/cancel"
    problem(await server.visitor.post(path, json={}), 401, "unauthenticated")
    problem(await server.bob.post(path, json={}), 403, "forbidden")
    assert (await server.stored.booking(booking))["status"] == "confirmed"
    problem(await server.ada.post(f"/api/admin/{what}/nothing/cancel", json={}), 404, "not_found")


async def test_another_persons_booking_is_not_there_to_be_cancelled(stored):
    here = desk(stored, Watched(stored))
    booking = await sold(here, stored, "A1")
    with pytest.raises(NotFound):
        await here.cancellations.by_buyer(BEN, booking.id, ["A1"])
    with pytest.raises(NotFound):
        await here.cancellations.by_admin(BEN, "bk_nothing")


async def test_what_is_being_paid_or_has_ended_cannot_be_cancelled(stored):
    provider = Watched(stored)
    here = desk(stored, provider)
    booking = await here.pending(await plan(stored.database), "A1")
    paying = await here.pay(booking, "demo:timeout")
    assert paying.status == "paying"
    with pytest.raises(BookingState):
        await here.cancellations.by_admin(ANN, booking.id)
    expired = await here.pending(await plan(stored.database), "A1")
    await stored.past_its_deadline(expired.id)
    await here.reconcile()
    with pytest.raises(BookingState):
        await here.cancellations.by_buyer(ANN, expired.id)
