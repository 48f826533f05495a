"""What nobody should send, sent to every route: the right refusal each time, and nothing stored."""

import gzip
import json
import re
from urllib.parse import quote

import pytest
import pytest_asyncio
from starlette.routing import Route

from server.api.pages import encode_cursor
from server.api.requests import MAX_BODY
from server.models import new_id
from tests.running import IN_MODULE_LOOP, booked, eventually, lock, problem, served, user_id

pytestmark = IN_MODULE_LOOP

server = served()

LOCK = ("POST", "/api/showtimes/{id}/seats/lock")
BOOK = ("POST", "/api/bookings")
PAY = ("POST", "/api/bookings/{id}/pay")
CHECK = ("POST", "/api/admin/tickets/check")
CANCEL = ("POST", "/api/admin/bookings/{id}/cancel")
HOUSE = ("POST", "/api/admin/showtimes/{id}/cancel")
COUNTER = ("POST", "/api/admin/showtimes/{showtime_id}/seats/lock")
PERSON = ("PATCH", "/api/admin/users/{user_id}")
REGISTER = ("POST", "/api/auth/register")
LOGIN = ("POST", "/api/auth/login")
PASSWORD = ("POST", "/api/auth/password")

BODIES = {
    LOCK: {"seats": ["A3"]},
    BOOK: {"showtime_id": "SHOWTIME", "seats": ["A3"]},
    PAY: {"payment_method": "demo:approve"},
    CHECK: {"code": "RL1.bk_x.x"},
    CANCEL: {"seats": ["A2"], "why": "The seat is broken."},
    COUNTER: {"customer": "eve@example.com", "seats": ["A5"]},
    PERSON: {"role": "USER"},
    HOUSE: {"why": "The projector is broken."},
    REGISTER: {"email": "pat@example.com", "password": "seven grey herons", "name": "Pat"},
    LOGIN: {"email": "pat@example.com", "password": "seven grey herons"},
    PASSWORD: {"current_password": "seven grey herons", "new_password": "nine red kites"},
}
"""Every route that reads a body, with a good one."""

OPTIONAL = {CANCEL: {"seats", "why"}, HOUSE: {"why"}, PERSON: {"role"}}
FREE_TEXT = {"why", "code", "name", "password", "current_password", "new_password"}
"""Fields that take any words, as long as they are one line; a password need not even be that."""

PAGED = {"limit", "cursor"}
PLACED = PAGED | {"city", "cinema", "date"}
QUERIES = {
    ("GET", "/api/movies"): PAGED,
    ("GET", "/api/movies/{id}/showtimes"): PLACED,
    ("GET", "/api/showtimes"): PLACED | {"movie"},
    ("GET", "/api/bookings"): PAGED | {"status"},
    ("DELETE", "/api/bookings/{id}"): {"seats"},
    ("GET", "/api/showtimes/{id}/seats/locks"): PAGED,
    ("DELETE", "/api/showtimes/{id}/seats/locks"): {"seats"},
    ("DELETE", "/api/showtimes/{id}/seats/lock"): {"seats"},
    ("GET", "/api/admin/users"): PAGED | {"email", "role", "blocked"},
    ("GET", "/api/admin/bookings"): PAGED | {"movie", "cinema", "date", "user", "status"},
    ("GET", "/api/admin/audit"): PAGED | {"action", "actor", "showtime", "booking", "from", "to"},
    ("GET", "/api/auth/google/login"): {"next", "login_hint"},
}
"""Every route that reads a query and refuses what it does not know, with what it knows."""

IDS = {
    *(LOCK, PAY, CANCEL, HOUSE, COUNTER, PERSON),
    ("GET", "/api/bookings/{id}/ticket.svg"),
    ("GET", "/api/bookings/{id}/calendar.ics"),
    ("DELETE", "/api/auth/sessions/{session_id}"),
    ("GET", "/api/movies/{id}"),
    ("GET", "/api/movies/{id}/showtimes"),
    ("GET", "/api/showtimes/{id}"),
    ("GET", "/api/showtimes/{id}/seat-map"),
    ("GET", "/api/showtimes/{showtime_id}/live"),
    ("GET", "/api/showtimes/{id}/seats/lock"),
    ("DELETE", "/api/showtimes/{id}/seats/lock"),
    ("POST", "/api/showtimes/{id}/seats/lock/extend"),
    ("GET", "/api/showtimes/{id}/seats/locks"),
    ("DELETE", "/api/showtimes/{id}/seats/locks"),
    ("GET", "/api/bookings/{id}"),
    ("DELETE", "/api/bookings/{id}"),
}
"""Every route of the API with an id in its path."""

