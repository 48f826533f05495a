"""The filters of GET /api/admin/audit, each alone and all together, held against the stored log."""

import asyncio
import itertools
import random
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from server.models import new_id, rfc3339
from server.repo.audit_logs import AuditLogRepo
from server.repo.mongo import BulkWriteError
from tests.running import IN_MODULE_LOOP, booked, eventually, lock, pay, problem, served

pytestmark = IN_MODULE_LOOP

server = served()

PEOPLE = [{"id": f"usr_{name}", "email": f"{name}@example.com"} for name in ("kim", "lee", "mia")]
ACTIONS = ["seat.locked", "seat.released", "booking.created", "payment.captured", "system.error"]
SHOWTIMES = ["sho_1", "sho_2", "sho_3"]
BOOKINGS = ["bk_1", "bk_2"]
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
FILTERS = ("action", "actor", "showtime", "booking", "from", "to")


def an_entry(**fields):
    """Of any kind, at one of a thousand moments: neither in order nor always apart."""
    target = {"showtime_id": random.choice(SHOWTIMES), "booking_id": random.choice(BOOKINGS)}
    kept = random.choice([(), ("showtime_id",), ("booking_id",), tuple(target)])
    return {
        "_id": new_id("act"),
        "at": LONG_AGO + timedelta(milliseconds=random.randrange(1000)),
        "actor": random.choice([*PEOPLE, "system"]),
        "action": random.choice(ACTIONS),
        "outcome": "ok",
        "target": {name: target[name] for name in kept},
        "detail": {},
        "request_id": "",
        **fields,
    }


async def append(server, *entries):
    """Add to the log beside the relay of the server, which may be adding something itself."""
    while True:
        try:
            return await AuditLogRepo(server.stored.database).append(entries)
        except BulkWriteError:
            continue


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def eventful(server):
    """Things that happened, then 600 made-up entries."""
    showtime = await server.showtime()
    await lock(server.bob, showtime, "A1", "A2")
    booking = await booked(server.bob, showtime, "A1")
    await pay(server.bob, booking, "demo:decline")
    await pay(server.bob, booking)
    await server.bob.delete(f"/api/bookings/{booking}")
    await server.bob.post("/api/auth/logout")

    async def all_told():
        actions = {row["action"] for row in await stored_log(server)}
        return {"payment.refunded", "auth.signed_out"} <= actions

    await eventually(all_told)
    await append(server, *(an_entry() for _ in range(600)))


@pytest_asyncio.fixture(loop_scope="module")
async def log(server, eventful):
    return await stored_log(server)


async def stored_log(server):
    """Every entry, oldest first."""
    return [row async for row in AuditLogRepo(server.stored.database).chain()]


def expected(log, **wanted):
    """What the filters should leave, as ids, newest first."""

    def fits(row):
        actor = row["actor"] if row["actor"] == "system" else row["actor"]["id"]
        return all(
            (
                wanted.get("action") in (None, row["action"]),
                wanted.get("actor") in (None, actor),
                wanted.get("showtime") in (None, row["target"].get("showtime_id")),
                wanted.get("booking") in (None, row["target"].get("booking_id")),
                "from" not in wanted or row["at"] >= datetime.fromisoformat(wanted["from"]),
                "to" not in wanted or row["at"] < datetime.fromisoformat(wanted["to"]),
            )
        )

    return [row["_id"] for row in reversed(log) if fits(row)]


