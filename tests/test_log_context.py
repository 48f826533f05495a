"""Whose line is it? What a running server logs names the request, or the job, that caused it."""

import asyncio
import logging

from server.errors import StoreUnavailable
from server.workers import Job, Workers
from tests.log_lines import listening
from tests.running import IN_MODULE_LOOP, eventually, lock, served

pytestmark = IN_MODULE_LOOP

server = served()


async def test_lines_from_deep_inside_carry_the_id_of_their_request(server):
    showtimes = [await server.showtime() for _ in range(8)]
    with listening() as lines:
        await asyncio.gather(
            *(
                server.visitor.get(
                    f"/api/showtimes/{showtime}/seat-map",
                    headers={"X-Request-ID": f"of-{showtime}"},
                )
                for showtime in showtimes
            )
        )
        loaded = [line for line in lines() if line["logger"] == "rowlock.rebuild"]
    assert len(loaded) == 8
    for line in loaded:
        assert line["request_id"].removeprefix("of-") in line["message"], "another one's id"


async def test_an_access_line_has_fields_of_its_own(server):
    showtime = await server.showtime()
    with listening() as lines:
        answer = await lock(server.bob, showtime, "A1")
        (line,) = (line for line in lines() if line["logger"] == "rowlock.access")
    assert line["method"] == "POST"
    assert line["path"] == f"/api/showtimes/{showtime}/seats/lock"
    assert line["status"] == 200
    assert 0 < line["duration_ms"] < 20_000
    assert line["request_id"] == answer.headers["x-request-id"]
    assert "job" not in line


async def test_a_refused_request_and_a_sign_in_that_failed_carry_it_too(server):
    headers = {"X-Request-ID": "mine"}
    with listening() as lines:
        await server.visitor.get("/api/auth/google/callback?error=access_denied", headers=headers)
        await server.visitor.post("/api/bookings", content=b"x" * 70_000, headers=headers)
        told = lines()
    assert {line["logger"] for line in told} == {"rowlock.access", "rowlock.auth"}
    assert {line["request_id"] for line in told} == {"mine"}


async def test_what_a_job_logs_names_the_job_also_in_tasks_of_its_own(server):
    logger = logging.getLogger("rowlock.test")

    async def works():
        await asyncio.create_task(speaks())

    async def speaks():
        logger.info("at work")

    async def breaks():
        raise RuntimeError("a bug")

    async def waits():
        raise StoreUnavailable

    jobs = [Job(name, run, 0.01) for name, run in (("a", works), ("b", breaks), ("c", waits))]
    workers = Workers(jobs, ())
    with listening() as lines:
        workers.start()

        async def all_spoke():
            return {"a", "b", "c"} <= {line.get("job") for line in lines()}

        await eventually(all_spoke)
        await workers.stop()
        told = [line for line in lines() if "job" in line]
    assert {(line["job"], line["logger"]) for line in told} == {
        ("a", "rowlock.test"),
        ("b", "rowlock.workers"),
        ("c", "rowlock.workers"),
    }
    assert not [line for line in told if "request_id" in line]
