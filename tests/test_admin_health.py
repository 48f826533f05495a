"""GET /api/admin/health: what it tells, and that it tells it also while a store is away."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from server.embedded import EmbeddedMongo
from server.repo.keys import PARTITIONS, partition_keys
from tests.running import IN_MODULE_LOOP, booked, eventually, lock, problem, running, served
from tests.toxic_proxy import ToxicProxy

pytestmark = IN_MODULE_LOOP

server = served(background_work="off", seat_lock_ttl=1)
"""Nobody does what waits."""


async def told(server):
    answer = await server.ada.get("/api/admin/health")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_healthy_server_tells_what_it_is_made_of(server):
    body = await told(server)
    assert body["status"] == "ok"
    for store in ("redis", "mongodb"):
        found = body["dependencies"][store]
        assert found["status"] == "ok"
        assert 0 < found["latency_ms"] < 1000
        assert found["version"].split(".")[0].isdigit()
    assert body["dependencies"]["mail"] == {"provider": "files"}
    assert body["dependencies"]["payments"] == {"provider": "demo"}
    assert body["build"]["version"]
    assert body["build"]["python"].startswith("3.")
    started = datetime.fromisoformat(body["build"]["started_at"])
    assert timedelta() < datetime.now(UTC) - started < timedelta(minutes=5)
    assert body["build"]["uptime_ms"] > 0
    assert body["live"] == {"watchers": 0, "mirrors": 0}


async def test_what_waits_is_what_the_stores_hold(server):
    database, redis = server.stored.database, server.stored.redis
    showtime = await server.showtime()
    booking = await booked(server.eve, showtime, "A1")
    await lock(server.bob, showtime, "B1", "B2")
    await lock(server.eve, showtime, "B3")

    async def both_are_late():
        lag = (await told(server))["lag"]
        return lag if lag["reconciler"]["waiting"] and lag["lock_sweeper"]["waiting"] == 2 else None

    lag = await eventually(both_are_late)
    events = [await redis.xlen(partition_keys(each)["log_key"]) for each in PARTITIONS]
    acts = await database["audit_outbox"].count_documents({})
    bookings = await database["bookings"].count_documents({"audit_due": True})
    assert lag["audit_relay"]["waiting"] == sum(events) + acts + bookings > 3
    assert lag["reconciler"]["waiting"] == 1
    assert 0 < lag["audit_relay"]["oldest_ms"] < 120_000
    assert lag["notices"] == {"waiting": 0, "oldest_ms": 0}

    ago = datetime.now(UTC) - timedelta(seconds=90)
    await database["bookings"].update_one(
        {"_id": booking}, {"$set": {"expires_at": ago, "notices": ["confirmed"]}}
    )
    await database["notifications"].insert_one({"status": "due", "created_at": ago, "about": "x"})
    await redis.zadd(partition_keys(0)["deadlines_key"], {"sho_x:usr_x": 1000})
    lag = (await told(server))["lag"]
    assert 90_000 <= lag["reconciler"]["oldest_ms"] < 120_000
    assert lag["notices"]["waiting"] == 2
    assert 90_000 <= lag["notices"]["oldest_ms"] < 120_000
    assert lag["lock_sweeper"]["waiting"] == 3
    assert lag["lock_sweeper"]["oldest_ms"] > 10**12, "since 1970"


async def test_who_watches_is_counted(server):
    showtime = await server.showtime()
    async with server.visitor.stream(
        "GET", f"/api/showtimes/{showtime}/live", headers={"Accept": "text/event-stream"}
    ) as stream:
        chunks = stream.aiter_bytes()
        await anext(chunks)
        assert (await told(server))["live"] == {"watchers": 1, "mirrors": 1}


async def test_it_is_for_administrators(server):
    problem(await server.bob.get("/api/admin/health"), 403, "forbidden")
    problem(await server.visitor.get("/api/admin/health"), 401, "unauthenticated")


@pytest.mark.alone
async def test_redis_that_hangs_is_told_within_two_seconds(valkey, mongo):
    async with ToxicProxy(valkey.port) as proxy:
        away = f"redis://127.0.0.1:{proxy.port}/0"
        async with running(valkey, mongo, redis_url=away) as server:
            assert (await told(server))["dependencies"]["redis"]["status"] == "ok"
            proxy.black_hole()
            began = time.monotonic()
            body = await told(server)
            assert time.monotonic() - began < 2
            assert body["status"] == "unavailable"
            assert body["dependencies"]["redis"] == {
                "status": "unavailable",
                "latency_ms": None,
                "version": None,
            }
            assert body["dependencies"]["mongodb"]["status"] == "ok"
            assert body["lag"]["lock_sweeper"] == {"waiting": None, "oldest_ms": None}
            assert body["lag"]["reconciler"] == {"waiting": 0, "oldest_ms": 0}
            proxy.cut()
            proxy.heal()


@pytest.mark.alone
async def test_without_mongodb_administrators_are_told_so_and_nobody_else(valkey, tmp_path):
    async with EmbeddedMongo(tmp_path) as mongod, running(valkey, mongod) as server:
        assert (await told(server))["status"] == "ok"
        await mongod.stop()
        began = time.monotonic()
        body = await told(server)
        assert time.monotonic() - began < 2
        assert body["dependencies"]["mongodb"]["status"] == "unavailable"
        assert body["dependencies"]["redis"]["status"] == "ok"
        assert body["lag"]["reconciler"] == {"waiting": None, "oldest_ms": None}
        problem(await server.bob.get("/api/admin/health"), 403, "forbidden")
        await mongod.start()


async def test_whatever_waits_longest_in_the_outbox_tells_its_age(server):
    """One act by itself, what seat scripts have logged, and rows as they were stored once."""
    database, now = server.stored.database, datetime.now(UTC)
    ago = now - timedelta(hours=1)
    await lock(server.bob, await server.showtime(), "A1")
    logged = await database["audit_outbox"].find_one({"logged": {"$exists": True}})
    fields = dict(zip(logged["logged"][0][::2], logged["logged"][0][1::2], strict=True))
    fields["at"] = round(ago.timestamp() * 1000)
    flat = [part for pair in fields.items() for part in pair]
    for oldest in ({"logged": [flat]}, {"rows": [{"at": ago}]}, {"at": ago}):
        await database["audit_outbox"].insert_one({"_id": "out_0", **oldest})
        lag = (await told(server))["lag"]["audit_relay"]
        assert 3_600_000 <= lag["oldest_ms"] < 3_700_000, oldest
        await database["audit_outbox"].delete_one({"_id": "out_0"})
