"""The lists of showtimes and the single one, over HTTP and on the real store."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from server.api.pages import encode_cursor
from server.catalogue import Auditorium
from server.errors import NotFound
from tests.programme import (
    CINEMA,
    LAYOUT,
    NOW,
    Clock,
    a_cinema,
    a_movie,
    a_showtime,
    all_pages,
    catalogue_client,
    showtimes_of,
    store,
)

HOUR = timedelta(hours=1)
LATER = NOW + HOUR


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


async def listed(database, path="/api/showtimes", clock=None, **query):
    async with catalogue_client(database, clock) as client:
        pages = await all_pages(client, path, **query)
    return [showtime["id"] for page in pages for showtime in page]


async def test_a_showtime_is_shown_with_all_that_a_visitor_asks(database):
    await store(database, a_showtime("sho_a", LATER, blocked=frozenset({"A2"})))
    async with catalogue_client(database) as client:
        single = await client.get("/api/showtimes/sho_a")
        lists = [await client.get(p) for p in ("/api/showtimes", "/api/movies/mov_a/showtimes")]
    showtime = single.json()["showtime"]
    assert showtime == {
        "id": "sho_a",
        "movie": {
            "id": "mov_a",
            "title": "A Film",
            "duration_min": 100,
            "rating": "12+",
            "accent": "#336699",
        },
        "cinema": {
            "id": "cin_a",
            "name": "The A",
            "city": "London",
            "time_zone": "Europe/London",
        },
        "auditorium": {"id": "aud_a", "name": "Hall A"},
        "starts_at": "2026-05-01T11:00:00.000Z",
        "ends_at": "2026-05-01T12:40:00.000Z",
        "prices": {
            "standard": {"currency": "EUR", "minor": 1000},
            "premium": {"currency": "EUR", "minor": 1500},
        },
        "status": "open",
        "seats_total": 5,
    }
    assert [answer.json() for answer in lists] == [{"items": [showtime], "next_cursor": None}] * 2


async def test_showtimes_come_soonest_first_and_without_those_that_started(database):
    starts = {"sho_past": -HOUR, "sho_now": 0 * HOUR, "sho_late": 5 * HOUR, "sho_soon": HOUR}
    await store(database, *(a_showtime(name, NOW + ahead) for name, ahead in starts.items()))
    assert await listed(database) == ["sho_soon", "sho_late"]
    assert await listed(database, clock=Clock(NOW - timedelta(seconds=1))) == [
        "sho_now",
        "sho_soon",
        "sho_late",
    ]


async def test_a_closed_or_cancelled_showtime_stays_on_the_list_and_says_so(database):
    for status in ("open", "closed", "cancelled"):
        await store(database, a_showtime(f"sho_{status}", LATER, status=status))
    async with catalogue_client(database) as client:
        items = (await client.get("/api/showtimes")).json()["items"]
    assert {item["id"]: item["status"] for item in items} == {
        "sho_open": "open",
        "sho_closed": "closed",
        "sho_cancelled": "cancelled",
    }


async def test_filters_narrow_alone_and_together(database):
    zurich = a_cinema("cin_z", city="Zürich", time_zone="Europe/Zurich")
    other = a_movie("mov_b")
    for name, changes in {
        "sho_1": {},
        "sho_2": {"movie": other},
        "sho_3": {"cinema": zurich},
        "sho_4": {"cinema": zurich, "movie": other},
    }.items():
        await store(database, a_showtime(name, LATER, **changes))
    assert await listed(database) == ["sho_1", "sho_2", "sho_3", "sho_4"]
    assert await listed(database, movie="mov_b") == ["sho_2", "sho_4"]
    assert await listed(database, cinema="cin_z") == ["sho_3", "sho_4"]
    assert await listed(database, city="London") == ["sho_1", "sho_2"]
    assert await listed(database, city="Zürich", movie="mov_b") == ["sho_4"]
    assert await listed(database, city="zurich", cinema="cin_z") == ["sho_3", "sho_4"]
    assert await listed(database, city="London", cinema="cin_z") == []
    assert await listed(database, date="2026-05-01", cinema="cin_a", movie="mov_a") == ["sho_1"]
    assert await listed(database, "/api/movies/mov_b/showtimes") == ["sho_2", "sho_4"]
    assert await listed(database, "/api/movies/mov_b/showtimes", city="london") == ["sho_2"]


async def test_names_that_do_not_exist_match_nothing(database):
    await store(database, a_showtime("sho_a", LATER))
    for query in (
        {"movie": "mov_none"},
        {"cinema": "cin_none"},
        {"city": "Nowhere"},
        {"city": "$ne"},
        {"city": '{"$ne": null}'},
        {"city": ".*"},
        {"city": "Lond"},
        {"date": "2031-01-01"},
        {"date": "1999-12-31"},
    ):
        assert await listed(database, **query) == [], query


async def test_a_date_is_the_date_at_the_cinema(database):
    places = {
        "london": ("Europe/London", "2026-06-10T23:30"),  # 00:30 on the 11th
        "berlin": ("Europe/Berlin", "2026-06-10T21:59"),  # 23:59 on the 10th
        "newyork": ("America/New_York", "2026-06-11T03:59"),  # 23:59 on the 10th
        "auckland": ("Pacific/Auckland", "2026-06-10T12:00"),  # 00:00 on the 11th
    }
    for name, (zone, starts_at) in places.items():
        cinema = a_cinema(f"cin_{name}", time_zone=zone, city=name)
        await store(database, a_showtime(name, at(starts_at), cinema=cinema))
    assert await listed(database, date="2026-06-10") == ["berlin", "newyork"]
    assert await listed(database, date="2026-06-11") == ["auckland", "london"]
    assert await listed(database, date="2026-06-11", city="London") == ["london"]
    assert await listed(database, date="2026-06-12") == []


@pytest.mark.parametrize(
    ("date", "first", "last"),
    [
        # London has 23 hours on 28 March 2027 and 25 on 25 October 2026.
        ("2027-03-28", "2027-03-28T00:00", "2027-03-28T22:59"),
        ("2026-10-25", "2026-10-24T23:00", "2026-10-25T23:59"),
    ],
)
async def test_a_day_on_which_the_clocks_change_is_taken_whole(database, date, first, last):
    minute = timedelta(minutes=1)
    for name, moment in {
        "before": at(first) - minute,
        "first": at(first),
        "last": at(last),
        "after": at(last) + minute,
    }.items():
        await store(database, a_showtime(name, moment))
    assert await listed(database, date=date) == ["first", "last"]


async def test_a_date_keeps_out_what_has_started_today(database):
    await store(database, a_showtime("sho_past", NOW - HOUR), a_showtime("sho_next", NOW + HOUR))
    assert await listed(database, date="2026-05-01") == ["sho_next"]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 11, 12, 200])
@pytest.mark.parametrize(
    "query", [{}, {"date": "2026-05-01"}, {"city": "London"}, {"movie": "mov_a"}]
)
async def test_pages_show_each_showtime_once_however_many_start_together(database, limit, query):
    names = [f"sho_{n:02}" for n in (8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3)]
    showtimes = [  # four at each of three hours
        a_showtime(name, LATER + HOUR * (place // 4)) for place, name in enumerate(names)
    ]
    await database["showtimes"].drop_indexes()  # whose order would hide a missing tie-break
    await store(database, *showtimes[::-1])
    async with catalogue_client(database) as client:
        pages = await all_pages(client, "/api/showtimes", limit=limit, **query)
    assert [showtime["id"] for page in pages for showtime in page] == names
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert 0 < len(pages[-1]) <= limit


async def test_time_that_passes_between_two_pages_skips_nothing_that_is_to_come(database):
    await store(database, *(a_showtime(f"sho_{n}", NOW + n * HOUR) for n in range(1, 6)))
    clock = Clock()
    async with catalogue_client(database, clock) as client:
        first = (await client.get("/api/showtimes?limit=2")).json()
        clock.advance(3.5 * 3600)
        rest = (await client.get(f"/api/showtimes?cursor={first['next_cursor']}")).json()
    assert [item["id"] for item in first["items"]] == ["sho_1", "sho_2"]
    assert [item["id"] for item in rest["items"]] == ["sho_4", "sho_5"]


@pytest.mark.parametrize(
    "query",
    [
        {"date": "2026-02-30"},
        {"date": "2026-5-1"},
        {"date": "20260501"},
        {"date": "2026-05-01T00:00:00Z"},
        {"date": "0"},
        {"date": "86400"},
        {"date": "1777593600"},
        {"date": "0001-01-01"},
        {"date": "9999-12-31"},
        {"date": "-001-01-01"},
        {"date": "٢٠٢٦-٠٥-٠١"},
        {"date": "today"},
        {"date": ""},
        {"date": '{"$gt":""}'},
        {"date[$gt]": "2026-05-01"},
        {"movie": '{"$ne":null}'},
        {"movie[$ne]": "x"},
        {"movie": ""},
        {"movie": "x" * 65},
        {"movie": "a}b"},
        {"cinema": "{}"},
        {"cinema": "$where"},
        {"cinema": ["cin_a", "cin_b"]},
        {"city": ""},
        {"city": "x" * 101},
        {"city[$regex]": ".*"},
        {"City": "London"},
        {"cursor": encode_cursor((10**15, "sho_a"))},
        {"cursor": encode_cursor(("2026-05-01", "sho_a"))},
    ],
)
async def test_a_filter_that_means_nothing_is_refused(database, query):
    await store(database, a_showtime("sho_a", LATER))
    async with catalogue_client(database) as client:
        answer = await client.get("/api/showtimes", params=query)
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] == "invalid_request"
    assert answer.json()["detail"]


async def test_the_showtimes_of_a_movie_take_no_second_movie(database):
    await store(database, a_showtime("sho_a", LATER))
    async with catalogue_client(database) as client:
        answer = await client.get("/api/movies/mov_a/showtimes?movie=mov_a")
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "path",
    [
        "/api/showtimes/sho_none",
        "/api/showtimes/%7B%7D",
        "/api/showtimes/$ne",
        "/api/movies/mov_none/showtimes",
        "/api/movies/%7D/showtimes",
    ],
)
async def test_what_is_not_there_is_not_found(database, path):
    await store(database, a_showtime("sho_a", LATER))
    async with catalogue_client(database) as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_the_catalogue_is_read_only(database):
    async with catalogue_client(database) as client:
        for path in ("/api/movies", "/api/showtimes", "/api/showtimes/sho_a"):
            answer = await client.post(path, json={})
            assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


async def test_a_started_showtime_can_still_be_looked_up(database):
    await store(database, a_showtime("sho_past", NOW - HOUR))
    showtime = await showtimes_of(database, Clock()).get("sho_past")
    assert showtime.closes_at == NOW - HOUR


async def test_a_showtime_reads_back_as_it_was_stored(database):
    stored = a_showtime("sho_a", LATER, blocked=frozenset({"A2", "B1"}), status="closed")
    await store(database, stored)
    read = await showtimes_of(database, Clock()).get("sho_a")
    assert read == stored
    assert read.layout.id == LAYOUT.id


async def test_a_showtime_is_remembered_for_five_seconds_and_then_read_again(database):
    await store(database, a_showtime("sho_a", LATER))
    clock = Clock()
    showtimes = showtimes_of(database, clock)
    first = await showtimes.get("sho_a")
    await database["showtimes"].update_one({"_id": "sho_a"}, {"$set": {"status": "cancelled"}})
    clock.advance(4.9)
    assert await showtimes.get("sho_a") is first
    clock.advance(0.2)
    again = await showtimes.get("sho_a")
    assert again.status == "cancelled"
    assert again.layout is first.layout


async def test_a_showtime_that_was_missing_is_found_as_soon_as_it_is_there(database):
    showtimes = showtimes_of(database, Clock())
    with pytest.raises(NotFound):
        await showtimes.get("sho_a")
    await store(database, a_showtime("sho_a", LATER))
    assert (await showtimes.get("sho_a")).id == "sho_a"


async def test_a_showtime_keeps_its_layout_when_the_auditorium_is_rebuilt(database):
    await store(database, a_showtime("sho_a", LATER))
    await database["cinemas"].update_one(
        {"_id": "cin_a"}, {"$set": {"auditoriums.0.layout_id": "lay_of_tomorrow"}}
    )
    showtime = await showtimes_of(database, Clock()).get("sho_a")
    assert showtime.layout == LAYOUT
    assert showtime.auditorium.layout_id == "lay_of_tomorrow"


async def test_a_showtime_that_lost_its_movie_or_hall_hides_no_other(database):
    hall = Auditorium("aud_gone", "Gone", LAYOUT.id)
    doomed = a_cinema("cin_doomed")
    await store(
        database,
        a_showtime("sho_1", LATER, movie=a_movie("mov_gone")),
        a_showtime("sho_2", LATER, cinema=doomed),
        a_showtime("sho_3", LATER, cinema=replace(CINEMA, id="cin_b"), auditorium=hall),
        a_showtime("sho_4", LATER),
        a_showtime("sho_5", LATER),
    )
    await database["movies"].delete_one({"_id": "mov_gone"})
    await database["cinemas"].delete_one({"_id": "cin_doomed"})
    assert await listed(database) == ["sho_4", "sho_5"]
    with pytest.raises(NotFound):
        await showtimes_of(database, Clock()).get("sho_1")


async def profiled(database, path):
    """Return the answer to `path` and what MongoDB noted of the reads that it took."""
    async with catalogue_client(database) as client:
        await client.get(path)  # the layout is known from here on
        await database.command("profile", 2)
        answer = await client.get(path)
        await database.command("profile", 0)
    return answer, [row async for row in database["system.profile"].find()]


async def test_a_page_costs_the_same_few_queries_however_much_is_on_it(database):
    for n in range(30):
        cinema, movie = a_cinema(f"cin_{n}"), a_movie(f"mov_{n}")
        await store(database, a_showtime(f"sho_{n}", LATER, cinema=cinema, movie=movie))
    answer, reads = await profiled(database, "/api/showtimes?date=2026-05-01&limit=200")
    assert len(answer.json()["items"]) == 30
    assert sorted(read["ns"].split(".")[1] for read in reads) == ["cinemas", "showtimes"]


@pytest.mark.parametrize(
    "query", ["", "&movie=mov_a", "&cinema=cin_a", "&city=London", "&date=2026-05-02"]
)
async def test_a_list_is_read_in_index_order_and_never_sorted_in_memory(database, query):
    await store(database, *(a_showtime(f"sho_{n:03}", NOW + n * HOUR) for n in range(1, 100)))
    answer, reads = await profiled(database, f"/api/showtimes?limit=5{query}")
    assert len(answer.json()["items"]) == 5
    read = next(read for read in reads if read["ns"].endswith(".showtimes"))
    assert read["planSummary"].startswith("IXSCAN")
    assert not read.get("hasSortStage")
    assert read["keysExamined"] < 50
