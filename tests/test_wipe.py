"""Redis loses everything: what MongoDB says is claimed or sold stays so, and all agree on it."""

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from redis.asyncio import Redis

from server.embedded import EmbeddedMongo, EmbeddedValkey
from server.models import to_ms
from server.repo.keys import showtime_keys
from server.repo.mongo import Database
from server.repo.seat_answers import Claim, ShowtimeNotLoaded
from tests.buyers import Person
from tests.desk import ANN, desk
from tests.processes import until
from tests.recorder import RECORDER
from tests.running import plan
from tests.sale import opened
from tests.seat_stores import SHOWTIME
from tests.seat_stores import opened as opened_stores
from tests.stored import stores

pytestmark = pytest.mark.slow

WIPES = 5


@pytest.mark.alone
async def test_a_store_lost_in_the_middle_of_a_sale(
    tmp_path: Path, database: Database, valkey_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(tmp_path, database, valkey_url) as sale:
        async with asyncio.TaskGroup() as together:
            together.create_task(sale.sell(buyers=100, tries=10_000))
            together.create_task(_wipe(sale.redis, WIPES))
        await sale.settled()
        await sale.checkpoint()
        violations = await sale.judge(lossy=True)
        with capsys.disabled():
            print(f"\n{sale.report()}")
        assert not violations, (Counter(v.kind for v in violations), violations[:10])
        assert sale.history
        assert len(sale.history.epochs) == 1 + WIPES, "each loss begins one epoch, and no more"
        assert [process.errors() for process in sale.processes] == [[], []]


async def _wipe(redis: Redis, times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(random.uniform(0.7, 1.3))
        await redis.flushall()
        await asyncio.sleep(random.uniform(0.2, 0.5))
        await redis.script_flush()


async def test_who_lost_a_lock_is_told_and_who_booked_keeps_the_seats(
    tmp_path: Path, database: Database, valkey_url: str
) -> None:
    async with opened(tmp_path, database, valkey_url, SEAT_LOCK_TTL="60") as sale:
        ann, ben, cat, dan = (sale.person(f"usr_{name}") for name in ("ann", "ben", "cat", "dan"))
        locked, claimed, sold = sale.seats[:2], sale.seats[2:4], sale.seats[4:6]
        await ann.lock(locked)
        pending = await ben.create(claimed)
        confirmed = await cat.create(sold)
        assert (await cat.pay(confirmed.booking)).status == 200
        await sale.checkpoint()

        await sale.redis.flushall()
        assert (await ann.my_lock()).answer.body == {"lock": None}
        assert (await ann.extend()).answer.body["code"] == "lock_expired"
        await sale.checkpoint()
        assert sale.watchers[0].states == "..llbb" + "." * 294
        refused = (await dan.lock(sale.seats[1:6])).answer.body["unavailable"]
        assert [(entry["seat"], entry["state"]) for entry in refused] == [
            *((seat, "locked") for seat in claimed),
            *((seat, "booked") for seat in sold),
        ]
        left = pending.answer.body["booking"]["expires_in_ms"]
        assert all(left - 10_000 < entry["retry_in_ms"] <= left for entry in refused[:2])
        assert (await dan.lock(locked)).status == 200
        assert (await ben.pay(pending.booking)).answer.body["booking"]["status"] == "confirmed"
        assert (await cat.cancel(confirmed.booking)).status == 200
        assert (await dan.lock(sold)).status == 200
        await sale.checkpoint()
        assert sale.watchers[0].states == "llbbll" + "." * 294
        assert not await sale.judge(lossy=True)


async def test_many_requests_after_a_loss_begin_one_epoch(
    tmp_path: Path, database: Database, valkey_url: str
) -> None:
    async with opened(tmp_path, database, valkey_url, restless=0) as sale:
        lookers = [sale.person("usr_looker") for _ in range(20)]
        lockers = [sale.person(f"usr_{number}") for number in range(60)]
        for _ in range(5):
            sale.recorder.heard.clear()
            await sale.redis.flushall()
            maps = [person.look() for person in lookers]
            locks = [lockers[n].lock([seat]) for n, seat in enumerate(sale.seats[: len(lockers)])]
            seen, told = await asyncio.gather(asyncio.gather(*maps), asyncio.gather(*locks))
            assert {attempt.status for attempt in told} == {200}
            begun = {change.epoch for change in sale.recorder.heard}
            assert begun == {sight.epoch for sight in seen if sight}
            assert len(begun) == 1
            await sale.checkpoint()
            assert len({change.epoch for change in sale.recorder.heard}) == 1
        assert not sale.violations


async def test_a_rebuilder_that_died_is_outlived(
    tmp_path: Path, database: Database, valkey_url: str
) -> None:
    """Its right to rebuild is a lease: whoever comes meanwhile waits, and then does it."""
    async with opened(tmp_path, database, valkey_url, restless=0) as sale:
        ann, key = sale.person("usr_ann"), showtime_keys(sale.showtime)["rebuild_key"]
        async with sale.redis.pipeline(transaction=True) as together:
            await together.flushall().set(key, "token of the dead", px=2000).execute()
        answer = (await ann.lock(sale.seats[:1])).answer
        assert answer.status == 200
        assert answer.answered_at - answer.sent_at > 600
        await sale.checkpoint()
        assert not sale.violations


async def test_a_store_that_goes_back_in_time_begins_a_new_epoch(
    tmp_path: Path, database: Database, valkey_url: str
) -> None:
    """As after a crash that cost the last second of Redis' journal: connections break, and the old
    epoch goes on with numbers that watchers have seen already."""
    async with opened(tmp_path, database, valkey_url, restless=0, SEAT_LOCK_TTL="60") as sale:
        ann, ben = sale.person("usr_ann"), sale.person("usr_ben")
        raw: Redis = Redis.from_url(valkey_url, protocol=2)
        before = {key: await raw.dump(key) for key in await raw.keys()}
        await ann.lock(sale.seats[:3])
        sold = await ben.create(sale.seats[3:5])
        assert (await ben.pay(sold.booking)).status == 200
        await sale.checkpoint()
        old = sale.watchers[0].position

        deaf = [c for c in await raw.client_list(_type="pubsub") if c["name"] != RECORDER]
        pipeline = raw.pipeline(transaction=True)
        pipeline.flushall()
        for key, value in before.items():
            pipeline.restore(key, 0, value)
        for client in deaf:
            pipeline.client_kill_filter(_id=client["id"])
        await pipeline.execute()
        await raw.aclose()
        await until(lambda: all(w.position != old for w in sale.watchers), 10, "a new epoch")
        await sale.checkpoint()
        assert sale.watchers[0].position[0] != old[0]
        assert sale.watchers[0].states == "...bb" + "." * 295
        assert not sale.violations


async def test_forgotten_scripts_are_told_again(
    tmp_path: Path, database: Database, valkey_url: str
) -> None:
    """However often SCRIPT FLUSH comes, every request is answered as if it had not."""
    async with opened(tmp_path, database, valkey_url, restless=0) as sale:
        people = [sale.person(f"usr_{number}") for number in range(30)]

        async def come_and_go(person: Person, seat: str) -> None:
            for _ in range(20):
                assert (await person.lock([seat])).status == 200
                assert (await person.release()).status == 200

        served = asyncio.gather(*map(come_and_go, people, sale.seats[:30]))
        while not served.done():
            await sale.redis.script_flush()
            await asyncio.sleep(0.003)
        await served
        await sale.settled()
        assert not await sale.judge()


async def test_a_late_look_at_a_sale_is_put_right(
    valkey: EmbeddedValkey, mongo: EmbeddedMongo
) -> None:
    """What Redis remembers of ended bookings may be lost too; then MongoDB is asked once more."""
    async with stores(valkey, mongo) as stored:
        showtime, office = await plan(stored.database), desk(stored)
        sold = await office.pay(await office.pending(showtime, "A1"))
        await office.cancellations.by_buyer(ANN, sold.id)
        await stored.redis.flushdb()
        await office.image.show(sold)
        assert await stored.seats(showtime) == {}


async def test_a_call_to_redis_can_always_be_cancelled(valkey_url: str) -> None:
    """Else a job that is told to stop goes on for ever, and its process with it."""
    async with opened_stores(valkey_url) as both:
        await both.load()

        async def ask() -> None:
            while True:
                await both.seats.positions([SHOWTIME])

        for _ in range(300):
            asking = asyncio.create_task(ask())
            await asyncio.sleep(random.uniform(0, 0.002))
            asking.cancel()
            done, _ = await asyncio.wait({asking}, timeout=1)
            asking.cancel()
            assert done, "a cancellation was swallowed"


async def test_a_rebuild_that_lost_its_right_changes_nothing(valkey_url: str) -> None:
    async with opened_stores(valkey_url) as stores:
        assert await stores.claims.begin_rebuild(SHOWTIME, "slow", "") == "ok"
        await stores.redis.flushall()
        await stores.load(claims=[_claim("bk_1", "A1")])
        before = await _everything(stores.redis)
        late = {"closes_at": datetime.now(UTC), "blocked": ["B1"], "claims": [_claim("bk_2", "A1")]}
        assert not await stores.claims.rebuild(SHOWTIME, "slow", **late)
        assert await _everything(stores.redis) == before


async def test_the_right_to_rebuild_is_given_again_to_who_has_it(valkey_url: str) -> None:
    """A lost answer is asked for again, and must not lock out the one who asks."""
    async with opened_stores(valkey_url) as stores:
        for _ in range(2):
            assert await stores.claims.begin_rebuild(SHOWTIME, "mine", "") == "ok"
        assert await stores.claims.begin_rebuild(SHOWTIME, "another", "") == "busy"


async def test_nothing_changes_while_a_stale_epoch_is_replaced(valkey_url: str) -> None:
    """Else a sale between reading MongoDB and writing Redis would be undone on the map."""
    async with opened_stores(valkey_url) as stores:
        await stores.load()
        stale = await stores.seats.read(SHOWTIME)
        assert stale is not None
        assert await stores.claims.begin_rebuild(SHOWTIME, "mine", stale.epoch) == "ok"
        for change in (
            stores.seats.lock(SHOWTIME, "ann", ["A1"], ""),
            stores.claims.claim(SHOWTIME, _claim("bk_1", "A1")),
            stores.claims.release(SHOWTIME, "bk_1", ["A1"], reason="cancelled"),
        ):
            with pytest.raises(ShowtimeNotLoaded):
                await change


async def test_late_news_of_a_sale_does_not_bring_a_cancelled_booking_back(valkey_url: str) -> None:
    """The reconciler may still believe in a booking that its owner has cancelled meanwhile."""
    async with opened_stores(valkey_url) as stores:
        await stores.load()
        await stores.claims.claim(SHOWTIME, _claim("bk_1", "A1", booked=True))
        await stores.claims.release(SHOWTIME, "bk_1", ["A1"], reason="cancelled")
        await stores.seats.lock(SHOWTIME, "ann", ["A1"], "")
        for booked in (True, False):
            await stores.claims.claim(SHOWTIME, _claim("bk_1", "A1", booked=booked))
        lock = await stores.seats.lock_of(SHOWTIME, "ann")
        assert lock is not None
        assert lock.seats == ["A1"]


def _claim(booking_id: str, *seats: str, booked: bool = False) -> Claim:
    return Claim(booking_id, "usr_owner", list(seats), booked, to_ms(datetime.now(UTC)) + 60_000)


async def _everything(redis: Redis) -> dict[str, bytes]:
    """Return each key with its content, as Redis would hand it to another Redis."""
    keys = sorted([key async for key in redis.scan_iter()])
    return {key: await redis.execute_command("DUMP", key, NEVER_DECODE=True) for key in keys}