NO_BODY_READ = {
    ("POST", "/api/auth/link"),
    ("POST", "/api/showtimes/{id}/seats/lock/extend"),
    ("POST", "/api/auth/ticket"),
    ("DELETE", "/api/auth/sessions"),
    ("POST", "/api/auth/refresh"),
    ("POST", "/api/auth/logout"),
}
NOTHING_READ = {
    ("GET", "/api/auth/google/callback"),  # has tests of its own below
    ("GET", "/api/me"),
    ("GET", "/api/auth/sessions"),
    ("GET", "/api/admin/ping"),
    ("GET", "/api/admin/health"),
}

HOSTILE = [
    "{}",
    "}",
    "{",
    '{"$ne":null}',
    "$where",
    "$ne",
    "a.b",
    "a$b",
    "__proto__.x",
    "a b",
    "a\x00b",
    "\x00",
    "a\nb",
    "a\r\nSet-Cookie: x=y",
    "a:b",
    "a*",
    "'; db.users.drop(); //",
    "<script>alert(1)</script>",
    "ä",
    "💺",
    "\u202eA1",
    "..",
    "a" * 65,
    "a" * 5000,
]
"""Well-formed text that is no id."""

BROKEN_JSON = [
    b"",
    b" ",
    b"{",
    b"}",
    b"{}}",
    b'{"seats":',
    b'{"seats":["A3"]',
    b'{"seats":["A3"]}}',
    b"{'seats':['A3']}",
    b'{seats:["A3"]}',
    b'{"seats":["A3"],}',
    b'{"seats":["A3"]}\x00',
    b'\x00{"seats":["A3"]}',
    b'\xef\xbb\xbf{"seats":["A3"]}',
    b'{"seats":["A\x003"]}',
    b'{"seats":["A3\xff"]}',
    b'{"seats":["\xed\xa0\x80"]}',
    b'{"seats":["\\ud800"]}',
    b'{"seats":["\\ud800\\u0041"]}',
    b'{"\\udc00":["A3"]}',
    b'{"seats":["\\x41"]}',
    b"\xff\xfe{\x00}\x00",
    b"NaN",
    b"Infinity",
    b"[" * 30_000,
    b'{"a":' * 10_000,
    b"[" * 10_000 + b"]" * 10_000,
    b'{"seats":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    b"9" * 60_000,
    b"1e999999",
    b"null",
    b"true",
    b"0",
    b'"A3"',
    b"[]",
    b"[{}]",
    b'[{"seats":["A3"]}]',
    gzip.compress(b'{"seats":["A3"]}'),
    b"seats=A3",
    b"<seats><seat>A3</seat></seats>",
]

WRONG_TYPES = [
    None,
    True,
    0,
    1,
    -1,
    1.5,
    10**30,
    10**4000,
    float("nan"),
    float("inf"),
    {},
    {"$ne": None},
    {"$gt": ""},
    {"$where": "sleep(1000)"},
    {"0": "A3"},
    [None],
    [1],
    [[]],
    [{}],
    [{"$ne": None}],
    [["A3"]],
    ["A3", None],
]
"""Neither a text nor a list of texts."""

UNKNOWN_FIELDS = [
    {"price": 0},
    {"user_id": "usr_x"},
    {"$where": "1"},
    {"$set": {"status": "confirmed"}},
    {"seats.0": "A3"},
    {"status.$": "confirmed"},
    {"__proto__": {"role": "ADMIN"}},
    {"": ""},
    {"\x00": 1},
    {"Seats": ["A3"]},
    {"a" * 5000: 1},
]

WRONG_MEDIA_TYPES = [
    None,
    "",
    "text/plain",
    "text/json",
    "application/xml",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/jsonp",
    "application/json-seq",
    "application/problem+json",
    "text/plain, application/json",
    "*/*",
]


