"""The shape of every answer as the contract writes it down, read by a client that trusts nobody.

Every JSON body that passes through here is also held to the conventions: times are RFC 3339 UTC
with milliseconds, a deadline comes with what is left of it, money is an amount in minor units of a
currency, ids are opaque and short.
"""

import re
from datetime import datetime

import jwt
import pytest

from tests.running import (
    IN_MODULE_LOOP,
    book,
    booked,
    eventually,
    lock,
    pay,
    problem,
    served,
    user_id,
)

pytestmark = IN_MODULE_LOOP

server = served()

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

USER = {"id": str, "email": str, "name": str, "role": str}
MONEY = {"currency": str, "minor": int}
SHOWTIME = {
    "id": str,
    "movie": dict,
    "cinema": dict,
    "auditorium": dict,
    "starts_at": str,
    "ends_at": str,
    "prices": {"standard": MONEY, "premium": MONEY},
    "status": str,
    "seats_total": int,
}
LOCK = {
    "id": str,
    "showtime_id": str,
    "seats": [str],
    "expires_at": str,
    "expires_in_ms": int,
    "extensions_left": int,
}
BOOKING = {
    "id": str,
    "showtime_id": str,
    "seats": [str],
    "status": str,
    "amount": MONEY,
    "expires_at": str,
    "expires_in_ms": int,
}
ENTRY = {
    "id": str,
    "at": str,
    "actor": {"id": str, "email": str},
    "action": str,
    "outcome": str,
    "target": dict,
    "detail": dict,
    "request_id": str,
}


def page_of(item):
    return {"items": [item], "next_cursor": (str, type(None))}


def assert_shape(body, shape, at="body"):
    """`shape` gives members and types; further members are allowed, as clients must allow them."""
    if isinstance(shape, dict):
        assert isinstance(body, dict), at
        assert shape.keys() <= body.keys(), f"{at} lacks {shape.keys() - body.keys()}"
        for name, below in shape.items():
            assert_shape(body[name], below, f"{at}.{name}")
    elif isinstance(shape, list):
        assert isinstance(body, list), at
        assert body, f"{at} is empty and shows nothing"
        for item in body:
            assert_shape(item, shape[0], f"{at}[]")
    else:
        assert isinstance(body, shape), f"{at} is {body!r}"
        assert not (shape is int and isinstance(body, bool)), at


def assert_conventions(value, name="body"):
    if isinstance(value, list):
        for item in value:
            assert_conventions(item, name)
    elif isinstance(value, dict):
        if "expires_at" in value:
            assert isinstance(value["expires_in_ms"], int)
            assert value["expires_in_ms"] >= 0
        if value.keys() & MONEY.keys():
            assert value.keys() == MONEY.keys()
            assert re.fullmatch(r"[A-Z]{3}", value["currency"])
            assert type(value["minor"]) is int
        for member, below in value.items():
            assert re.fullmatch(r"[a-zA-Z0-9_-]+", member), f"{name}.{member}"
            assert_conventions(below, member)
    elif name == "at" or name.endswith("_at"):
        assert TIME.fullmatch(value), f"{name} is {value!r}"
        datetime.fromisoformat(value)
    elif (name == "id" or name.endswith("_id")) and value is not None:
        assert ID.fullmatch(value), f"{name} is {value!r}"


