"""The house cancels a showtime: closed, everybody refunded, watchers told; whoever dies in it."""

import asyncio
from contextlib import suppress

import pytest

from server.errors import ShowtimeClosed
from server.image_repair import ImageRepair
from server.models import Caller
from server.repo.bookings import BookingRepo
from server.repo.claims import ClaimStore
from server.repo.keys import showtime_keys
from server.repo.outbox import Outbox
from server.repo.redis import Scripts
from server.repo.seats import SeatStore
from server.repo.showtimes import HouseCancellation, ShowtimeRepo
from server.repo.store_runs import StoreRunRepo
from tests.desk import ANN, BEN, CAT, Watched, desk
from tests.running import (
    HALL,
    IN_MODULE_LOOP,
    booked,
    eventually,
    lock,
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
stored = stocked()

HOUSE = Caller("ada", "req_of_the_house")
ALL_BLOCKED = dict.fromkeys(HALL.seat_ids, "x")


async def full_house(here, stored):
    """A showtime with a lock, an unpaid booking, two paid ones and one whose payment is unknown."""
    showtime = await plan(stored.database)
    await here.locks.lock(BEN, showtime, ["A1", "A2"])
    unpaid = await here.pending(showtime, "A3", caller=CAT)
    paid = [await here.pay(await here.pending(showtime, *seats)) for seats in (["B1"], ["B2"])]
    unknown = await here.pay(await here.pending(showtime, "A4"), "demo:timeout")
    return showtime, unpaid, paid, unknown


async def nothing_is_left(stored, showtime, unpaid, paid, unknown):
    rows = await stored.bookings_of(showtime)
    assert {row["status"] for row in rows} == {"cancelled"}
    assert not any("claims" in row for row in rows)
    for booking in (*paid, unknown):
        row = await stored.booking(booking.id)
        assert refunds(row) == ["done"]
        assert row["refunds"][0]["reason"] == "house"
        assert await stored.charged(booking.id) == 0
        actions = [entry["action"] for entry in row["timeline"]]
        assert actions.count("booking.cancelled") == actions.count("payment.refunded") == 1
    assert await stored.seats(showtime) == ALL_BLOCKED
    row = await stored.database["showtimes"].find_one({"_id": showtime})
    assert (row["status"], "cancellation_due" in row) == ("cancelled", False)


async def finished(here, stored, unknown):
    await stored.past_its_deadline(unknown.id)
    for _ in range(4):
        await here.reconcile()


async def test_everything_is_given_back_and_the_map_is_closed(stored):
    here = desk(stored, Watched(stored))
    showtime, *bookings = await full_house(here, stored)
    assert await here.house.order(HOUSE, showtime, "The projector is broken.") == 4
    with pytest.raises(ShowtimeClosed):
        await here.locks.lock(BEN, showtime, ["A8"])
    await finished(here, stored, bookings[-1])
    await nothing_is_left(stored, showtime, *bookings)
    assert await here.house.order(HOUSE, showtime) == 0
    outbox = stored.database["audit_outbox"]
    acts = await outbox.find({"target.showtime_id": showtime}).to_list(None)
    assert [(act["action"], act["actor"], act["detail"]) for act in acts] == [
        ("admin.showtime_cancelled", "ada", {"why": "The projector is broken."})
    ]


async def test_a_payment_of_a_cancelled_showtime_is_not_begun(stored):
    provider = Watched(stored)
    here = desk(stored, provider)
    booking = await here.pending(await plan(stored.database), "A1")
    await ShowtimeRepo(stored.database, None).cancel(_ordered(booking.showtime_id))
    fresh = desk(stored, provider)
    with pytest.raises(ShowtimeClosed):
        await fresh.pay(booking)
    assert provider.steps == []


async def test_a_booking_that_slips_through_the_closing_door_is_found(stored):
    here = desk(stored, Watched(stored))
    showtime = await plan(stored.database)
    late = desk(stored, bookings=_Late(stored.database, lambda: here.house.order(HOUSE, showtime)))
    booking = await late.pending(showtime, "A1")
    assert (await stored.booking(booking.id))["status"] == "pending"
    for _ in range(3):
        await here.reconcile()
    row = await stored.booking(booking.id)
    assert (row["status"], "claims" in row) == ("cancelled", False)
    assert await stored.seats(showtime) == ALL_BLOCKED


STEPS = [
    (ShowtimeRepo, "cancel"),
    (Outbox, "add"),
    (ShowtimeRepo, "recorded"),
    (SeatStore, "close"),
    (SeatStore, "revoke"),
    (BookingRepo, "cancel"),
    (BookingRepo, "refunded"),
    (SeatStore, "block"),
    (ShowtimeRepo, "cancelled_whole"),
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("owner", "step"), STEPS, ids=lambda value: getattr(value, "__name__", value)
)
async def test_cut_off_at_any_step_it_is_finished_by_another(
    stored, monkeypatch, owner, step, when
):
    here = desk(stored, Watched(stored))
    showtime, *bookings = await full_house(here, stored)
    genuine, struck = getattr(owner, step), []

    async def dying(self, *args, **kwargs):
        if when == "after":
            await genuine(self, *args, **kwargs)
        struck.append(step)
        raise Dead

    monkeypatch.setattr(owner, step, dying)
    await stored.past_its_deadline(bookings[-1].id)
    for attempt in (lambda: here.house.order(HOUSE, showtime), *[here.reconcile] * 4):
        with suppress(Dead):
            await attempt()
        if struck:
            break
    monkeypatch.undo()
    assert struck, "it never came to this step"
    if (step, when) == ("cancel", "before") and owner is ShowtimeRepo:
        await here.house.order(HOUSE, showtime)  # nothing was begun: she asks again
    await finished(desk(stored, Watched(stored)), stored, bookings[-1])
    await nothing_is_left(stored, showtime, *bookings)


async def test_ten_houses_at_once_do_it_once(stored):
    here = desk(stored, Watched(stored))
    showtime, *bookings = await full_house(here, stored)
    await here.house.order(HOUSE, showtime)
    desks = [desk(stored, Watched(stored)) for _ in range(10)]
    await stored.past_its_deadline(bookings[-1].id)
    for _ in range(4):
        await asyncio.gather(*(each.reconcile() for each in desks))
    await nothing_is_left(stored, showtime, *bookings)


async def test_after_a_wipe_the_map_is_still_closed(stored):
    here = desk(stored, Watched(stored))
    showtime, *bookings = await full_house(here, stored)
    await here.house.order(HOUSE, showtime)
    await finished(here, stored, bookings[-1])
    await stored.redis.flushall()
    with pytest.raises(ShowtimeClosed):
        await desk(stored).locks.lock(ANN, showtime, ["A1"])
    assert await stored.seats(showtime) == ALL_BLOCKED


async def test_a_provider_that_hangs_holds_up_nothing_but_the_money(stored):
    provider = Watched(stored)
    here = desk(stored, provider)
    showtime, *bookings = await full_house(here, stored)

    async def hang():
        await asyncio.Event().wait()

    provider.before["refund"] = hang
    await here.house.order(HOUSE, showtime)
    async with asyncio.timeout(2):
        await here.house.run_once()
    assert await here.bookings.count_claiming(showtime) == 1, "all but the unknown payment"
    provider.before.clear()
    await finished(here, stored, bookings[-1])
    await nothing_is_left(stored, showtime, *bookings)


async def test_one_showtime_that_cannot_be_cancelled_holds_up_no_other(stored, caplog):
    here = desk(stored, Watched(stored))
    bad, good = [await plan(stored.database) for _ in range(2)]
    for showtime in (bad, good):
        await here.house.order(HOUSE, showtime)
    await stored.database["showtimes"].update_one({"_id": bad}, {"$set": {"movie_id": "gone"}})
    await desk(stored).house.run_once()
    assert await stored.seats(good) == ALL_BLOCKED
    assert bad in caplog.text
    await stored.database["showtimes"].delete_one({"_id": bad})


async def test_closed_again_after_a_failover_to_a_store_that_never_heard_of_it(stored):
    here = desk(stored, Watched(stored))
    showtime = await plan(stored.database)
    await here.locks.lock(BEN, showtime, ["A1"])
    keys = showtime_keys(showtime)
    before = await stored.redis.hgetall(keys["meta_key"])
    await here.house.order(HOUSE, showtime)
    for _ in range(2):
        await here.reconcile()
    await stored.redis.delete(keys["seats_key"])
    await stored.redis.hset(keys["meta_key"], mapping=before)
    claims = ClaimStore(Scripts(stored.redis))
    repair = ImageRepair(
        ShowtimeRepo(stored.database, None),
        here.bookings,
        claims,
        here.image,
        StoreRunRepo(stored.database),
    )
    with pytest.raises(ShowtimeClosed):
        await desk(stored).pending(showtime, "A2")
    await repair.run_once()
    await here.reconcile()
    assert await stored.seats(showtime) == ALL_BLOCKED
    with pytest.raises(ShowtimeClosed):
        await here.locks.lock(BEN, showtime, ["A1"])


async def test_a_showtime_that_was_planned_as_cancelled_may_be_cancelled(server):
    showtime = await server.showtime(status="cancelled")
    answer = await server.ada.post(f"/api/admin/showtimes/{showtime}/cancel", json={})
    assert (answer.status_code, answer.json()["bookings_left"]) == (200, 0)


async def test_over_http_the_page_is_told(server):
    showtime = await server.showtime()
    booking = await booked(server.bob, showtime, "A1")
    await pay(server.bob, booking)
    await lock(server.eve, showtime, "A2")
    path = f"/api/admin/showtimes/{showtime}/cancel"
    answer = await server.ada.post(path, json={"why": "Fire alarm."})
    assert answer.status_code == 202
    assert answer.json() == {
        "showtime": {"id": showtime, "status": "cancelled"},
        "bookings_left": 1,
    }

    async def all_is_over():
        done = await server.ada.post(path, json={})
        return done.status_code == 200 and await states(server.visitor, showtime) == ALL_BLOCKED

    await eventually(all_is_over, within=10)

    async def refunded():
        mine = (await server.bob.get(f"/api/bookings/{booking}")).json()["booking"]
        return (mine["status"], mine["refund"]) == ("cancelled", "done")

    await eventually(refunded)
    problem(await lock(server.eve, showtime, "A3"), 409, "showtime_closed")

    async def audited():
        feed = await server.ada.get(
            "/api/admin/audit", params={"showtime": showtime, "action": "admin.showtime_cancelled"}
        )
        return feed.json()["items"]

    [entry] = await eventually(audited)
    assert entry["actor"]["id"] == await user_id(server.ada)
    assert entry["detail"] == {"why": "Fire alarm."}

    async def revoked():
        feed = await server.ada.get(
            "/api/admin/audit", params={"showtime": showtime, "action": "seat.released"}
        )
        return [e for e in feed.json()["items"] if e["detail"]["reason"] == "revoked"]

    [entry] = await eventually(revoked)
    assert entry["detail"]["seats"] == ["A2"]


class Dead(Exception):
    """The process ended here."""


class _Late(BookingRepo):
    """A process that is held up between the checkout and the insert."""

    def __init__(self, database, meanwhile):
        super().__init__(database)
        self._meanwhile = meanwhile

    async def insert(self, booking, entry):
        await self._meanwhile()
        return await super().insert(booking, entry)


def _ordered(showtime):
    return HouseCancellation(showtime, "ada", "req", "")