class Place:
    """A showtime with a lock and an open booking of Bob's, and requests to all that is there."""

    def __init__(self, server, showtime, booking, person):
        self.server, self.showtime, self.booking = server, showtime, booking
        self.person = person

    def path(self, route, thing=None):
        """The address of a route, for `thing` (raw) or for what is really there."""
        real = self.booking if "bookings" in route[1] else self.showtime
        real = "mov_a" if "movies" in route[1] else real
        real = self.person if "users" in route[1] else real
        one = re.sub(r"\{[a-z_]*id\}", "{id}", route[1])
        return one.format(id=thing or real)

    async def send(self, route, *, thing=None, query="", **content):
        """Ada may look at what administrators may; everything else is Bob's."""
        admin = "admin" in route[1] or route[1].endswith("/locks")
        headers = {"Idempotency-Key": new_id("key")} | content.pop("headers", {})
        return await (self.server.ada if admin else self.server.bob).request(
            route[0], self.path(route, thing) + query, headers=headers, **content
        )

    async def post(self, route, body, media_type="application/json", **more):
        headers = {} if media_type is None else {"Content-Type": media_type}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.send(route, content=content, headers=headers, **more)

    def good(self, route):
        text = json.dumps(BODIES[route]).replace("SHOWTIME", self.showtime)
        return json.loads(text)


async def nothing_waits(stored):
    """The background work is done with everything, so that it stores nothing by itself any more."""
    database = stored.database
    waiting = {
        "audit_outbox": {},
        "bookings": {
            "$or": [
                *({flag: True} for flag in ("audit_due", "seats_due", "refund_due")),
                {"notices": {"$gt": ""}},
            ]
        },
        "showtimes": {"cancellation_due": True},
        "notifications": {"status": "due"},
    }
    for collection, where in waiting.items():
        if await database[collection].count_documents(where):
            return False
    keys = [key async for key in stored.redis.scan_iter("*:log")]
    return not any([await stored.redis.xlen(key) for key in keys])


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def prepared(server):
    showtime = await server.showtime()
    await lock(server.bob, showtime, "A1")
    await lock(server.eve, showtime, "B1")
    booking = await booked(server.bob, showtime, "A2")
    return Place(server, showtime, booking, await user_id(server.eve))


@pytest_asyncio.fixture(loop_scope="module")
async def place(prepared):
    """After the test, both stores hold what they held before it."""
    stored = prepared.server.stored
    await eventually(lambda: nothing_waits(stored))
    before = await stored.digest()
    yield prepared
    await eventually(lambda: nothing_waits(stored))
    after = await stored.digest()
    assert {k for k in before | after if before.get(k) != after.get(k)} == set()


def name(route):
    return f"{route[0]} {route[1]}"


# -- the net has no hole -------------------------------------------------------------------------


async def test_every_route_of_the_api_is_tried(server):
    routed = {
        (method, route.path)
        for route in server.app.routes
        if isinstance(route, Route) and route.path.startswith("/api/")
        for method in route.methods - {"HEAD"}
    }
    assert IDS | BODIES.keys() | QUERIES.keys() | NO_BODY_READ | NOTHING_READ == routed
    assert {route for route in routed if "{" in route[1]} == IDS
    writing = {r for r in routed if r[0] in ("POST", "PATCH")}
    assert writing == BODIES.keys() | {r for r in NO_BODY_READ if r[0] != "DELETE"}


async def test_what_is_sent_here_is_good_but_for_what_is_bad(server):
    """The good bodies are good, and a change would be seen."""
    showtime = await server.showtime()
    booking = await booked(server.bob, showtime, "A2")
    place = Place(server, showtime, booking, await user_id(server.eve))
    before = await server.stored.digest()
    server.bob.cookies.clear()  # who signs in anew in the same browser leaves the old session
    for route in BODIES:
        answer = await place.post(route, place.good(route))
        if route == PASSWORD:
            problem(answer, 409, "no_password")  # Bob has none
        else:
            assert answer.status_code in (200, 201, 202), answer.text
    server.bob.cookies.clear()
    after = await server.stored.digest()
    changed = {key for key in before | after if before.get(key) != after.get(key)}
    assert {"bookings", "idempotency", "intents"} < changed
    assert any(key.endswith(f"{showtime}:seats") for key in changed)


# -- ids -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", sorted(IDS), ids=name)
async def test_an_id_that_cannot_be_is_not_found(place, route):
    body = {"json": place.good(route)} if route in BODIES else {}
    for thing in [*HOSTILE, "nowhere", "a" * 64, "\udcff", "\udc80\udcfe"]:
        raw = quote(thing, safe="", errors="surrogateescape").replace(".", "%2E")
        answer = await place.send(route, thing=raw, query=_needed(route), **body)
        problem(answer, 404, "not_found")