def told(answer, status, shape):
    """Return the body of an answer, which must be of this status, shape and the conventions."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    answer.content.decode("utf-8")
    assert_shape(body, shape)
    assert_conventions(body)
    return body


async def test_the_catalogue(server):
    showtime = await server.showtime()
    visitor = server.visitor
    movie = {"id": str, "title": str}
    told(await visitor.get("/api/movies"), 200, page_of(movie))
    told(await visitor.get("/api/movies/mov_a"), 200, {"movie": movie})
    told(await visitor.get("/api/movies/mov_a/showtimes"), 200, page_of(SHOWTIME))
    told(await visitor.get("/api/showtimes"), 200, page_of(SHOWTIME))
    told(await visitor.get(f"/api/showtimes/{showtime}"), 200, {"showtime": SHOWTIME})


async def test_the_seat_map(server):
    showtime = await server.showtime()
    answer = await server.visitor.get(f"/api/showtimes/{showtime}/seat-map")
    seat = {"id": str, "x": (int, float), "category": str, "accessible": bool}
    body = told(
        answer,
        200,
        {
            "showtime_id": str,
            "layout": {"rows": [{"label": str, "seats": [seat]}]},
            "prices": {"standard": MONEY},
            "epoch": str,
            "seq": int,
            "states": str,
        },
    )
    seats = [seat["id"] for row in body["layout"]["rows"] for seat in row["seats"]]
    assert len(body["states"]) == len(seats) == len(set(seats))
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,16}", seat) for seat in seats)


async def test_locks(server):
    showtime = await server.showtime()
    address = f"/api/showtimes/{showtime}/seats/lock"
    none = {"lock": type(None)}
    told(await server.bob.get(address), 200, none)
    told(await lock(server.bob, showtime, "A1", "A2"), 200, {"lock": LOCK})
    told(await server.bob.get(address), 200, {"lock": LOCK})
    told(await server.bob.post(f"{address}/extend"), 200, {"lock": LOCK})
    held = LOCK | {"user_id": str}
    told(await server.ada.get(f"{address}s"), 200, page_of(held))
    told(await server.bob.delete(f"{address}?seats=A1"), 200, {"released": [str], "lock": LOCK})
    told(await server.ada.delete(f"{address}s?seats=A2"), 200, {"released": [str]})
    assert (await server.bob.delete(address)).json() == {"released": [], "lock": None}


async def test_bookings(server):
    showtime = await server.showtime()
    made = told(await book(server.bob, showtime, "A1"), 201, {"booking": BOOKING})
    booking = made["booking"]["id"]
    told(await server.bob.get(f"/api/bookings/{booking}"), 200, {"booking": BOOKING})
    told(await pay(server.bob, booking), 200, {"booking": BOOKING})
    told(await server.bob.get("/api/bookings"), 200, page_of(BOOKING))
    told(await server.bob.delete(f"/api/bookings/{booking}"), 200, {"booking": BOOKING})
    open_ = await booked(server.bob, showtime, "A1")
    told(await pay(server.bob, open_, "demo:timeout"), 202, {"booking": BOOKING})


async def test_refusals(server):
    showtime = await server.showtime()
    await lock(server.eve, showtime, "A1")
    sold = await booked(server.eve, showtime, "A2")
    await pay(server.eve, sold)
    refusal = problem(await lock(server.bob, showtime, "A1", "A2"), 409, "seats_unavailable")
    assert_conventions(refusal)
    locked, gone = refusal["unavailable"]
    assert_shape(locked, {"seat": str, "state": str, "retry_in_ms": int})
    assert (locked["state"], gone) == ("locked", {"seat": "A2", "state": "booked"})
    members = {"type", "title", "status", "detail", "code", "request_id"}
    assert refusal.keys() == members | {"unavailable"}
    plain = problem(await server.bob.get("/api/bookings/nowhere"), 404, "not_found")
    assert plain.keys() == members


async def test_people(server):
    ways = {"has_password": bool, "google_linked": bool, "email_verified": bool}
    me = told(await server.bob.get("/api/me"), 200, {"user": USER, "account": ways})
    assert me["user"] | {"id": ""} == {
        "id": "",
        "email": "bob@example.com",
        "name": "Bob",
        "role": "USER",
    }
    assert (await server.ada.get("/api/me")).json()["user"]["role"] == "ADMIN"
    refreshed = told(
        await server.bob.post("/api/auth/refresh"),
        200,
        {"access_token": str, "token_type": str, "expires_in": int, "user": USER},
    )
    assert refreshed["token_type"] == "Bearer"
    assert refreshed["user"] == me["user"]
    ticket = told(
        await server.bob.post("/api/auth/ticket"), 200, {"ticket": str, "expires_in": int}
    )
    assert ticket["expires_in"] == 30


async def test_the_access_token(server):
    token = server.bob.headers["Authorization"].removeprefix("Bearer ")
    header = jwt.get_unverified_header(token)
    assert header["typ"] == "at+jwt"
    assert header["kid"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims.keys() == {"iss", "aud", "sub", "role", "iat", "nbf", "exp", "jti", "sid"}
    assert claims["sub"] == await user_id(server.bob)
    assert claims["role"] == "USER"
    assert claims["exp"] - claims["iat"] == server.settings.jwt_ttl == 900


async def test_for_administrators(server):
    assert (await server.ada.get("/api/admin/ping")).status_code == 200
    showtime = await server.showtime()
    await lock(server.bob, showtime, "A1")

    async def written():
        answer = await server.ada.get(f"/api/admin/audit?showtime={showtime}")
        return answer if answer.json()["items"] else None

    told(await eventually(written), 200, page_of(ENTRY))


@pytest.mark.parametrize("path", ["/health", "/health/live"])
async def test_health(server, path):
    told(await server.visitor.get(path), 200, {"status": str})


async def test_text_is_utf8(server):
    answer = await server.visitor.get("/api/showtimes", params={"city": "Zürich 💺"})
    assert answer.status_code == 200
    refusal = await server.visitor.get("/api/showtimes", params={"ü💺": "1"})
    assert "ü💺" in refusal.content.decode("utf-8")


async def test_the_conventions_can_be_broken():
    """A checker that finds nothing wrong would find nothing at all."""
    for wrong in (
        {"expires_at": "2026-01-01T00:00:00.000Z"},
        {"created_at": "2026-01-01T00:00:00Z"},
        {"created_at": "2026-01-01T00:00:00.000+00:00"},
        {"amount": {"currency": "EUR", "minor": 12.5}},
        {"amount": {"currency": "EUR"}},
        {"items": [{"id": "a.b"}]},
    ):
        with pytest.raises((AssertionError, KeyError)):
            assert_conventions(wrong)
    with pytest.raises(AssertionError):
        assert_shape({"lock": {"id": 1}}, {"lock": {"id": str}})
    with pytest.raises(AssertionError):
        assert_shape({"items": []}, page_of({}))
