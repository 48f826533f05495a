"""`rowlock check` names every broken promise, each broken here by hand."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from server import check as check_module
from server.booking import Booking, TimelineEntry
from server.check import InvariantCheck
from server.models import Money, from_ms
from server.repo.audit_logs import AuditLogRepo
from server.repo.booking_rows import claim_of
from server.repo.bookings import BookingRepo
from server.repo.claims import ClaimStore
from server.repo.demo_payments import DemoPaymentRepo
from server.repo.keys import showtime_keys
from server.repo.layouts import LayoutRepo
from server.repo.mongo import Database
from server.repo.redis import Redis, Scripts, connect
from server.repo.showtimes import ShowtimeRepo
from tests.seat_stores import SHOWTIME, Stores

AMOUNT = Money(currency="EUR", minor=2400)
SEATS = showtime_keys(SHOWTIME)["seats_key"]


@pytest.fixture
async def redis(valkey_url: str) -> AsyncIterator[Redis]:
    redis = connect(valkey_url)
    yield redis
    await redis.aclose()


@pytest.fixture
async def check(
    redis: Redis, database: Database, monkeypatch: pytest.MonkeyPatch
) -> InvariantCheck:
    """A check over one showtime with one confirmed booking of A1 and A2, and two audit entries."""
    monkeypatch.setattr(check_module, "SECOND_LOOK_SECONDS", 0.0)
    await database["showtimes"].insert_one({"_id": SHOWTIME})
    bookings, ledger, logs = (
        BookingRepo(database),
        DemoPaymentRepo(database),
        AuditLogRepo(database),
    )
    booking = Booking(
        id="bk_1",
        showtime_id=SHOWTIME,
        user_id="ann",
        seats=["A1", "A2"],
        status="pending",
        amount=AMOUNT,
        prices={"A1": 1200, "A2": 1200},
        created_at=from_ms(1_000),
        expires_at=from_ms(2**42),
        remaining_ms=0,
        claims=True,
    )
    entry = TimelineEntry("test", "ok", "ann")
    assert await bookings.insert(booking, entry)
    await ledger.create("intent_1", AMOUNT, "demo:approve")
    assert await ledger.settle("intent_1", "captured") == "captured"
    paying = await bookings.start_payment(booking, "intent_1", [entry])
    assert paying is not None
    confirmed = await bookings.confirm(paying, [entry])
    assert confirmed is not None
    stores = Stores(redis, ttl_seconds=300)
    await stores.load(claims=[claim_of(confirmed)])
    row = {"at": from_ms(1_000), "actor": "system", "action": "test", "detail": {"seats": ["A1"]}}
    await logs.append([{**row, "_id": "one"}, {**row, "_id": "two"}, {**row, "_id": "three"}])
    showtimes = ShowtimeRepo(database, LayoutRepo(database))
    claims = ClaimStore(Scripts(redis))
    return InvariantCheck(showtimes, bookings, claims, logs, ledger)


async def test_stores_in_order_break_nothing(check: InvariantCheck) -> None:
    assert await check.run() == []


async def test_a_sold_seat_that_redis_shows_free(check: InvariantCheck, redis: Redis) -> None:
    await redis.hdel(SEATS, "A2")
    assert await check.run() == [f"{SHOWTIME} A2: MongoDB says booked by bk_1, Redis says nobody's"]


async def test_a_seat_that_redis_shows_as_anothers(check: InvariantCheck, redis: Redis) -> None:
    await redis.hset(SEATS, mapping={"A1": "b:bk_9", "B1": "b:bk_9"})
    assert await check.run() == [
        f"{SHOWTIME} A1: MongoDB says booked by bk_1, Redis says booked by bk_9",
        f"{SHOWTIME} B1: MongoDB says nobody's, Redis says booked by bk_9",
    ]


async def test_a_checkout_and_a_payment_under_way_are_no_violations(
    check: InvariantCheck, redis: Redis, database: Database
) -> None:
    await redis.hset(SEATS, "B1", "c:bk_9")
    assert await check.run() == []
    await database["bookings"].update_one({"_id": "bk_1"}, {"$set": {"status": "paying"}})
    await redis.hset(SEATS, mapping={"A1": "c:bk_1", "A2": "c:bk_1"})
    assert await check.run() == []


async def test_a_showtime_that_is_not_loaded_is_no_violation(
    check: InvariantCheck, redis: Redis
) -> None:
    await redis.flushall()
    assert await check.run() == []


async def test_a_seat_sold_twice(check: InvariantCheck, database: Database) -> None:
    await database["bookings"].drop_index("claims_guard")
    await database["bookings"].insert_one(
        {**(await database["bookings"].find_one({}) or {}), "_id": "bk_2", "status": "pending"}
    )
    violations = await check.run()
    assert f"{SHOWTIME} A1: claimed by 2 bookings" in violations


async def test_claims_that_do_not_fit_the_status(check: InvariantCheck, database: Database) -> None:
    await database["bookings"].update_one({}, {"$set": {"claims": ["A1"]}})
    assert await check.run() == ["booking bk_1: its claims do not fit its status"]


async def test_money_without_a_sale(check: InvariantCheck, database: Database) -> None:
    await DemoPaymentRepo(database).create("intent_2", AMOUNT, "demo:approve")
    await DemoPaymentRepo(database).settle("intent_2", "captured")
    assert await check.run() == ["EUR: 2400 sold, 4800 kept by the provider"]
    assert await DemoPaymentRepo(database).refund("intent_2", "refund:bk_2", AMOUNT)
    assert await check.run() == []


async def test_money_that_is_due_back_is_still_kept(
    check: InvariantCheck, database: Database
) -> None:
    bookings = BookingRepo(database)
    booking = await bookings.get("bk_1")
    assert booking
    given = await bookings.give_back(booking, ["A2"], "buyer", [TimelineEntry("test", "ok", "ann")])
    assert given
    redis_says = f"{SHOWTIME} A2: MongoDB says nobody's, Redis says booked by bk_1"
    assert await check.run() == [redis_says], "the money is right, the map is not yet"
    await database["bookings"].update_one({}, {"$set": {"refunds.0.amount.minor": 1100}})
    money = "EUR: 1200 sold and 1100 to be given back, 2400 kept by the provider"
    assert await check.run() == [redis_says, money]


async def test_an_audit_entry_changed_by_hand(check: InvariantCheck, database: Database) -> None:
    await database["audit_logs"].update_one({"_id": "two"}, {"$set": {"detail.seats": ["A9"]}})
    assert await check.run() == ["audit: entry 2 (two) was changed"]


async def test_an_audit_entry_changed_with_its_hash(
    check: InvariantCheck, database: Database
) -> None:
    """Who mends the hash breaks the link of the next entry."""
    row = await database["audit_logs"].find_one({"_id": "two"})
    assert row is not None
    row["detail"] = {"seats": ["A9"]}
    row["hash"] = check_module.digest(row)
    await database["audit_logs"].replace_one({"_id": "two"}, row)
    assert await check.run() == ["audit: entry 3 (three) does not follow the one before it"]


async def test_an_audit_entry_that_is_gone(check: InvariantCheck, database: Database) -> None:
    await database["audit_logs"].delete_one({"_id": "two"})
    assert await check.run() == ["audit: entry 2 is missing"]


async def test_the_newest_audit_entries_that_are_gone(
    check: InvariantCheck, database: Database
) -> None:
    await database["audit_logs"].delete_many({"n": {"$gt": 1}})
    gone = "audit: the entries after 1 are missing, up to 3"
    assert await check.run() == [gone]
    entry = {"_id": "four", "at": from_ms(4_000), "action": "test"}
    assert await AuditLogRepo(database).append([entry]) == 1
    row = await database["audit_logs"].find_one({"_id": "four"})
    assert row is not None
    assert row["n"] == 4, "their numbers are not given away again"
    assert await check.run() == ["audit: entry 2 is missing"]


async def test_the_newest_audit_entry_changed_with_its_hash(
    check: InvariantCheck, database: Database
) -> None:
    row = await database["audit_logs"].find_one({"_id": "three"})
    assert row is not None
    row["detail"] = {"seats": ["A9"]}
    row["hash"] = check_module.digest(row)
    await database["audit_logs"].replace_one({"_id": "three"}, row)
    assert await check.run() == ["audit: entry 3 (three) is not the one that was written"]


async def test_what_heals_meanwhile_is_no_violation(
    check: InvariantCheck, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_module, "SECOND_LOOK_SECONDS", 0.3)
    await redis.hdel(SEATS, "A2")
    looking = asyncio.create_task(check.run())
    await asyncio.sleep(0.15)
    await redis.hset(SEATS, "A2", "b:bk_1")
    assert await looking == []