@pytest.mark.parametrize("route", sorted(r for r in IDS if "bookings" in r[1]), ids=name)
async def test_an_id_of_another_kind_is_not_found(place, route):
    body = {"json": place.good(route)} if route in BODIES else {}
    for thing in (place.showtime, "mov_a", "cin_a"):
        problem(await place.send(route, thing=thing, **body), 404, "not_found")


def _needed(route):
    """Revoking wants seats, also of a showtime that is not."""
    return "?seats=A1" if route == ("DELETE", "/api/showtimes/{id}/seats/locks") else ""


# -- bodies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", BODIES, ids=name)
async def test_broken_json_is_refused(place, route):
    for body in BROKEN_JSON:
        refusal = problem(await place.post(route, body), 422, "invalid_request")
        assert refusal["errors"], body[:50]


@pytest.mark.parametrize("route", BODIES, ids=name)
async def test_wrong_types_are_refused(place, route):
    for field in BODIES[route]:
        for value in WRONG_TYPES:
            body = place.good(route) | {field: value}
            refusal = problem(await place.post(route, body), 422, "invalid_request")
            assert refusal["errors"]
            assert all(set(e) == {"field", "message"} for e in refusal["errors"])


@pytest.mark.parametrize("route", BODIES, ids=name)
async def test_missing_fields_are_refused(place, route):
    for field in BODIES[route].keys() - OPTIONAL.get(route, set()):
        body = {name: value for name, value in place.good(route).items() if name != field}
        refusal = problem(await place.post(route, body), 422, "invalid_request")
        assert [error["field"] for error in refusal["errors"]] == [field]
    if route not in OPTIONAL:
        problem(await place.post(route, {}), 422, "invalid_request")


@pytest.mark.parametrize("route", BODIES, ids=name)
async def test_unknown_fields_are_refused(place, route):
    for extra in UNKNOWN_FIELDS:
        refusal = problem(
            await place.post(route, place.good(route) | extra), 422, "invalid_request"
        )
        assert [error["field"] for error in refusal["errors"]] == list(extra)


@pytest.mark.parametrize("route", BODIES, ids=name)
async def test_hostile_text_is_refused_in_every_field(place, route):
    for field, good in BODIES[route].items():
        if field in FREE_TEXT:
            continue
        for text in [*HOSTILE, ""]:
            body = place.good(route) | {field: [text] if isinstance(good, list) else text}
            problem(await place.post(route, body), 422, "invalid_request")


async def test_a_reason_is_one_line(place):
    for why in ("a\nb", "a\r\nSet-Cookie: x=y", "a\x00b", "\x7f", "a" * 501):
        for route in (CANCEL, HOUSE):
            problem(await place.post(route, {"why": why}), 422, "invalid_request")


async def test_text_that_is_no_ticket_is_no_ticket(place):
    for code in HOSTILE:
        answer = await place.post(CHECK, {"code": code})
        if answer.status_code != 422:
            assert (answer.status_code, answer.json()["valid"]) == (200, False)
            assert "booking" not in answer.json()


@pytest.mark.parametrize("route", [LOCK, BOOK], ids=name)
async def test_seats_are_named_once_and_are_there(place, route):
    for seats, status, code in [
        ([], 422, "invalid_request"),
        (["A3", "A3"], 422, "invalid_request"),
        (["A3", "A4", "A3"], 422, "invalid_request"),
        (["Z1"], 422, "unknown_seats"),
        (["A3", "Z1"], 422, "unknown_seats"),
        (["a3"], 422, "unknown_seats"),
        (["x" * 16], 422, "unknown_seats"),
        (["x" * 17], 422, "invalid_request"),
        ([f"S{n}" for n in range(100)], 422, "unknown_seats"),
        ([f"S{n}" for n in range(101)], 422, "invalid_request"),
        (
            [*(f"A{n}" for n in range(3, 9)), *(f"B{n}" for n in range(2, 7))],
            409,
            "seat_limit_reached",
        ),
        (["A3", "B1"], 409, "seats_unavailable"),
    ]:
        answer = await place.post(route, place.good(route) | {"seats": seats})
        problem(answer, status, code)
    # The last two refusals are answers, kept under their keys; that is all that is kept.
    await place.server.stored.database["idempotency"].delete_many({"status": 409})


