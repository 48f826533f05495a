"""GET /metrics: what is counted, under labels that no caller can choose, and described."""

import asyncio
import re
import sys
import time
from contextlib import suppress
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families as parsed

from server.build_info import Build, build_now
from server.metrics import Metrics
from server.repo.keys import showtime_keys
from server.repo.redis import Scripts, connect
from tests.running import IN_MODULE_LOOP, booked, eventually, lock, pay, running, served
from tests.toxic_proxy import ToxicProxy

pytestmark = IN_MODULE_LOOP

server = served()

DOCUMENT = Path(__file__).parent.parent / "docs" / "metrics.md"
OF_THE_CLIENT = ("process_", "python_")


def samples(text):
    """Return (name, labels) -> value of all that is told."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parsed(text)
        for sample in family.samples
    }


async def told(server):
    return samples((await server.visitor.get("/metrics")).text)


async def risen(server, before, name, **labels):
    key = (name, *sorted(labels.items()))
    return (await told(server)).get(key, 0) - before.get(key, 0)


async def test_calls_that_went_out_together_are_counted_as_one_write(server):
    metrics = Metrics()
    redis = connect(server.stored.redis_url, metrics.scripts.sent)
    scripts, keys = Scripts(redis), showtime_keys("sho_none")
    await scripts.run("read_lock", keys, user="ann")
    await asyncio.gather(*(scripts.run("read_lock", keys, user=f"u{n}") for n in range(20)))
    await redis.aclose()
    found = samples(metrics.text().decode())
    assert found["rowlock_script_calls_together_sum",] == 21
    assert found["rowlock_script_calls_together_count",] == 2
    assert found["rowlock_script_calls_together_bucket", ("le", "1.0")] == 1


async def test_writes_to_redis_are_counted_by_the_server(server):
    showtime, before = await server.showtime(), await told(server)
    await lock(server.bob, showtime, "A1")
    assert await risen(server, before, "rowlock_script_calls_together_count") >= 1


async def test_how_locks_end_is_counted(server):
    showtime, before = await server.showtime(), await told(server)
    await lock(server.bob, showtime, "A1", "A2")
    await lock(server.eve, showtime, "A2", "A3")
    await server.bob.post(f"/api/showtimes/{showtime}/seats/lock/extend")
    await server.eve.post(f"/api/showtimes/{showtime}/seats/lock/extend")
    await server.bob.delete(f"/api/showtimes/{showtime}/seats/lock?seats=A2")
    await pay(server.bob, await booked(server.bob, showtime, "A1"))
    for script, outcome in [
        ("lock_seats", "ok"),
        ("lock_seats", "unavailable"),
        ("extend_lock", "ok"),
        ("extend_lock", "lapsed"),
        ("release_seats", "ok"),
        ("book_seats", "ok"),
    ]:
        found = await risen(
            server, before, "rowlock_script_calls_total", script=script, outcome=outcome
        )
        assert found == 1, (script, outcome)


async def test_a_store_that_does_not_answer_is_an_outcome(valkey, mongo):
    async with ToxicProxy(valkey.port) as proxy:
        away = f"redis://127.0.0.1:{proxy.port}/0"
        async with running(valkey, mongo, redis_url=away, background_work="off") as server:
            showtime = await server.showtime()
            proxy.black_hole()
            assert (await lock(server.bob, showtime, "A1")).status_code == 503
            found = [labels for labels in await told(server) if "script_calls_total" in labels[0]]
            assert any(("outcome", "store_unavailable") in labels for labels in found)
            proxy.cut()
            proxy.heal()


async def test_requests_are_counted_by_the_template_of_their_route(server):
    showtime, before = await server.showtime(), await told(server)
    path, name = "/api/showtimes/{id}/seats/lock", "rowlock_http_request_seconds_count"
    await lock(server.bob, showtime, "B1")
    await lock(server.eve, showtime, "B1")
    await lock(server.visitor, showtime, "B1")
    for status in ("200", "409", "401"):
        assert await risen(server, before, name, route=path, method="POST", status=status) == 1
    took = await risen(
        server, before, "rowlock_http_request_seconds_sum", route=path, method="POST", status="200"
    )
    assert 0 < took < 5


async def test_a_caller_cannot_choose_a_label(server):
    await server.visitor.get("/api/none-of-mine")
    await server.visitor.get("/static/none-of-mine.js")
    await server.visitor.request("PROPFIND", "/api/movies")
    await server.visitor.request("POST", "/health")
    found = [dict(labels) for name, *labels in await told(server) if name.endswith("seconds_count")]
    assert not [labels for labels in found if "mine" in str(labels) or "PROP" in str(labels)]
    known = {getattr(route, "path", "") for route in server.app.routes}
    routes = {labels["route"] for labels in found if "route" in labels}
    assert "none" in routes
    assert routes - known <= {"none"}
    asked = {(labels["route"], labels["method"]) for labels in found if "route" in labels}
    assert ("/api/movies", "other") in asked
    assert ("/health", "POST") in asked


async def test_a_loop_that_is_held_up_shows(server):
    before = await told(server)
    await asyncio.sleep(0.15)  # the watch is asleep, and will be late
    time.sleep(0.3)  # holds the loop up, on purpose

    async def seen():
        late = await risen(server, before, "rowlock_loop_lag_seconds_count") - await risen(
            server, before, "rowlock_loop_lag_seconds_bucket", le="0.1"
        )
        return late >= 1

    await eventually(seen)


async def test_the_watch_of_the_loop_ends_when_it_is_told_to():
    watch = asyncio.create_task(Metrics().process.watch_loop())
    await asyncio.sleep(0)
    watch.cancel()
    with suppress(asyncio.CancelledError):
        await watch
    assert watch.cancelled()


async def test_it_says_what_runs(server):
    build = build_now()
    labels = (("python", build.python), ("version", build.version))
    assert (await told(server))["rowlock_build_info", *labels] == 1


async def test_the_document_names_what_is_told_and_nothing_else():
    text = Metrics(Build("1", "3", build_now().started_at)).text().decode()
    families = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in parsed(text)
        if not family.name.endswith("_created")
    }
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row.split(" | ")[0])}
    if not sys.platform.startswith("linux"):
        named = {name for name in named if not name.startswith(OF_THE_CLIENT)}
        families = {name for name in families if not name.startswith(OF_THE_CLIENT)}
    assert named == families
