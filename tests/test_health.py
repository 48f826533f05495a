"""GET /health and /health/live, while stores go away and come back."""

import asyncio

import httpx
from prometheus_client.parser import text_string_to_metric_families as parsed
from starlette.applications import Starlette

from server.api import health
from server.embedded import EmbeddedMongo, EmbeddedValkey
from server.metrics import Metrics
from tests.running import (
    IN_MODULE_LOOP,
    booked,
    eventually,
    lock,
    pay,
    problem,
    running,
    served,
)

pytestmark = IN_MODULE_LOOP

server = served()


async def test_a_healthy_server_says_so_for_each_store(server):
    answer = await server.visitor.get("/health")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "checks": {"redis": "ok", "mongodb": "ok"}}
    assert answer.headers["cache-control"] == "no-store"


async def test_a_live_process_says_so(server):
    answer = await server.visitor.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_the_metrics_are_what_prometheus_reads(server):
    booking = await booked(server.bob, await server.showtime(), "A1")
    before = (await server.visitor.get("/metrics")).text
    await pay(server.bob, booking)
    answer = await server.visitor.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    now = {sample.name: sample for family in parsed(answer.text) for sample in family.samples}
    assert now["rowlock_payments_total"].labels == {"outcome": "captured"}
    assert "rowlock_alerts" in before


async def test_without_redis_the_server_is_unhealthy_until_it_is_back(mongo, tmp_path):
    async with EmbeddedValkey(tmp_path) as valkey, running(valkey, mongo) as server:
        showtime = await server.showtime()
        assert (await lock(server.bob, showtime, "A1")).status_code == 200
        await valkey.stop()

        answer = await server.visitor.get("/health")
        assert answer.status_code == 503
        assert answer.json() == {
            "status": "unavailable",
            "checks": {"redis": "unavailable", "mongodb": "ok"},
        }
        assert (await server.visitor.get("/health/live")).status_code == 200
        refused = await lock(server.bob, showtime, "A2")
        problem(refused, 503, "store_unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        problem(
            await server.visitor.get(f"/api/showtimes/{showtime}/seat-map"),
            503,
            "store_unavailable",
        )
        assert (await server.visitor.get("/api/movies")).status_code == 200, "needs MongoDB alone"

        await valkey.start()

        async def healthy():
            return (await server.visitor.get("/health")).status_code == 200

        await eventually(healthy)
        assert (await lock(server.bob, showtime, "A2")).status_code == 200


async def test_without_mongodb_the_server_is_unhealthy_until_it_is_back(valkey, tmp_path):
    async with EmbeddedMongo(tmp_path) as mongod, running(valkey, mongod) as server:
        await mongod.stop()
        answer = await server.visitor.get("/health")
        assert answer.status_code == 503
        assert answer.json() == {
            "status": "unavailable",
            "checks": {"redis": "ok", "mongodb": "unavailable"},
        }
        await mongod.start()

        async def healthy():
            return (await server.visitor.get("/health")).status_code == 200

        await eventually(healthy, within=15)


async def test_a_store_that_hangs_counts_as_away(monkeypatch):
    monkeypatch.setattr(health, "_CHECK_SECONDS", 0.05)

    async def answers():
        return None

    async def hangs():
        await asyncio.Event().wait()

    routes = health.HealthRoutes({"redis": hangs, "mongodb": answers}, Metrics()).routes
    transport = httpx.ASGITransport(Starlette(routes=routes))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await asyncio.wait_for(client.get("/health"), 2)
    assert answer.status_code == 503
    assert answer.json()["checks"] == {"redis": "unavailable", "mongodb": "ok"}
