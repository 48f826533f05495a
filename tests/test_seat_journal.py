"""What people do with seats is in MongoDB before they are told, whatever happens to Redis then."""

import asyncio

import pytest
import pytest_asyncio
from pymongo.errors import AutoReconnect

from server.repo import mongo
from server.repo.outbox import Outbox
from server.repo.seat_journal import SeatJournal
from server.repo.seat_log import read_logged
from tests.running import IN_MODULE_LOOP, eventually, lock, problem, served

pytestmark = IN_MODULE_LOOP

server = served()


class Held(Outbox):
    """An outbox whose writes wait for `gate`, and fail when told to."""

    def __init__(self, database):
        super().__init__(database)
        self.batches = []
        self.gate = asyncio.Event()
        self.failing = None

    async def add_logged(self, logged):
        self.batches.append([read_logged(each).id for each in logged])
        await self.gate.wait()
        if self.failing:
            raise self.failing
        await super().add_logged(logged)


@pytest_asyncio.fixture(loop_scope="module", name="outbox")
async def _outbox(server):
    database = mongo.connect_in_loop(server.stored.mongo_uri)
    yield Held(database)
    await mongo.leave(database)


def entry(name):
    fields = ("showtime", "request_id", "type", "reason", "actor", "owner", "lock", "booking")
    fields = {**dict.fromkeys(fields, ""), "id": name, "at": 1000, "seats": "A1"}
    return [each for pair in fields.items() for each in pair]


async def test_what_comes_during_a_write_goes_together_into_the_next(outbox):
    journal = SeatJournal(outbox)
    first = asyncio.create_task(journal.write([entry("one")]))
    await asyncio.sleep(0)
    rest = [asyncio.create_task(journal.write([entry(f"{n}")])) for n in range(20)]
    await asyncio.sleep(0.01)
    assert not first.done()
    outbox.gate.set()
    await asyncio.gather(first, *rest)
    assert outbox.batches == [["one"], [f"{n}" for n in range(20)]]


async def test_a_write_that_fails_is_told_to_all_that_wait_and_the_next_goes_on(outbox):
    journal = SeatJournal(outbox)
    outbox.failing = ConnectionError("away")
    outbox.gate.set()
    ends = await asyncio.gather(
        *(journal.write([entry("a")]) for _ in range(3)), return_exceptions=True
    )
    assert [type(end) for end in ends] == [ConnectionError] * 3
    outbox.failing = None
    await journal.write([entry("b")])


async def test_while_the_store_is_away_nobody_waits_for_those_before(outbox):
    """A write that nobody answers takes seconds; those that wait must not pay for each."""
    journal = SeatJournal(outbox)
    outbox.failing = AutoReconnect("away")
    crowd = [asyncio.create_task(journal.write([entry(f"{n}")])) for n in range(500)]
    await asyncio.sleep(0.01)
    outbox.gate.set()
    ends = await asyncio.gather(*crowd, return_exceptions=True)
    assert [type(end) for end in ends] == [AutoReconnect] * 500
    assert len(outbox.batches) == 1
    outbox.failing = None
    await journal.write([entry("again")])


async def test_one_who_gives_up_waiting_spoils_nothing(outbox):
    journal = SeatJournal(outbox)
    gone, waiting = (asyncio.create_task(journal.write([entry(name)])) for name in "cd")
    await asyncio.sleep(0)
    gone.cancel()
    outbox.gate.set()
    await waiting
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_nothing_that_was_acknowledged_is_missing_after_a_wipe(server, monkeypatch):
    """The store is wiped before the relay has seen any of it."""
    showtime = await server.showtime()
    acts = {}
    for name, act in {
        "seat.locked": lambda: lock(server.bob, showtime, "A1", "A2"),
        "seat.locked again": lambda: server.bob.post(
            f"/api/showtimes/{showtime}/seats/lock/extend", json={}
        ),
        "seat.released": lambda: server.bob.delete(
            f"/api/showtimes/{showtime}/seats/lock?seats=A1"
        ),
        "seat.released by ada": lambda: server.ada.delete(
            f"/api/showtimes/{showtime}/seats/locks?seats=A2"
        ),
    }.items():
        answer = await act()
        assert answer.status_code == 200, answer.text
        await server.stored.redis.flushall()  # at once: four times within one round of the relay
        acts[answer.headers["x-request-id"]] = name.split()[0]
        if name == "seat.locked" or name == "seat.locked again":
            await lock(server.bob, showtime, "A1", "A2")
        elif name == "seat.released":
            await lock(server.bob, showtime, "A2")

    async def audited():
        rows = server.stored.database["audit_logs"].find({"request_id": {"$in": list(acts)}})
        found = {row["request_id"]: row["action"] async for row in rows}
        return found if len(found) == len(acts) else None

    assert await eventually(audited) == acts


async def test_without_mongodb_nothing_is_acknowledged(server, monkeypatch):
    async def away(self, logged):
        raise AutoReconnect("away")

    showtime = await server.showtime()
    await lock(server.bob, showtime, "A1")
    monkeypatch.setattr(Outbox, "add_logged", away)
    problem(await lock(server.bob, showtime, "A2"), 503, "store_unavailable")
