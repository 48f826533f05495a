"""What Redis has forgotten of bookings, or remembers wrongly, after it has started anew."""

import asyncio
from typing import ClassVar

import pytest
import pytest_asyncio

from server.image_repair import ImageRepair
from server.repo.claims import ClaimStore
from server.repo.keys import PARTITIONS, partition_of, showtime_keys
from server.repo.redis import Scripts
from server.repo.showtimes import ShowtimeRepo
from server.repo.store_runs import StoreRunRepo
from tests.desk import ANN, BEN, desk
from tests.running import IN_MODULE_LOOP, plan
from tests.stored import stocked

pytestmark = IN_MODULE_LOOP

stored = stocked()


class Restarting(ClaimStore):
    """A store whose run can be said to be another one."""

    run = "one"
    elsewhere: ClassVar[dict[int, str]] = {}
    """Partitions that another server has, and its run."""

    async def run_ids(self):
        return [self.elsewhere.get(n, self.run) for n in PARTITIONS]


@pytest.fixture
def claims(stored):
    return Restarting(Scripts(stored.redis))


@pytest_asyncio.fixture(loop_scope="module")
async def repair(stored, claims):
    here = desk(stored)
    repair = ImageRepair(
        ShowtimeRepo(stored.database, None),
        here.bookings,
        claims,
        here.image,
        StoreRunRepo(stored.database),
    )
    await repair.run_once()
    return repair


async def photograph(stored, showtime):
    """What Redis knows, as a replica would have it that hears nothing from now on."""
    keys = [v for n, v in showtime_keys(showtime).items() if n in ("seats_key", "locks_key")]
    return {key: await stored.redis.hgetall(key) for key in keys}


async def take_over(stored, claims, picture):
    """That replica is the primary now."""
    for key, fields in picture.items():
        await stored.redis.delete(key)
        if fields:
            await stored.redis.hset(key, mapping=fields)
    claims.run = "another"


async def test_a_sale_that_the_replica_never_heard_of_is_shown_again(stored, claims, repair):
    here = desk(stored)
    showtime = await plan(stored.database)
    await here.locks.lock(BEN, showtime, ["B1"])
    picture = await photograph(stored, showtime)
    sold = await here.pay(await here.pending(showtime, "A1", "A2"))
    unpaid = await here.pending(showtime, "A3")
    await take_over(stored, claims, picture)
    assert await stored.seats(showtime) == {"B1": "l:ben"}
    assert await repair.run_once() == 3
    assert await stored.seats(showtime) == {
        "A1": f"b:{sold.id}",
        "A2": f"b:{sold.id}",
        "A3": f"c:{unpaid.id}",
        "B1": "l:ben",
    }
    assert await repair.run_once() == 0


async def test_seats_given_back_before_are_free_again(stored, claims, repair):
    here = desk(stored)
    showtime = await plan(stored.database)
    whole = await here.pay(await here.pending(showtime, "A1"))
    part = await here.pay(await here.pending(showtime, "A2", "A3"))
    picture = await photograph(stored, showtime)
    await here.cancellations.by_buyer(ANN, whole.id)
    await here.cancellations.by_buyer(ANN, part.id, ["A3"])
    kept = await stored.seats(showtime)
    await take_over(stored, claims, picture)
    assert await repair.run_once() == 2
    assert await stored.seats(showtime) == kept == {"A2": f"b:{part.id}"}


async def test_a_seat_that_changed_hands_belongs_to_the_last(stored, claims, repair):
    here = desk(stored)
    showtime = await plan(stored.database)
    first = await here.pay(await here.pending(showtime, "A1", "A2"))
    picture = await photograph(stored, showtime)
    await here.cancellations.by_buyer(ANN, first.id, ["A1"])
    second = await here.pay(await here.pending(showtime, "A1", caller=BEN))
    await take_over(stored, claims, picture)
    assert await repair.run_once() == 1
    assert await stored.seats(showtime) == {"A1": f"b:{second.id}", "A2": f"b:{first.id}"}


async def test_a_lock_that_the_replica_granted_gives_way_to_the_sale(stored, claims, repair):
    here = desk(stored)
    showtime = await plan(stored.database)
    await here.locks.lock(BEN, showtime, ["B1"])
    picture = await photograph(stored, showtime)
    sold = await here.pay(await here.pending(showtime, "A1"))
    await take_over(stored, claims, picture)
    await here.locks.lock(BEN, showtime, ["A1", "A2"])
    await repair.run_once()
    assert await stored.seats(showtime) == {"A1": f"b:{sold.id}", "A2": "l:ben", "B1": "l:ben"}


async def test_while_the_run_is_the_same_nothing_is_read(stored, claims, repair):
    here = desk(stored)
    showtime = await plan(stored.database)
    sold = await here.pay(await here.pending(showtime, "A1"))
    await stored.redis.hdel(showtime_keys(showtime)["seats_key"], "A1")
    assert await repair.run_once() == 0
    assert await stored.seats(showtime) == {}
    claims.run = "another"
    assert await repair.run_once() == 1
    assert await stored.seats(showtime) == {"A1": f"b:{sold.id}"}


async def test_only_what_the_other_server_has_is_compared(stored, claims, repair):
    """In a cluster a failover concerns the partitions of one server."""
    here = desk(stored)
    showtimes = [await plan(stored.database) for _ in range(8)]
    for showtime in showtimes:
        await here.pay(await here.pending(showtime, "A1"))
        await stored.redis.hdel(showtime_keys(showtime)["seats_key"], "A1")
    there = {partition_of(showtime) for showtime in showtimes[:2]}
    claims.elsewhere = dict.fromkeys(there, "another")
    mine = [showtime for showtime in showtimes if partition_of(showtime) in there]
    assert await repair.run_once() == len(mine)
    for showtime in showtimes:
        assert ("A1" in await stored.seats(showtime)) == (showtime in mine)
    claims.elsewhere = {}
    claims.run = "a third"
    assert await repair.run_once() == len(showtimes) - len(mine)


async def test_many_repairs_amid_sales_and_cancellations_break_nothing(stored, claims):
    here = desk(stored)
    showtime = await plan(stored.database)
    repairs = [
        ImageRepair(
            ShowtimeRepo(stored.database, None),
            here.bookings,
            claims,
            here.image,
            StoreRunRepo(stored.database),
        )
        for _ in range(5)
    ]
    over = False

    async def mend(repair):
        while not over:
            await repair.repair(showtime)

    mending = [asyncio.create_task(mend(repair)) for repair in repairs]
    for _ in range(20):
        booking = await here.pay(await here.pending(showtime, "A1", "A2", "A3"))
        await here.cancellations.by_buyer(ANN, booking.id, ["A2"])
        await here.cancellations.by_buyer(ANN, booking.id)
    over = True
    await asyncio.gather(*mending)
    for _ in range(3):
        await here.reconcile()
    assert await stored.seats(showtime) == {}


async def test_the_real_store_tells_its_run(stored):
    claims = ClaimStore(Scripts(stored.redis))
    runs = await claims.run_ids()
    assert len(set(runs)) == 1
    assert {len(run) for run in runs} == {40}
    assert runs == await claims.run_ids()