async def test_a_showtime_that_is_not_cannot_be_booked(place):
    for showtime in ("nowhere", "a" * 64, "-", "_"):
        body = place.good(BOOK) | {"showtime_id": showtime}
        problem(await place.post(BOOK, body), 404, "not_found")


# -- sizes and kinds ---------------------------------------------------------------------------


def padded(good, size):
    content = json.dumps(good).encode()
    return content + b" " * (size - len(content))


async def in_chunks(content):
    for start in range(0, len(content), 16_384):
        yield content[start : start + 16_384]


@pytest.mark.parametrize("route", BODIES, ids=name)
async def test_a_body_over_64_kib_is_refused(place, route):
    for size in (MAX_BODY + 1, 2**20):
        content = padded(place.good(route), size)
        problem(await place.post(route, content), 413, "body_too_large")
        headers = {"Content-Type": "application/json"}
        answer = await place.send(route, content=in_chunks(content), headers=headers)
        assert "content-length" not in answer.request.headers
        problem(answer, 413, "body_too_large")


async def test_a_body_of_64_kib_is_read(place):
    for route in (LOCK, BOOK, PAY, CANCEL):
        [field] = set(BODIES[route]) & {"seats", "payment_method"}
        bad = place.good(route) | {field: ["Z1"] if field == "seats" else "demo:free"}
        code = "unknown_seats" if field == "seats" else "invalid_request"
        problem(await place.post(route, padded(bad, MAX_BODY)), 422, code)
        headers = {"Content-Type": "application/json"}
        content = in_chunks(padded(bad, MAX_BODY))
        problem(await place.send(route, content=content, headers=headers), 422, code)


@pytest.mark.parametrize("route", sorted(NO_BODY_READ), ids=name)
async def test_a_large_body_is_refused_also_where_none_is_read(place, route):
    problem(await place.send(route, content=b" " * 2**20), 413, "body_too_large")


@pytest.mark.parametrize("route", BODIES, ids=name)
async def test_only_json_is_taken(place, route):
    for media_type in WRONG_MEDIA_TYPES:
        answer = await place.post(route, place.good(route), media_type)
        problem(answer, 415, "unsupported_media_type")


# -- queries ---------------------------------------------------------------------------------------

BAD_VALUES = {
    "limit": [
        "",
        "0",
        "-1",
        "201",
        "abc",
        "1.5",
        "1e2",
        "9" * 30,
        "NaN",
        "0x10",
        "١",
        "{}",
        "null",
    ],
    "cursor": [
        *("", "nonsense", "{}", "W10", "bnVsbA", "====", "ü"),
        *(encode_cursor(position) for position in ((), (1,) * 5, ({},), ([],), ("\ud800", 1))),
        *(encode_cursor((number, "a")) for number in (-1, 10**30, 1.5, "x", None, {"$gt": 0})),
        *(encode_cursor((1, text)) for text in (*HOSTILE, "", None, {"$gt": ""}, "\udcff")),
        *(encode_cursor((number,)) for number in (-1, 2**63, 10**30, 1.5, None, {"$gt": 0}, "$n")),
    ],
    "date": [
        "",
        "today",
        "2026-13-01",
        "2026-02-30",
        "20260101",
        "0000-01-01",
        "1",
        "{}",
        "9999-99-99",
    ],
    "status": ["", "PAID", "pending,paid", '{"$ne":null}', "$ne", "null"],
    "from": ["", "now", "2026-01-01T00:00:00", "0001-01-01T00:00:00+23:59", '{"$gt":""}', "9" * 40],
    "to": ["", "now", "2026-01-01T00:00:00", "9999-12-31T23:59:59-23:59", "1e400", "inf"],
    "action": ["", "$where", "seat.", ".", "SEAT", "seat.locked.x", "a" * 65, "seat\x00"],
    "city": ["", "a" * 101],
    "seats": ["", ",", "A1,", ",A1", "A1,A1", "A1, A2", *HOSTILE],
    **{name: ["", *HOSTILE] for name in ("actor", "showtime", "booking", "movie", "cinema")},
    "user": ["", *HOSTILE, "a b@c.d", "a@b@c.d", "@c.d", "a@", "a\x00@c.d", "a@c.d\n"],
    "email": ["", "bob", *HOSTILE, "a b@c.d", "a@b@c.d", "@c.d", "a@", "a\x00@c.d", "a@c.d\n"],
    "role": ["", "ROOT", "admin", "USER,ADMIN", "$ne", "null"],
    "blocked": ["", "2", "maybe", "null", '{"$ne":true}'],
    "next": [],  # where it leads is for the tests of sign-in
    "login_hint": ["a" * 321],
}


