"""GET /api/movies and /api/movies/{id}, on the real store."""

from datetime import date, timedelta

import pytest

from server.api.pages import encode_cursor
from server.repo.movies import MovieRepo
from tests.programme import MOVIE, a_movie, all_pages, catalogue_client


async def test_movies_come_newest_release_first(database):
    days = {"mov_old": 1, "mov_new": 30, "mov_mid": 15}
    movies = [a_movie(name, release_date=date(2026, 4, day)) for name, day in days.items()]
    await MovieRepo(database).add_missing(movies)
    async with catalogue_client(database) as client:
        answer = await client.get("/api/movies")
    assert [movie["id"] for movie in answer.json()["items"]] == ["mov_new", "mov_mid", "mov_old"]
    assert answer.json()["next_cursor"] is None


async def test_a_movie_is_shown_whole(database):
    await MovieRepo(database).add_missing([MOVIE])
    async with catalogue_client(database) as client:
        answer = await client.get("/api/movies/mov_a")
        listed = await client.get("/api/movies")
    assert answer.json() == {
        "movie": {
            "id": "mov_a",
            "title": "A Film",
            "synopsis": "Somebody does something.",
            "genres": ["Drama"],
            "duration_min": 100,
            "rating": "12+",
            "release_date": "2026-04-01",
            "accent": "#336699",
            "director": "A. Person",
            "cast": ["B. Person"],
        }
    }
    assert listed.json()["items"] == [answer.json()["movie"]]


@pytest.mark.parametrize("name", ["mov_none", "%7B%22$ne%22:null%7D", "a.b", "x" * 65, "}", "%00"])
async def test_a_movie_that_is_not_there_is_not_found(database, name):
    await MovieRepo(database).add_missing([MOVIE])
    async with catalogue_client(database) as client:
        answer = await client.get(f"/api/movies/{name}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
async def test_pages_show_each_movie_once_however_many_share_a_date(database, limit):
    first = date(2026, 4, 1)
    names = [f"mov_{n}" for n in (4, 3, 2, 1, 0, 6, 5)]  # five on one date, two the day before
    movies = [
        a_movie(name, release_date=first - timedelta(days=place // 5))
        for place, name in enumerate(names)
    ]
    await database["movies"].drop_indexes()  # whose order would hide a missing tie-break
    await MovieRepo(database).add_missing(movies[::2] + movies[1::2])
    async with catalogue_client(database) as client:
        pages = await all_pages(client, "/api/movies", limit=limit)
    shown = [movie["id"] for page in pages for movie in page]
    assert shown == names
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert 0 < len(pages[-1]) <= limit


async def test_a_movie_that_comes_in_front_shifts_no_page(database):
    movies = MovieRepo(database)
    await movies.add_missing([a_movie("mov_1"), a_movie("mov_2"), a_movie("mov_3")])
    async with catalogue_client(database) as client:
        first = (await client.get("/api/movies?limit=2")).json()
        await movies.add_missing([a_movie("mov_9", release_date=date(2026, 4, 2))])
        rest = (await client.get(f"/api/movies?limit=2&cursor={first['next_cursor']}")).json()
    assert [movie["id"] for movie in first["items"]] == ["mov_3", "mov_2"]
    assert [movie["id"] for movie in rest["items"]] == ["mov_1"]


BAD_CURSORS = [
    "",
    "x",
    "!!!!",
    "§",
    "bnVsbA",  # null
    "W10",  # []
    "e30",  # {}
    "W1tbW1tb",  # [[[[[[
    "////",
    encode_cursor((1,)),
    encode_cursor(("1", "mov_a")),
    encode_cursor((True, "mov_a")),
    encode_cursor((1.5, "mov_a")),
    encode_cursor((-1, "mov_a")),
    encode_cursor((10**30, "mov_a")),
    encode_cursor((float("nan"), "mov_a")),
    encode_cursor((float("inf"), "mov_a")),
    encode_cursor((1, 1)),
    encode_cursor((1, None)),
    encode_cursor((1, {"$gt": ""})),
    encode_cursor(({"$gt": ""}, "mov_a")),
    encode_cursor((1, "mov_a", 1)),
    encode_cursor((1, "a b")),
    encode_cursor(("[" * 20_000,)),
    "W1tb" * 10_000,  # brackets, deeper than any parser follows
]
BAD_QUERIES = [
    {"limit": "0"},
    {"limit": "-1"},
    {"limit": "201"},
    {"limit": "1e3"},
    {"limit": "9" * 5000},
    {"limit": ""},
    {"limit": "ten"},
    {"limit": '{"$gt":0}'},
    {"limit[$gt]": "0"},
    {"$where": "1"},
    {"unknown": "1"},
    {"limit": ["1", "1"]},
]


@pytest.mark.parametrize("path", ["/api/movies", "/api/showtimes", "/api/movies/mov_a/showtimes"])
async def test_a_query_that_means_nothing_is_refused(database, path):
    await MovieRepo(database).add_missing([MOVIE])
    async with catalogue_client(database) as client:
        for query in [*BAD_QUERIES, *({"cursor": cursor} for cursor in BAD_CURSORS)]:
            answer = await client.get(path, params=query)
            assert answer.status_code == 422, (query, answer.text)
            assert answer.json()["code"] == "invalid_request"
            assert answer.json()["request_id"] == answer.headers["x-request-id"]
