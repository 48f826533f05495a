"""The demo catalogue: rich enough to play with, and safe to load at every start."""

import asyncio
import re
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from server.api.movies import movie_json
from server.catalogue import SEAT_ID
from server.demo import DAYS, MOVIES, houses, seed
from server.demo_halls import classic, fan, grand, studio
from server.models import ID
from server.repo.cinemas import CinemaRepo
from tests.programme import Clock, all_pages, catalogue_client, showtimes_of

TODAY = date(2026, 10, 21)  # the clocks of Europe change four days later
PER_DAY = 15
COLLECTIONS = ("movies", "cinemas", "layouts", "showtimes")


async def content(database):
    return {name: {row["_id"]: row async for row in database[name].find()} for name in COLLECTIONS}


async def programme(database):
    """Every demo showtime as the service reads it back."""
    showtimes = showtimes_of(database, Clock())
    ids = await database["showtimes"].distinct("_id")
    return [await showtimes.get(showtime_id) for showtime_id in ids]


async def test_seeding_twice_stores_the_same_once(database):
    assert await seed(database, TODAY) == DAYS * PER_DAY
    before = await content(database)
    assert await seed(database, TODAY) == 0
    assert await content(database) == before


async def test_the_next_day_adds_one_day_and_keeps_the_rest(database):
    await seed(database, TODAY)
    before = await content(database)
    assert await seed(database, TODAY + timedelta(days=1)) == PER_DAY
    after = await content(database)
    for name in COLLECTIONS:
        assert before[name].items() <= after[name].items()


async def test_seeding_leaves_alone_what_people_changed(database):
    await seed(database, TODAY)
    await database["movies"].update_one({"_id": MOVIES[0].id}, {"$set": {"title": "Renamed"}})
    await database["movies"].insert_one({"_id": "mov_own", "release_date": "2020-01-01"})
    changed = await database["showtimes"].find_one_and_update({}, {"$set": {"status": "cancelled"}})
    before = await content(database)
    await seed(database, TODAY)
    assert await content(database) == before
    assert before["showtimes"][changed["_id"]]["status"] == "cancelled"


async def test_several_processes_may_seed_at_once(database):
    added = await asyncio.gather(*(seed(database, TODAY) for _ in range(5)))
    assert sum(added) == DAYS * PER_DAY
    assert {name: len(rows) for name, rows in (await content(database)).items()} == {
        "movies": len(MOVIES),
        "cinemas": 2,
        "layouts": 4,
        "showtimes": DAYS * PER_DAY,
    }


async def test_there_is_something_to_see_at_any_hour_of_the_week(database):
    await seed(database, TODAY)
    starts = sorted(showtime.starts_at for showtime in await programme(database))
    midnight = datetime(2026, 10, 21, tzinfo=UTC)
    for hour in range(24 * (DAYS - 1)):
        now = midnight + timedelta(hours=hour)
        upcoming = [start for start in starts if start > now]
        assert upcoming[0].date() <= now.date() + timedelta(days=1)


async def test_by_default_the_week_begins_today(database):
    await seed(database)
    for house in houses():
        zone = ZoneInfo(house.cinema.time_zone)
        rows = database["showtimes"].find({"cinema_id": house.cinema.id})
        days = {row["starts_at"].astimezone(zone).date() async for row in rows}
        today = datetime.now(zone).date()
        assert days in (  # midnight may pass while this runs
            {today + timedelta(days=n) for n in range(DAYS)},
            {today + timedelta(days=n - 1) for n in range(DAYS)},
        )


async def test_no_auditorium_shows_two_films_at_a_time(database):
    await seed(database, TODAY)
    by_hall = defaultdict(list)
    for showtime in await programme(database):
        by_hall[showtime.auditorium.id].append((showtime.starts_at, showtime.ends_at))
    assert len(by_hall) == 4
    for showings in by_hall.values():
        for earlier, later in pairwise(sorted(showings)):
            assert earlier[1] <= later[0]


async def test_every_film_runs_at_every_cinema_on_every_day(database):
    await seed(database, TODAY)
    seen = defaultdict(set)
    for showtime in await programme(database):
        zone = ZoneInfo(showtime.cinema.time_zone)
        seen[showtime.cinema.id, showtime.starts_at.astimezone(zone).date()].add(showtime.movie.id)
    assert len(seen) == 2 * DAYS
    assert all(shown == {movie.id for movie in MOVIES} for shown in seen.values())


async def test_hours_on_the_wall_stay_when_the_clocks_change(database):
    await seed(database, TODAY)
    for showtime in await programme(database):
        wall = showtime.starts_at.astimezone(ZoneInfo(showtime.cinema.time_zone))
        assert showtime.id.endswith(f"{wall:%Y%m%d-%H%M}")


async def test_cinemas_differ_in_city_zone_and_currency(database):
    await seed(database, TODAY)
    cinemas = await CinemaRepo(database).find()
    assert len({cinema.city for cinema in cinemas}) == 2
    assert len({cinema.time_zone for cinema in cinemas}) == 2
    currencies = defaultdict(set)
    for showtime in await programme(database):
        currencies[showtime.cinema.city].update(p.currency for p in showtime.prices.values())
        assert showtime.prices.keys() == showtime.layout.categories
        assert showtime.blocked
    assert currencies == {"London": {"GBP"}, "Berlin": {"EUR"}}


async def test_all_of_it_can_be_browsed(database):
    await seed(database, TODAY)
    clock = Clock(datetime(2026, 10, 21, 0, tzinfo=UTC))
    async with catalogue_client(database, clock) as client:
        movies = await all_pages(client, "/api/movies")
        showtimes = await all_pages(client, "/api/showtimes", limit=10)
    assert sorted(movie["id"] for movie in movies[0]) == sorted(movie.id for movie in MOVIES)
    shown = [showtime["id"] for page in showtimes for showtime in page]
    assert len(shown) == len(set(shown)) == DAYS * PER_DAY
    assert all(ID.fullmatch(showtime_id) for showtime_id in shown)


@pytest.mark.parametrize("movie", MOVIES, ids=lambda movie: movie.id)
def test_a_demo_film_has_what_a_page_needs(movie):
    assert ID.fullmatch(movie.id)
    assert re.fullmatch(r"#[0-9a-f]{6}", movie.accent)
    assert all(movie_json(movie).values())


@pytest.mark.parametrize(
    ("draw", "seats", "categories"),
    [
        (studio, 60, {"standard": 42, "premium": 18}),
        (classic, 296, {"standard": 246, "premium": 50}),
        (fan, 155, {"standard": 98, "premium": 45, "sofa": 12}),
        (grand, 1098, {"standard": 642, "premium": 112, "balcony": 344}),
    ],
)
def test_a_hall_is_drawn_to_be_built(draw, seats, categories):
    hall = draw()
    assert len(hall.seats) == seats
    assert Counter(seat.category for seat in hall.seats) == categories
    assert all(SEAT_ID.fullmatch(seat) for seat in hall.seat_ids)
    assert sum(seat.accessible for seat in hall.seats) >= 2
    aisles = 0
    for row in hall.rows:
        for left, right in pairwise(row.seats):
            assert right.x - left.x >= 1, f"{left.id} and {right.id} overlap"
            aisles += right.x - left.x >= 2
    assert aisles >= len(hall.rows) - 1


def test_the_fan_is_offset_by_half_a_seat_and_the_halls_differ_in_shape():
    assert {seat.x % 1 for seat in fan().seats} == {0, 0.5}
    assert len({draw().id for draw in (studio, classic, fan, grand)}) == 4