@pytest.mark.parametrize("route", QUERIES, ids=name)
async def test_bad_values_are_refused_in_every_parameter(place, route):
    for parameter in sorted(QUERIES[route]):
        for value in BAD_VALUES[parameter]:
            query = f"?{parameter}={quote(value, safe='')}"
            problem(await place.send(route, query=query), 422, "invalid_request")


@pytest.mark.parametrize("route", QUERIES, ids=name)
async def test_unknown_parameters_are_refused(place, route):
    first = sorted(QUERIES[route])[0]
    for query in (
        "x=1",
        "$where=1",
        f"{first}[$ne]=1",
        f"{first}[]=1",
        f"{first}.0=1",
        f"{first.upper()}=1",
        "%00=1",
        "%ff=1",
        "=1",
        "from_=2026-01-01T00:00:00Z",
        "self=1",
    ):
        answer = await place.send(route, query=f"?{query}")
        problem(answer, 422, "invalid_request")


@pytest.mark.parametrize("route", QUERIES, ids=name)
async def test_a_parameter_given_twice_is_refused(place, route):
    for parameter in QUERIES[route]:
        for pair in ("1", "2"), ("1", "1"):
            query = "?" + "&".join(f"{parameter}={value}" for value in pair)
            problem(await place.send(route, query=query), 422, "invalid_request")


@pytest.mark.parametrize("route", [r for r in QUERIES if "city" in QUERIES[r]], ids=name)
async def test_a_city_is_only_looked_for(place, route):
    for text in [*(text for text in HOSTILE if len(text) <= 100), "%", "%zz", "\ufffd"]:
        answer = await place.send(route, query=f"?city={quote(text, safe='')}")
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"items": [], "next_cursor": None}


async def test_an_unknown_seat_cannot_be_released_or_revoked(place):
    for route in (r for r in QUERIES if "seats" in QUERIES[r]):
        for seats in ("Z1", "A1,Z1"):
            answer = await place.send(route, query=f"?seats={seats}")
            problem(answer, 422, "unknown_seats")


# -- sign-in -----------------------------------------------------------------------------------


async def test_a_return_from_nowhere_signs_nobody_in(prepared):
    """Each one is told to the audit log; nothing else is stored."""
    stored = prepared.server.stored
    await eventually(lambda: nothing_waits(stored))
    before = await stored.digest()
    queries = ["", "?state=x", "?code=x", "?state=x&code=x", "?error=x", "?state[$ne]=x&code=x"]
    queries += [f"?state={quote(t, safe='')}&code={quote(t, safe='')}" for t in HOSTILE]
    for query in queries:
        answer = await prepared.server.visitor.get(f"/api/auth/google/callback{query}")
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/?auth_error=")
        assert "set-cookie" not in answer.headers
    await eventually(lambda: nothing_waits(stored))
    after = await stored.digest()
    assert {k for k in before | after if before.get(k) != after.get(k)} == {
        "audit_logs",
        "audit_anchors",
    }


async def test_a_cookie_from_nowhere_is_worth_nothing(place):
    for text in [
        '{"$ne":null}',
        "x",
        "a.b",
        "$where",
        "a" * 3000,
        '"',
        "=",
        "x; rowlock_refresh=y",
    ]:
        headers = {"Cookie": f"rowlock_refresh={text}"}
        visitor = place.server.visitor
        problem(await visitor.post("/api/auth/refresh", headers=headers), 401, "unauthenticated")
        assert (await visitor.post("/api/auth/logout", headers=headers)).status_code == 204


async def test_the_development_provider_takes_no_nonsense_either(place):
    visitor = place.server.visitor
    for text in HOSTILE:
        value = quote(text, safe="")
        for answer in (
            await visitor.get(f"/dev/oidc/authorize?client_id={value}&redirect_uri={value}"),
            await visitor.post("/dev/oidc/token", content=f"code={value}&client_id={value}"),
            await visitor.get("/dev/oidc/userinfo", headers={"Authorization": f"Bearer {value}"}),
        ):
            assert answer.status_code in (400, 401)
