"""Who does the background work: the server by default, else `rowlock worker`, in any number."""

import httpx

from server.app import run_check
from tests.auth_flow import settings_for
from tests.processes import servers, token_for, workers
from tests.running import IN_MODULE_LOOP, booked, eventually, pay, plan
from tests.stored import stocked

pytestmark = IN_MODULE_LOOP

stored = stocked()


async def test_a_server_told_not_to_leaves_it_to_workers_and_three_do_it_once(stored, tmp_path):
    where = {"redis_url": stored.redis_url, "mongo_uri": stored.mongo_uri}
    database = stored.database
    async with servers(tmp_path, **where, BACKGROUND_WORK="off") as [server]:
        async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=20) as bob:
            bob.headers["Authorization"] = f"Bearer {token_for('bob')}"
            showtime = await plan(database)
            paid, given_back, unpaid, unknown = [
                await booked(bob, showtime, seat) for seat in ("A1", "A2", "A3", "A4")
            ]
            for booking in (paid, given_back):
                assert (await pay(bob, booking)).status_code == 200
            assert (await pay(bob, unknown, "demo:timeout")).status_code == 202
            await bob.delete(f"/api/bookings/{given_back}")
        for booking in (unpaid, unknown):
            await stored.past_its_deadline(booking)
        assert await database["audit_logs"].count_documents({}) == 0
        assert (await stored.booking(unpaid))["status"] == "pending"

        async with workers(tmp_path, **where, count=3):

            async def healed():
                rows = [await stored.booking(b) for b in (paid, given_back, unpaid, unknown)]
                states = [row["status"] for row in rows]
                return states == ["confirmed", "cancelled", "expired", "confirmed"]

            await eventually(healed, within=15)

            async def all_copied():
                waiting = await database["bookings"].count_documents({"audit_due": True})
                return not waiting and not await database["audit_outbox"].count_documents({})

            await eventually(all_copied, within=15)
    log = await database["audit_logs"].find().to_list(None)
    for booking in (paid, given_back, unpaid, unknown):
        entries = [row for row in log if row["_id"].startswith(f"{booking}-")]
        assert len(entries) == len((await stored.booking(booking))["timeline"])
    assert [row["n"] for row in sorted(log, key=lambda row: row["n"])] == list(
        range(1, len(log) + 1)
    )
    assert await run_check(settings_for(**where)) == []
