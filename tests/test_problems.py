"""What every answer has in common: request ids, headers, and problem documents for all refusals."""

import asyncio
import inspect
import json
import logging
import re
import time

import httpx
import jwt
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Match, Route

from server import errors
from server.api.middleware import SECURITY_HEADERS, RequestEnvelope
from server.api.problems import exception_handlers, render
from server.auth.tokens import AccessTokens
from server.errors import RowlockError
from server.repo.users import User
from tests.log_lines import listening
from tests.running import IN_MODULE_LOOP, eventually, problem, served

pytestmark = IN_MODULE_LOOP

server = served()

SHOWTIME, BOOKING = "/api/showtimes/sho_x", "/api/bookings/bk_x"
SIGNED_IN = [
    ("GET", "/api/me"),
    ("POST", "/api/auth/link"),
    ("POST", "/api/auth/password"),
    ("POST", "/api/auth/ticket"),
    ("GET", "/api/auth/sessions"),
    ("DELETE", "/api/auth/sessions"),
    ("DELETE", "/api/auth/sessions/nowhere"),
    ("GET", f"{SHOWTIME}/seats/lock"),
    ("POST", f"{SHOWTIME}/seats/lock"),
    ("DELETE", f"{SHOWTIME}/seats/lock"),
    ("POST", f"{SHOWTIME}/seats/lock/extend"),
    ("GET", "/api/bookings"),
    ("POST", "/api/bookings"),
    ("GET", BOOKING),
    ("DELETE", BOOKING),
    ("POST", f"{BOOKING}/pay"),
    ("GET", f"{BOOKING}/ticket.svg"),
    ("GET", f"{BOOKING}/calendar.ics"),
]
ADMIN_ONLY = [
    ("DELETE", f"{SHOWTIME}/seats/locks"),
    ("GET", "/api/admin/ping"),
    ("GET", "/api/admin/health"),
    ("GET", "/api/admin/audit"),
    ("POST", "/api/admin/tickets/check"),
    ("POST", "/api/admin/bookings/bk_x/cancel"),
    ("POST", "/api/admin/showtimes/sho_x/cancel"),
    ("GET", "/api/admin/users"),
    ("PATCH", "/api/admin/users/usr_x"),
]
BOX_OFFICE_TOO = [
    ("GET", f"{SHOWTIME}/seats/locks"),
    ("GET", "/api/admin/bookings"),
    ("POST", "/api/admin/showtimes/sho_x/seats/lock"),
]
OPEN = [
    ("GET", "/api/movies"),
    ("GET", "/api/movies/mov_x"),
    ("GET", "/api/movies/mov_x/showtimes"),
    ("GET", "/api/showtimes"),
    ("GET", SHOWTIME),
    ("GET", f"{SHOWTIME}/seat-map"),
    ("GET", f"{SHOWTIME}/live"),
    ("GET", "/api/auth/google/login"),
    ("GET", "/api/auth/google/callback"),
    ("POST", "/api/auth/register"),
    ("POST", "/api/auth/login"),
    ("POST", "/api/auth/refresh"),
    ("POST", "/api/auth/logout"),
]


def routes_of(app, method, path):
    scope = {"type": "http", "method": method, "path": path, "headers": []}
    routes = [route for route in app.routes if isinstance(route, Route)]
    return [route for route in routes if route.matches(scope)[0] is Match.FULL]


# -- the tree of errors ------------------------------------------------------------------------

IN_THE_CONTRACT = {
    400: {"idempotency_key_missing"},
    401: {"unauthenticated"},
    402: {"payment_declined"},
    403: {"forbidden"},
    404: {"not_found"},
    405: {"method_not_allowed"},
    409: {
        "seats_unavailable",
        "seat_limit_reached",
        "lock_expired",
        "extension_limit_reached",
        "booking_state",
        "idempotency_in_progress",
        "showtime_closed",
        "email_taken",
        "email_unverified",
        "no_password",
        "last_admin",
    },
    413: {"body_too_large"},
    415: {"unsupported_media_type"},
    421: {"host_not_allowed"},
    422: {"invalid_request", "unknown_seats", "idempotency_key_reused", "weak_password"},
    429: {"rate_limited"},
    503: {"store_unavailable"},
}
BEYOND_IT = {"webhook_refused"}
"""What only a payment provider is told."""