async def page(server, **query):
    answer = await server.ada.get("/api/admin/audit", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def listed(server, **query):
    """All pages, as ids."""
    return await listed_from(server, None, **query)


async def listed_from(server, cursor, **query):
    found = []
    while True:
        more = {"cursor": cursor} if cursor else {}
        body = await page(server, **query, **more)
        found += [entry["id"] for entry in body["items"]]
        cursor = body["next_cursor"]
        if cursor is None:
            return found
        assert len(body["items"]) == query["limit"]


def any_value(name, log):
    """A value that some entry has, or sometimes none."""
    values = {
        "action": [*ACTIONS, "auth.signed_in", "admin.nothing"],
        "actor": [*(person["id"] for person in PEOPLE), "system", "usr_nobody"],
        "showtime": [*SHOWTIMES, "sho_none"],
        "booking": [*BOOKINGS, "bk_none"],
    }
    if name in values:
        return random.choice(values[name])
    at = random.choice([row["at"] for row in log[-600:]])
    near = timedelta(microseconds=random.choice([-1001, -1000, -1, 0, 1, 999, 1000]))
    return (at + near).isoformat()


async def test_every_combination_leaves_exactly_what_fits(server, log):
    combinations = [c for n in range(len(FILTERS) + 1) for c in itertools.combinations(FILTERS, n)]
    assert len(combinations) == 64
    found = 0
    for names in combinations:
        for _ in range(4):
            query = {name: any_value(name, log) for name in names}
            limit = random.choice([2, 49, 50, 199, 200]) if len(names) > 2 else 200
            ids = await listed(server, limit=limit, **query)
            assert ids == expected(log, **query), query
            found += bool(ids)
    assert found > 64, "most questions should have an answer"


@pytest.mark.parametrize("field", ["action", "actor", "showtime", "booking"])
async def test_every_value_that_was_ever_stored_finds_its_entries(server, log, field):
    """Those of real acts among them."""
    paths = {
        "action": lambda row: row["action"],
        "actor": lambda row: row["actor"] if row["actor"] == "system" else row["actor"]["id"],
        "showtime": lambda row: row["target"].get("showtime_id"),
        "booking": lambda row: row["target"].get("booking_id"),
    }
    values = {paths[field](row) for row in log} - {None}
    assert len(values) > 2
    for value in values:
        ids = await listed(server, limit=200, **{field: value})
        assert ids
        assert ids == expected(log, **{field: value})


async def test_what_the_system_did_can_be_asked_for(server, log):
    body = await page(server, actor="system", limit=200)
    assert body["items"]
    assert {entry["actor"] for entry in body["items"]} == {"system"}


async def test_a_moment_is_the_same_in_every_time_zone(server, log):
    at = log[-1]["at"]
    moments = [
        rfc3339(at),
        at.isoformat(),
        at.astimezone(datetime.strptime("+0530", "%z").tzinfo).isoformat(),
        at.astimezone(datetime.strptime("-1100", "%z").tzinfo).isoformat(),
    ]
    for side in ("from", "to"):
        answers = [await listed(server, limit=200, **{side: moment}) for moment in moments]
        assert all(answer == expected(log, **{side: moments[1]}) for answer in answers)


async def test_the_very_entry_is_found_between_its_moment_and_the_next(server):
    for at in (LONG_AGO - timedelta(days=1), LONG_AGO - timedelta(days=1, milliseconds=1)):
        entry = an_entry(at=at, target={"showtime_id": new_id("sho")})
        await append(server, entry)
        of = {"showtime": entry["target"]["showtime_id"]}
        for start, end, there in (
            (0, 1000, True),
            (-1, 1, True),
            (0, 1, True),  # a microsecond counts
            (1, 1000, False),
            (-1000, 0, False),
            (0, 0, False),
            (1000, -1000, False),
        ):
            span = {
                "from": (at + timedelta(microseconds=start)).isoformat(),
                "to": (at + timedelta(microseconds=end)).isoformat(),
            }
            assert await listed(server, limit=9, **of, **span) == ([entry["_id"]] if there else [])


@pytest.mark.parametrize("limit", [1, 7, 200])
async def test_pages_stand_still_while_entries_are_appended(server, limit):
    """Filtered pages of a list that grows at its top: all that was there, once, in order."""
    showtime = new_id("sho")
    mine = {"target": {"showtime_id": showtime}, "actor": PEOPLE[0], "action": "seat.locked"}
    there = [an_entry(**mine) for _ in range(60)]
    await append(server, *there)
    wanted = {"showtime": showtime, "actor": PEOPLE[0]["id"], "action": "seat.locked"}
    done = asyncio.Event()
    added = 0

    async def go_on():
        nonlocal added
        while not done.is_set():
            added += await append(server, an_entry(**mine), an_entry(), an_entry(**mine))

    writing = asyncio.create_task(go_on())
    await eventually(lambda: asyncio.sleep(0, added))
    body = await page(server, limit=limit, **wanted)
    found, pages = body["items"], 1
    while body["next_cursor"]:
        before = added
        await eventually(lambda before=before: asyncio.sleep(0, added > before))
        body = await page(server, limit=limit, cursor=body["next_cursor"], **wanted)
        found, pages = found + body["items"], pages + 1
    done.set()
    await writing
    ids = [entry["id"] for entry in found]
    place = {row["_id"]: row["n"] for row in await stored_log(server)}
    numbers = [place[entry_id] for entry_id in ids]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(ids)) == len(ids)
    assert ids[-60:] == [row["_id"] for row in reversed(there)]
    assert pages >= 60 / limit


async def test_a_cursor_is_a_place_in_the_log_whatever_was_asked_to_get_there(server, log):
    body = await page(server, limit=1, actor=PEOPLE[1]["id"])
    [seen] = [place for place, row in enumerate(log) if row["_id"] == body["items"][0]["id"]]
    ids = await listed_from(server, body["next_cursor"], limit=200, actor=PEOPLE[2]["id"])
    assert ids == expected(log[:seen], actor=PEOPLE[2]["id"])


@pytest.mark.parametrize(
    "query",
    [
        {"user": "usr_kim"},
        {"Action": "seat.locked"},
        {"since": "2026-01-01T00:00:00Z"},
        {"from_": "2026-01-01T00:00:00Z"},
        {"action": ""},
        {"action": "seat.*"},
        {"action": "seat.locked,seat.booked"},
        {"actor": ""},
        {"actor": "kim@example.com"},
        {"showtime": "sho 1"},
        {"booking": "a" * 65},
        {"from": ""},
        {"from": "2026-01-01"},
        {"to": "2026-02-30T00:00:00Z"},
        {"limit": ""},
        {"limit": "-1"},
        {"limit": "1.5"},
        {"cursor": ""},
    ],
)
async def test_a_filter_that_is_none_is_refused(server, query):
    problem(await server.ada.get("/api/admin/audit", params=query), 422, "invalid_request")


async def test_a_filter_is_given_once(server):
    path = "/api/admin/audit?action=seat.locked&action=seat.booked"
    problem(await server.ada.get(path), 422, "invalid_request")


async def test_it_is_for_administrators(server):
    problem(await server.eve.get("/api/admin/audit"), 403, "forbidden")
    problem(await server.visitor.get("/api/admin/audit"), 401, "unauthenticated")
