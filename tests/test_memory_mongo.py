"""The database that simulations run on, held against the real MongoDB: what the repos do to the one
they do to the other, step by step."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from server.booking import Booking, Refund, TimelineEntry
from server.models import Money
from server.repo.audit_logs import GENESIS, AuditLogRepo, digest
from server.repo.bookings import BookingRepo
from server.repo.idempotency import Answer, IdempotencyRepo
from server.repo.layouts import LayoutRepo
from server.repo.leases import LeaseRepo
from server.repo.mongo import Database
from server.repo.outbox import AuditRecord, Outbox
from server.repo.showtimes import HouseCancellation, ShowtimeRepo
from tests.memory_mongo import MemoryDatabase, MemoryMongo
from tests.memory_values import compare
from tests.programme import a_showtime, store

SEATS = ["A1", "A2", "A3", "B1"]
STEPS = 60
TOLERANCE = timedelta(seconds=20)
"""The two judge time by clocks of their own, and are asked one after the other."""


def in_memory() -> MemoryDatabase:
    def now() -> datetime:
        moment = datetime.now(UTC)
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)

    return MemoryDatabase(MemoryMongo(now))


def difference(one: Any, other: Any, where: str = "") -> str:
    """Say where the two differ, but for what the clocks say; nothing when they do not."""
    if type(one) is not type(other):
        return f"{where}: {one!r} and {other!r}"
    if isinstance(one, datetime):
        same = abs(one - other) < TOLERANCE and one.utcoffset() == other.utcoffset()
        return "" if same else f"{where}: {one} and {other}"
    if hasattr(one, "__dataclass_fields__"):
        fields = [name for name in one.__dataclass_fields__ if name != "remaining_ms"]
        one, other = ({name: getattr(each, name) for name in fields} for each in (one, other))
    if isinstance(one, list | tuple):
        one, other = dict(enumerate(one)), dict(enumerate(other))
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return f"{where}: {sorted(one)} and {sorted(other)}"
        found = (difference(one[name], other[name], f"{where}.{name}") for name in one)
        return next((each for each in found if each), "")
    return "" if one == other else f"{where}: {one!r} and {other!r}"


class Twins:
    """Does everything twice, on the real database and on the one in memory."""

    def __init__(self, real: Database, memory: MemoryDatabase, collection: str) -> None:
        self._real = real
        self._memory = memory
        self._collection = collection

    async def do(self, what: Callable[[Any], Awaitable[Any]]) -> Any:
        """Answer what both say; fails where they differ, in words or in deed."""
        told, thought = await _told(what, self._real), await _told(what, self._memory)
        assert not difference(told, thought), f"\n   real: {told}\n memory: {thought}"
        rows = await self._real[self._collection].find().to_list(None)
        kept = self._memory.stored.table(self._collection).rows
        assert not difference({row["_id"]: row for row in rows}, kept), f"after {told}"
        return told


async def _told(what: Callable[[Any], Awaitable[Any]], database: Any) -> Any:
    try:
        return await what(database)
    except Exception as error:
        return type(error).__name__


# -- bookings ----------------------------------------------------------------------------------


class Walk:
    """A random walk through what can be done to a few bookings, often with old news of them."""

    def __init__(self, random: Random, twins: Twins) -> None:
        self._random = random
        self._twins = twins
        self._known: list[Booking] = []
        self.changes = 0

    async def step(self) -> None:
        act = self._random.choice([self._insert, self._change, self._change, self._read])
        await act()

    async def _insert(self) -> None:
        draw = self._random
        number = draw.randrange(6)
        seats = draw.sample(SEATS, draw.randint(1, 3))
        now = datetime.now(UTC)
        booking = Booking(
            id=f"bk_{number}",
            showtime_id=draw.choice(["sho_1", "sho_2"]),
            user_id=draw.choice(["ann", "ben"]),
            seats=seats,
            status="pending",
            amount=Money(currency="EUR", minor=1000 * len(seats)),
            prices=dict.fromkeys(seats, 1000),
            created_at=now + timedelta(minutes=number),
            expires_at=now + timedelta(minutes=draw.choice([-5, 5])),
            remaining_ms=0,
            claims=True,
        )
        await self._twins.do(lambda on: BookingRepo(on).insert(booking, _entry("booking.created")))
        await self._meet(booking.id)

    async def _meet(self, booking_id: str) -> None:
        found = await self._twins.do(lambda on: BookingRepo(on).get(booking_id))
        if found:
            self._known.append(found)

    async def _change(self) -> None:
        if not self._known:
            return
        draw = self._random
        booking = draw.choice(self._known[-4:]) if draw.random() < 0.8 else draw.choice(self._known)
        entries = [_entry("one"), _entry("two")][: draw.randrange(3)]
        seats = booking.seats[: len(booking.seats) - 1]
        refunds: list[Refund] = booking.refunds
        changes: list[Callable[[BookingRepo], Awaitable[Any]]] = [
            lambda repo: repo.start_payment(booking, draw_intent, entries),
            lambda repo: repo.confirm(booking, entries),
            lambda repo: repo.decline(booking, entries),
            lambda repo: repo.expire_unpaid(booking, entries),
            lambda repo: repo.expire(booking, entries),
            lambda repo: repo.cancel(booking, "buyer", entries),
            lambda repo: repo.postpone(booking, "pay_by", 5, 1, entries),
            lambda repo: repo.postpone(booking, "refund_at", -5, 2, entries),
            lambda repo: repo.postpone(booking, "seats_at", seconds, 1, entries),
            lambda repo: repo.note(booking, entries),
            lambda repo: repo.seats_shown(booking),
            lambda repo: repo.audited(booking),
            lambda repo: repo.noticed(booking.id, "confirmed"),
        ]
        draw_intent, seconds = f"pi_{draw.randrange(3)}", draw.choice((-60, 60))
        if seats:
            changes.append(lambda repo: repo.give_back(booking, seats, "admin", entries))
        if refunds:
            refund = draw.choice(refunds)
            changes += [lambda repo: repo.refunded(booking, refund, entries)] * 4
        if booking.status == "pending":
            changes += changes[:1] * 4
        if booking.status == "paying":
            changes += changes[1:4] * 3
        change = draw.choice(changes)
        changed = await self._twins.do(lambda on: change(BookingRepo(on)))
        self.changes += bool(changed)
        await self._meet(booking.id)

    async def _read(self) -> None:
        draw = self._random
        number = draw.randrange(7)
        before = draw.choice([None, (datetime.now(UTC) + timedelta(minutes=number), "bk_3")])
        status = draw.choice([None, "pending", "confirmed", "cancelled"])
        seats = draw.choice([None, draw.sample(SEATS, 2)])
        reads: list[Callable[[BookingRepo], Awaitable[Any]]] = [
            lambda repo: repo.of_user("ann", status, before, 3),
            lambda repo: repo.claims("sho_1", seats),
            lambda repo: repo.sold(),
            lambda repo: repo.to_give_back(),
            lambda repo: repo.intents_under_way(),
            lambda repo: repo.overdue("pending", 10),
            lambda repo: repo.overdue("paying", 10),
            lambda repo: repo.audit_due(3),
            lambda repo: repo.seats_due(3),
            lambda repo: repo.refund_due(10),
            lambda repo: repo.notices_due(3),
            lambda repo: repo.standing("sho_1", 3),
            lambda repo: repo.count_claiming("sho_1"),
            lambda repo: repo.of_intent("pi_1"),
            lambda repo: repo.get_many([f"bk_{number}", "bk_1", "bk_9"]),
            lambda repo: _all(repo.with_wrong_claims()),
        ]
        read = draw.choice(reads)

        async def sorted_read(on: Any) -> Any:
            found = await read(BookingRepo(on))
            return sorted(found, key=_name) if isinstance(found, list) else found

        await self._twins.do(sorted_read)


def _entry(action: str) -> TimelineEntry:
    return TimelineEntry(action, "ok", "ann", "req", {"$set": "a word", "seats": ["A1"]})


def _name(found: Any) -> str:
    return str(getattr(found, "id", None) or getattr(found, "booking_id", None) or found)


async def _all(rows: Any) -> list[Any]:
    return [row async for row in rows]


@pytest.mark.parametrize("seed", range(30))
async def test_bookings_go_the_same_way_in_memory(database: Database, seed: int) -> None:
    walk = Walk(Random(seed), Twins(database, in_memory(), "bookings"))
    for _ in range(STEPS):
        await walk.step()
    assert walk.changes > 2, "a walk that changes nothing compares nothing"


# -- the other collections -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
async def test_idempotency_keys_go_the_same_way_in_memory(database: Database, seed: int) -> None:
    draw, twins = Random(seed), Twins(database, in_memory(), "idempotency")
    for number in range(60):
        key, token = f"key_{draw.randrange(3)}", f"token_{draw.randrange(3)}"
        request, answer = f"request_{draw.randrange(2)}", Answer(200 + number, {"n": number})
        steps: list[Callable[[IdempotencyRepo], Awaitable[Any]]] = [
            lambda repo, k=key, r=request, t=token: repo.begin(k, r, t),
            lambda repo, k=key, t=token, a=answer: repo.finish(k, t, a),
            lambda repo, k=key, t=token: repo.abandon(k, t),
            lambda repo, k=key, t=token: repo.renew(k, t),
        ]
        step = draw.choice([steps[0], *steps])
        await twins.do(lambda on, step=step: step(IdempotencyRepo(on)))
        if draw.random() < 0.2:  # the one that had it is late
            late = {"$set": {"locked_until": datetime(2000, 1, 1, tzinfo=UTC)}}
            await database["idempotency"].update_one({"_id": key}, late)
            memory = twins._memory["idempotency"]
            await memory.update_one({"_id": key}, late)


@pytest.mark.parametrize("seed", range(5))
async def test_leases_go_the_same_way_in_memory(database: Database, seed: int) -> None:
    draw, twins = Random(seed), Twins(database, in_memory(), "leases")
    for _ in range(40):
        holder, seconds = draw.choice(["one", "two", "$three"]), draw.choice([100, -100])
        if draw.random() < 0.2:
            await twins.do(lambda on, h=holder: LeaseRepo(on).let_go("job", h))
        else:
            await twins.do(lambda on, h=holder, s=seconds: LeaseRepo(on).hold("job", h, s))


@pytest.mark.parametrize("seed", range(5))
async def test_the_audit_log_and_its_outbox_go_the_same_way_in_memory(
    database: Database, seed: int
) -> None:
    draw, memory = Random(seed), in_memory()
    logs, acts = Twins(database, memory, "audit_logs"), Twins(database, memory, "audit_outbox")
    now = datetime(2026, 5, 1, 10, tzinfo=UTC)
    for number in range(40):
        record = AuditRecord("admin.test", "ok", "ann", {"showtime_id": "sho"}, {"n": number})
        record_id = f"out_{draw.randrange(20):02d}"
        await acts.do(lambda on, r=record, i=record_id: Outbox(on).add(r, i))
        rows = [
            {"_id": f"entry_{draw.randrange(40)}", "at": now, "actor": None, "detail": {}}
            for _ in range(draw.randrange(4))
        ]
        await logs.do(lambda on, rows=rows: AuditLogRepo(on).append(rows))
        await logs.do(lambda on, n=number: AuditLogRepo(on).after(n, 2))
        await logs.do(lambda on: AuditLogRepo(on).head())
        await logs.do(lambda on: AuditLogRepo(on).anchor())
        if draw.random() < 0.3:
            oldest = await acts.do(lambda on: Outbox(on).oldest(2))
            await acts.do(lambda on, rows=oldest: Outbox(on).remove([row["_id"] for row in rows]))


async def test_of_two_relays_that_append_at_once_one_is_refused(database: Database) -> None:
    """Told that an entry is missing, both number the next ones alike."""
    memory = in_memory()
    logs = Twins(database, memory, "audit_logs")
    entry = {"at": datetime(2026, 5, 1, tzinfo=UTC), "previous": GENESIS}
    taken = [{**entry, "_id": "a", "n": 1}, {**entry, "_id": "b", "n": 2}]
    late = [{**entry, "_id": "c", "n": 2}, {**entry, "_id": "d", "n": 3}]
    assert await logs.do(lambda on: _insert(on, taken)) is None
    assert await logs.do(lambda on: _insert(on, late)) == "BulkWriteError"
    assert memory.stored.table("audit_logs").rows.keys() == {"a", "b"}
    assert digest(taken[0]) != digest(taken[1])


async def _insert(on: Any, rows: list[dict[str, Any]]) -> None:
    await on["audit_logs"].insert_many([dict(row) for row in rows], ordered=True)


async def test_showtimes_go_the_same_way_in_memory(database: Database) -> None:
    memory = in_memory()
    twins = Twins(database, memory, "showtimes")
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    showtimes = [a_showtime(f"sho_{number}", start) for number in range(3)]
    for on in (database, memory):
        await store(on, *showtimes)  # type: ignore[arg-type]

    def repo(on: Any) -> ShowtimeRepo:
        return ShowtimeRepo(on, LayoutRepo(on))

    assert await twins.do(lambda on: repo(on).get("sho_1")) == showtimes[1]
    assert await twins.do(lambda on: repo(on).get("sho_9")) is None
    orders = [HouseCancellation("sho_1", who, f"req_{who}", "") for who in ("ada", "ben")]
    for order in (*orders, HouseCancellation("sho_9", "ada", "req", "")):
        await twins.do(lambda on, order=order: repo(on).cancel(order))
        await twins.do(lambda on: repo(on).house_cancellations())
    assert (await twins.do(lambda on: repo(on).house_cancellations()))[0].actor_id == "ada"
    await twins.do(lambda on: repo(on).cancelled_whole("sho_1"))
    await twins.do(lambda on: repo(on).cancel_again())
    await twins.do(lambda on: repo(on).house_cancellations())
    assert (await twins.do(lambda on: repo(on).get("sho_1"))).status == "cancelled"
    assert await twins.do(lambda on: repo(on).ids()) == ["sho_0", "sho_1", "sho_2"]


# -- words ---------------------------------------------------------------------------------------

VALUES = [None, 0, 1, -1, 2.5, "", "a", "$b", {}, [], [1], [1, 2], ["a"], True, False]
VALUES += [datetime(2026, 5, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)]


async def test_values_of_all_types_are_ordered_as_mongodb_orders_them(database: Database) -> None:
    rows = [{"_id": number, "value": value} for number, value in enumerate(VALUES)]
    await database["values"].insert_many(rows)
    operators = {"$lt": (-1,), "$eq": (0,)}
    for word, accepted in operators.items():
        for number, value in enumerate(VALUES):
            where = {"$expr": {word: ["$value", {"$literal": value}]}}
            found = {row["_id"] async for row in database["values"].find(where)}
            thought = {n for n, other in enumerate(VALUES) if compare(other, value) in accepted}
            assert found == thought, f"{word} {value!r} (row {number})"


@pytest.mark.parametrize("operand", VALUES, ids=repr)
async def test_filters_find_what_mongodb_finds(database: Database, operand: Any) -> None:
    memory = in_memory()
    rows = [{"_id": number, "value": value} for number, value in enumerate(VALUES)]
    rows += [{"_id": 100}, {"_id": 101, "value": [{"key": "a"}, {"key": 1}]}]
    for on in (database, memory):
        await on["values"].insert_many([dict(row) for row in rows])
    filters: list[dict[str, Any]] = [
        {"value": operand} if not isinstance(operand, dict) else {"value": {"$in": [operand]}},
        {"value": {"$ne": operand}},
        {"value": {"$in": [operand, "a"]}},
        {"value": {"$exists": bool(operand)}},
        {"value.key": operand} if not isinstance(operand, dict) else {},
        {"value.1.key": operand} if not isinstance(operand, dict) else {},
        {"$or": [{"value": 1}, {"value": "a"}]},
    ]
    if isinstance(operand, str | int | float | datetime) and not isinstance(operand, bool):
        filters += [{"value": {word: operand}} for word in ("$lt", "$lte", "$gt", "$gte")]
    for where in filters:
        found = {row["_id"] for row in await database["values"].find(where).to_list(None)}
        thought = {row["_id"] for row in await memory["values"].find(where).to_list()}
        assert found == thought, where