def refusals():
    """Every error that is answered, each made with the fields it is always made with."""
    made = {
        errors.UnknownSeats: lambda: errors.UnknownSeats(["Z1"]),
        errors.SeatsUnavailable: lambda: errors.SeatsUnavailable([{"seat": "A1"}]),
        errors.SeatLimitReached: lambda: errors.SeatLimitReached(10),
        errors.WeakPassword: lambda: errors.WeakPassword("It is common.", "common"),
    }
    kinds = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, RowlockError) and hasattr(kind, "code")
    ]
    return [made.get(kind, kind)() for kind in kinds]


async def test_the_errors_are_those_of_the_contract():
    known = {}
    for error in refusals():
        if error.code in BEYOND_IT:
            continue
        known.setdefault(error.status, set()).add(error.code)
    assert known == IN_THE_CONTRACT


@pytest.mark.parametrize("error", refusals(), ids=lambda error: error.code)
async def test_every_error_is_a_whole_problem_document(error):
    answer = render(error, "req_1")
    body = json.loads(answer.body)
    assert answer.media_type == "application/problem+json"
    assert answer.status_code == body["status"] == error.status
    assert (body["code"], body["title"], body["detail"]) == (error.code, error.title, error.detail)
    assert body["type"].endswith(f"#{error.code}")
    assert body["request_id"] == "req_1"
    assert body.items() >= error.fields.items()
    assert error.detail
    if error.status in (429, 503) or error.code == "idempotency_in_progress":
        assert int(answer.headers["retry-after"]) >= 1


async def test_the_drawing_of_the_tree_is_true():
    """The docstring of `server.errors` names each error with its status and its word."""
    drawn = re.findall(r"^[├└]── (\w+) +(\d+) (\w+)", errors.__doc__, re.MULTILINE)
    assert sorted(drawn) == sorted(
        (type(error).__name__, str(error.status), error.code) for error in refusals()
    )


