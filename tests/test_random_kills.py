"""Everything dies at random while people buy: servers, workers, Redis, MongoDB, what Redis knows.

Whatever was acknowledged is there afterwards, nothing is sold twice, and the money is right.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic

import pytest

from server.embedded import EmbeddedMongo, EmbeddedValkey
from server.models import new_id
from server.repo import mongo, redis
from server.repo.indexes import create_indexes
from server.repo.mongo import UNAVAILABLE
from tests.aftermath import Aftermath, checked, rest
from tests.crash_points import SHORTER
from tests.crashing import Trap
from tests.crew import Crew, crew
from tests.customers import Ack, Customer, Ledger, introduce
from tests.fallible_stores import client_of, gone, kill, revive
from tests.processes import WHOLE
from tests.sale import hall, plan
from tests.stored import Stored

pytestmark = [pytest.mark.slow, pytest.mark.alone]

SECONDS = 600 if WHOLE else 15
BUYERS = 16
LOCK_SECONDS = 4
HEAL_SECONDS = 30.0
LAYOUT = hall(60)
SEATS = LAYOUT.seat_ids
METHODS = {
    "demo:approve": 60,
    "demo:decline": 12,
    "demo:timeout": 8,
    "demo:error": 8,
    "demo:slow": 6,
    "demo:late": 6,
}


class Shopper(Customer):
    """Acts at random until the doors close; gives back what it has, so that the hall stays open."""

    async def shop(self, showtime: str, closes_at: float) -> None:
        mine: list[str] = []
        while monotonic() < closes_at:
            if mine and random.random() < 0.7:
                await self.cancel(mine.pop(random.randrange(len(mine))))
            seats = random.sample(SEATS, random.randint(1, 4))
            if random.random() < 0.5:
                await self.lock(showtime, *seats)
                chance = random.random()
                if chance < 0.3:
                    await (self.release(showtime) if chance < 0.2 else self.extend(showtime))
                    continue
            created = await self.create(showtime, *seats)
            if created and created.status == 201 and random.random() < 0.9:
                await self._settle(created)
                mine.append(created.booking)

    async def _settle(self, created: Ack) -> None:
        """Pay, perhaps in several attempts, and perhaps give back one seat; or think better."""
        booking = created.booking
        if random.random() < 0.1:
            await self.cancel(booking)
            return
        for method in random.choices(list(METHODS), list(METHODS.values()), k=2):
            paid = await self.pay(booking, method)
            if paid is None or paid.status != 402:
                break
        if paid and paid.status == 200 and len(created.seats) > 1 and random.random() < 0.4:
            await self.cancel(booking, created.seats[0])


Fault = Callable[[], Awaitable[bool]]
ChildServers = tuple[EmbeddedValkey, EmbeddedMongo]


class Nemesis:
    """Lets one thing after the other go wrong; `struck` counts those that really did."""

    def __init__(self, crew: Crew, valkey: EmbeddedValkey, mongod: EmbeddedMongo) -> None:
        self.struck: Counter[str] = Counter()
        self._valkey = valkey
        self._faults: dict[str, Fault] = {
            "a server killed": lambda: crew.kill("serve"),
            "a worker killed": lambda: crew.kill("worker"),
            "Redis killed": lambda: self._store(valkey),
            "MongoDB killed": lambda: self._store(mongod),
            "FLUSHALL": self._flush_all,
            "SCRIPT FLUSH": self._flush_scripts,
        }

    async def rage(self, ends_at: float) -> None:
        while monotonic() < ends_at:
            for name in random.sample(list(self._faults), len(self._faults)):
                await asyncio.sleep(random.uniform(0.3, 1.5))
                self.struck[name] += await self._faults[name]()

    async def _store(self, server: EmbeddedValkey | EmbeddedMongo) -> bool:
        kill(server)
        await gone(server)
        await asyncio.sleep(random.uniform(0, 1.0))
        await revive(server)
        return True

    async def _flush_all(self) -> bool:
        async with client_of(self._valkey) as client:
            had = await client.dbsize()
            await client.flushall()
        return bool(had)

    async def _flush_scripts(self) -> bool:
        async with client_of(self._valkey) as client:
            await client.script_flush()
        return True


@asynccontextmanager
async def mortal_stores(directory: Path) -> AsyncIterator[tuple[Stored, ChildServers]]:
    """Stores that nobody else uses, with the servers that keep them."""
    async with AsyncExitStack() as stack:
        valkey = await stack.enter_async_context(EmbeddedValkey(directory / "valkey"))
        mongod = await stack.enter_async_context(EmbeddedMongo(directory / "mongo"))
        mongo_uri = f"mongodb://127.0.0.1:{mongod.port}/{new_id('t')}?replicaSet=rs0"
        database, client = mongo.connect(mongo_uri), redis.connect(valkey.url)
        stack.callback(database.client.close)
        stack.push_async_callback(client.aclose)
        await create_indexes(database)
        yield Stored(database, client, mongo_uri, valkey.url), (valkey, mongod)


async def test_random_kills_under_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with mortal_stores(tmp_path) as (stored, servers):
        launcher = Trap(tmp_path).set([], SHORTER)
        places = (tmp_path, stored.redis_url, stored.mongo_uri, "serve", "serve", "worker")
        async with crew(*places, launcher=launcher, SEAT_LOCK_TTL=str(LOCK_SECONDS)) as people:
            nemesis = Nemesis(people, *servers)
            showtime, ledger = await _sale(stored, people, nemesis)
            healed = await _heals(stored, showtime)
            problems = await Aftermath(stored, showtime, ledger, lossy=True).judge()
            problems += await checked(stored)
    told = Counter(f"{ack.kind} {ack.status}" for ack in ledger.acks)
    again = sum(ack.tries > 1 for ack in ledger.acks)
    with capsys.disabled():
        print(f"\nfaults that struck: {dict(nemesis.struck)}")
        print(f"answers {dict(sorted(told.items()))}, {again} of them after repeats")
        print(f"healed {healed:.1f} s after the last answer")
    assert not problems
    assert not people.bugs()
    assert all(nemesis.struck.values()), nemesis.struck


async def _sale(stored: Stored, people: Crew, nemesis: Nemesis) -> tuple[str, Ledger]:
    showtime, ledger = await plan(stored.database, LAYOUT), Ledger()
    shoppers = [Shopper(f"usr_{n}", people.port, ledger, patience=60) for n in range(BUYERS)]
    await introduce(stored.database, *(shopper.user for shopper in shoppers))
    closes_at = monotonic() + SECONDS
    async with asyncio.TaskGroup() as together:
        together.create_task(nemesis.rage(closes_at))
        for shopper in shoppers:
            together.create_task(shopper.shop(showtime, closes_at))
    await shoppers[0].ask("look again", "GET", f"/api/showtimes/{showtime}/seat-map")
    for shopper in shoppers:
        shopper.close()
    return showtime, ledger


async def _heals(stored: Stored, showtime: str) -> float:
    began, left = monotonic(), "?"
    while left:
        assert monotonic() < began + HEAL_SECONDS, f"not healed in {HEAL_SECONDS} s: {left}"
        await asyncio.sleep(0.1)
        try:
            left = await rest(stored, showtime)
        except UNAVAILABLE:
            left = "MongoDB is away"
    return monotonic() - began
