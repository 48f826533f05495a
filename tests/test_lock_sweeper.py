"""Locks whose time is over are announced soon, once, whatever else the store is full of."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from statistics import quantiles

import pytest

from server.lock_sweeper import INTERVAL_SECONDS, LockSweeper
from server.repo.keys import PARTITIONS, partition_of, showtime_keys
from server.repo.redis import Redis
from server.repo.seat_answers import Lock
from server.repo.seat_log import LogEntry, SeatLog
from tests.seat_stores import Stores, opened

pytestmark = pytest.mark.alone

SHOWTIMES = [f"sho_{n}" for n in range(40)]
LOCKS_EACH = 15
OTHER_KEYS = 1_000_000
_FILL = """
for i = 1, 50000 do
  redis.call('SET', 'other:' .. ARGV[1] .. ':' .. i, 'x', 'PX', 600000 + i)
end
"""


async def load(stores: Stores) -> None:
    for showtime in SHOWTIMES:
        assert await stores.claims.begin_rebuild(showtime, "token", "") == "ok"
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        assert await stores.claims.rebuild(
            showtime, "token", closes_at=tomorrow, blocked=[], claims=[]
        )


@asynccontextmanager
async def sweeping(stores: Stores, sweepers: int) -> AsyncIterator[None]:
    """So many sweepers at work, as in so many processes."""

    async def sweep() -> None:
        sweeper = LockSweeper(stores.seats)
        while True:
            await sweeper.run_once()
            await asyncio.sleep(INTERVAL_SECONDS)

    tasks = [asyncio.create_task(sweep()) for _ in range(sweepers)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {asyncio.CancelledError}


async def lock_all(stores: Stores, prefix: str) -> dict[str, Lock]:
    """Lock a seat for each of so many people per showtime, spread over a second and a half."""
    locks = {}
    for n in range(LOCKS_EACH):
        for showtime in SHOWTIMES:
            lock = await stores.seats.lock(showtime, f"{prefix}-{n}", [f"A{n}"], "")
            locks[lock.id] = lock
        await asyncio.sleep(0.1)
    return locks


async def releases(redis: Redis, count: int) -> list[LogEntry]:
    """Wait until so many expiries were announced, then a little for any too many."""
    log = SeatLog(redis)
    async with asyncio.timeout(30):
        while True:
            entries = [e for partition in PARTITIONS for e in await log.read(partition, 10_000)]
            expired = [entry for entry in entries if entry.reason == "expired"]
            if len(expired) >= count:
                break
            await asyncio.sleep(0.1)
    await asyncio.sleep(2 * INTERVAL_SECONDS)
    entries = [e for partition in PARTITIONS for e in await log.read(partition, 10_000)]
    return [entry for entry in entries if entry.reason == "expired"]


async def check_expiries(stores: Stores) -> float:
    """Let locks lapse under three sweepers; returns the p99 of the lateness in seconds."""
    await load(stores)
    assert {partition_of(showtime) for showtime in SHOWTIMES} == set(PARTITIONS)
    async with sweeping(stores, 3):
        locks = await lock_all(stores, "user")
        expired = await releases(stores.redis, len(locks))
    assert Counter(entry.lock_id for entry in expired) == dict.fromkeys(locks, 1)
    for showtime in SHOWTIMES:
        assert await stores.redis.exists(showtime_keys(showtime)["seats_key"]) == 0
    late = [entry.at - locks[entry.lock_id].expires_at for entry in expired]
    assert min(late) >= 0  # never before its time
    return quantiles(late, n=100)[98] / 1000


async def test_an_expired_lock_is_announced_within_a_second(redis_url: str) -> None:
    async with opened(redis_url, ttl_seconds=1) as stores:
        assert await check_expiries(stores) < 1


@pytest.mark.slow
async def test_a_million_other_keys_with_a_ttl_delay_no_announcement(redis_url: str) -> None:
    """Keyspace events would: Redis looks at expired keys when it gets to them."""
    async with opened(redis_url, ttl_seconds=1) as stores:
        for part in range(OTHER_KEYS // 50_000):
            await stores.redis.eval(_FILL, 0, part)
        assert await stores.redis.dbsize() >= OTHER_KEYS
        late = await check_expiries(stores)
        print(f"\np99 of the announcements: {late * 1000:.0f} ms after the deadline")
        assert late < 1


async def test_a_showtime_that_is_being_rebuilt_is_left_alone(valkey_url: str) -> None:
    async with opened(valkey_url, ttl_seconds=0.1) as stores:
        await load(stores)
        await stores.seats.lock(SHOWTIMES[0], "ann", ["A1"], "")
        await asyncio.sleep(0.15)
        keys = showtime_keys(SHOWTIMES[0])
        epoch = await stores.redis.hget(keys["meta_key"], "epoch")
        assert await stores.claims.begin_rebuild(SHOWTIMES[0], "token", str(epoch)) == "ok"
        assert await LockSweeper(stores.seats).run_once() == 0
        assert await stores.redis.hgetall(keys["seats_key"]) == {"A1": "l:ann"}
        assert await stores.redis.exists(keys["meta_key"]) == 0