# -- a bug -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bug", [RuntimeError, asyncio.CancelledError])
async def test_a_bug_is_logged_once_and_tells_nothing(bug):
    """Also something else that was cancelled, and was waited for: nobody has cancelled us."""

    async def broken(request):
        raise bug("the password is 12345")

    app = Starlette(
        routes=[Route("/api/broken", broken)],
        middleware=[Middleware(RequestEnvelope)],
        exception_handlers=exception_handlers(()),
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        with listening() as lines:
            answer = await client.get("/api/broken", headers={"X-Request-ID": "mine"})
            (told,) = (line for line in lines() if line["level"] == "ERROR")
    body = problem(answer, 500, "internal_error")
    assert body["request_id"] == answer.headers["x-request-id"] == "mine"
    assert "12345" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert told["request_id"] == "mine"
    assert "12345" in told["error"]


async def test_an_answer_that_is_cut_off_after_its_beginning_is_not_begun_again():
    begun, sent = asyncio.Event(), []

    async def long(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        begun.set()
        await asyncio.sleep(60)

    async def send(message):
        sent.append(message["type"])

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    answering = asyncio.create_task(RequestEnvelope(long)(scope, None, send))
    await begun.wait()
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert sent == ["http.response.start"]


async def test_a_store_that_does_not_answer_is_no_bug(caplog):
    async def waiting(request):
        raise ConnectionError("nobody there")

    app = Starlette(
        routes=[Route("/api/waiting", waiting)],
        middleware=[Middleware(RequestEnvelope)],
        exception_handlers=exception_handlers((ConnectionError,)),
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.get("/api/waiting")
    problem(answer, 503, "store_unavailable")
    assert answer.headers["retry-after"] == "1"
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


# -- request ids and headers ---------------------------------------------------------------------

EVERYWHERE = ["/api/movies", "/api/nowhere", "/nowhere", "/api/bookings", "/health", "/"]


@pytest.mark.parametrize("path", EVERYWHERE)
@pytest.mark.parametrize("mine", ["a", "A-Z.0_9", "x" * 64])
async def test_the_request_id_of_the_caller_is_kept(server, path, mine):
    answer = await server.visitor.get(path, headers={"X-Request-ID": mine})
    assert answer.headers["x-request-id"] == mine
    if "problem" in answer.headers["content-type"]:
        assert answer.json()["request_id"] == mine


@pytest.mark.parametrize("path", EVERYWHERE)
@pytest.mark.parametrize("bad", [b"", b"x" * 65, b"a b", b"{}", b"a\tb", b"\xe4", b'"', b"$ne"])
async def test_a_malformed_request_id_is_replaced(server, path, bad):
    answer = await server.visitor.get(path, headers={b"X-Request-ID": bad})
    given = answer.headers["x-request-id"]
    assert re.fullmatch(r"req_[0-9a-f]{32}", given)
    if "problem" in answer.headers["content-type"]:
        assert answer.json()["request_id"] == given


async def test_two_requests_have_two_ids(server):
    answers = [await server.visitor.get("/health/live") for _ in range(2)]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 2


async def test_the_log_line_carries_the_same_id(server):
    with listening() as lines:
        await server.visitor.get("/api/nowhere", headers={"X-Request-ID": "find-me"})
        (line,) = (line for line in lines() if line.get("request_id") == "find-me")
    assert line["message"].startswith("GET /api/nowhere 404 ")


@pytest.mark.parametrize("path", [*EVERYWHERE, "/static/main.js", "/static/nowhere"])
async def test_every_answer_has_the_security_headers(server, path):
    answer = await server.visitor.get(path)
    assert answer.headers.items() >= {k.lower(): v for k, v in SECURITY_HEADERS.items()}.items()
    assert "server" not in answer.headers
    if path.startswith("/api/"):
        assert answer.headers["cache-control"] == "no-store"


async def test_an_answer_without_a_body_has_them_too(server):
    answer = await server.visitor.post("/api/auth/logout")
    assert answer.status_code == 204
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-request-id"]


# -- addresses and methods -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/api",
        "/api/nowhere",
        "/api/movies/",
        "/api/movies/mov_x/",
        "/api/movies/a/b/c",
        "/api/movies/..%2f..%2fetc%2fpasswd",
        "/api/movies/%00",
        "/api/movies/%ff%fe",
        "/static/nowhere.js",
        "/static/%2e%2e/server/app.py",
        "/static/..%2fpyproject.toml",
        "/.env",
    ],
)
@pytest.mark.parametrize("accept", ["text/html", "*/*"])
async def test_an_unknown_address_is_a_problem_document_for_everyone(server, path, accept):
    answer = await server.visitor.get(path, headers={"Accept": accept})
    problem(answer, 404, "not_found")


@pytest.mark.parametrize(("method", "path"), [*SIGNED_IN, *ADMIN_ONLY, *BOX_OFFICE_TOO, *OPEN])
@pytest.mark.parametrize("wrong", ["PUT", "PATCH", "DELETE", "POST", "GET", "TRACE", "OPTIONS"])
async def test_a_wrong_method_is_told_the_right_ones(server, method, path, wrong):
    methods = ("GET", "HEAD", "POST", "PATCH", "DELETE")
    right = {m for m in methods if routes_of(server.app, m, path)}
    assert method in right
    if wrong in right:
        return
    answer = await server.ada.request(wrong, path)
    problem(answer, 405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == right


async def test_files_are_only_read(server):
    answer = await server.visitor.post("/static/main.js")
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD"


# -- who may ---------------------------------------------------------------------------------------


async def test_every_address_of_the_api_is_on_one_of_the_lists(server):
    """A new route has to be put where it belongs, and is then held to it."""
    routed = {
        (method, route.path)
        for route in server.app.routes
        if isinstance(route, Route) and route.path.startswith("/api/")
        for method in route.methods - {"HEAD"}
    }
    listed = {
        (method, route.path)
        for method, path in [*SIGNED_IN, *ADMIN_ONLY, *BOX_OFFICE_TOO, *OPEN]
        for route in routes_of(server.app, method, path)
    }
    assert listed == routed


def forged(server, **changes):
    """An access token as ours are, except for what is changed."""
    now = int(time.time())
    key = changes.pop("key", server.settings.jwt_secret.get_secret_value())
    algorithm = changes.pop("algorithm", "HS256")
    mine = server.ada.headers["Authorization"].removeprefix("Bearer ")
    header = jwt.get_unverified_header(mine) | {"alg": algorithm} | changes.pop("header", {})
    claims = jwt.decode(mine, options={"verify_signature": False})
    claims |= {"iat": now, "nbf": now, "exp": now + 60, "role": "ADMIN"} | changes
    return jwt.encode(claims, key, algorithm, header)


def bad_credentials(server):
    good = server.ada.headers["Authorization"].removeprefix("Bearer ")
    spent = AccessTokens(server.settings, clock=lambda: time.time() - 10_000)
    return {
        "none": None,
        "empty": "",
        "no token": "Bearer",
        "another scheme": f"Basic {good}",
        "no scheme": good,
        "garbage": "Bearer garbage",
        "not ASCII": "Bearer \xe4\xf6\xfc",
        "a piece of it": f"Bearer {good[:-5]}",
        "expired": f"Bearer {spent.mint(User('usr_x', 'x@example.com', 'X', 'ADMIN'))[0]}",
        "another key": f"Bearer {forged(server, key='k' * 48)}",
        "unsigned": f"Bearer {forged(server, key=None, algorithm='none')}",
        "another audience": f"Bearer {forged(server, aud='another')}",
        "another issuer": f"Bearer {forged(server, iss='https://another')}",
        "another type": f"Bearer {forged(server, header={'typ': 'JWT'})}",
        "an unknown role": f"Bearer {forged(server, role='ROOT')}",
    }


@pytest.mark.parametrize(("method", "path"), [*SIGNED_IN, *ADMIN_ONLY, *BOX_OFFICE_TOO])
async def test_without_a_good_token_nothing_is_told(server, method, path):
    for why, credentials in bad_credentials(server).items():
        headers = {} if credentials is None else {"Authorization": credentials.encode("latin-1")}
        answer = await server.visitor.request(method, path, headers=headers)
        problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer", why


async def test_a_forged_token_would_be_taken_if_it_were_whole(server):
    """The forger of the test above can forge: only what is changed makes a token bad."""
    headers = {"Authorization": f"Bearer {forged(server)}"}
    assert (await server.visitor.get("/api/admin/ping", headers=headers)).status_code == 200


@pytest.mark.parametrize(("method", "path"), [*ADMIN_ONLY, *BOX_OFFICE_TOO])
async def test_a_user_is_no_administrator(server, method, path):
    problem(await server.bob.request(method, path), 403, "forbidden")
    answer = await server.ada.request(method, path)
    assert answer.status_code not in (401, 403)


# -- bodies ----------------------------------------------------------------------------------------


async def test_a_client_that_hangs_up_while_it_sends_is_no_bug(server):
    _, writer = await asyncio.open_connection(*server.address)
    token = server.bob.headers["Authorization"]
    writer.write(
        f"POST {SHOWTIME}/seats/lock HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\n"
        "X-Request-ID: gone\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        '{"seats"'.encode()
    )
    with listening() as lines:
        await writer.drain()
        writer.close()
        await writer.wait_closed()

        async def logged():
            return [line for line in lines() if line.get("request_id") == "gone"]

        (line,) = await eventually(logged)
    assert (line["level"], line["status"]) == ("INFO", 499)
