"""Who may call what: every route of the table in one of five classes, and a request to each."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Mount, Route, WebSocketRoute

SOCKET, FILES = "SOCKET", "FILES"
"""In place of a method, for routes that have none."""

ROLES = ("nobody", "USER", "BOX_OFFICE", "ADMIN")

ANYBODY, SIGNED_IN, OWNER, STAFF, ADMIN = "anybody", "signed in", "owner", "staff", "admin"
"""ANYBODY needs no sign-in. SIGNED_IN acts on what belongs to the caller, whoever that is. OWNER
names a thing that belongs to one person, and is not found by others. STAFF: BOX_OFFICE, ADMIN."""

MAY = {
    ANYBODY: ROLES,
    SIGNED_IN: ("USER", "BOX_OFFICE", "ADMIN"),
    OWNER: (),  # none of the four is the owner
    STAFF: ("BOX_OFFICE", "ADMIN"),
    ADMIN: ("ADMIN",),
}

CLASSES = {
    ANYBODY: """
        GET /api/movies
        GET /api/movies/{movie_id}
        GET /api/movies/{movie_id}/showtimes
        GET /api/showtimes
        GET /api/showtimes/{showtime_id}
        GET /api/showtimes/{showtime_id}/seat-map
        GET /api/showtimes/{showtime_id}/live
        SOCKET /api/showtimes/{showtime_id}/live
        GET /api/auth/google/login
        GET /api/auth/google/callback
        POST /api/auth/register
        POST /api/auth/login
        POST /api/auth/refresh
        POST /api/auth/logout
        POST /api/payments/stripe/webhook
        GET /.well-known/jwks.json
        GET /openapi.json
        GET /asyncapi.json
        GET /docs
        GET /docs/problems
        FILES /docs/assets
        GET /health
        GET /health/live
        GET /metrics
        GET /
        GET /showtimes/{showtime_id}
        GET /bookings
        GET /sign-in
        GET /account
        GET /admin/audit
        GET /admin/bookings
        GET /admin/people
        FILES /static
        GET /dev/oidc/.well-known/openid-configuration
        GET /dev/oidc/jwks
        GET /dev/oidc/authorize
        POST /dev/oidc/authorize
        POST /dev/oidc/token
        GET /dev/oidc/userinfo
        GET /dev/oidc/style.css
    """,
    SIGNED_IN: """
        GET /api/me
        POST /api/auth/ticket
        POST /api/auth/password
        POST /api/auth/link
        GET /api/auth/sessions
        DELETE /api/auth/sessions
        GET /api/showtimes/{showtime_id}/seats/lock
        POST /api/showtimes/{showtime_id}/seats/lock
        DELETE /api/showtimes/{showtime_id}/seats/lock
        POST /api/showtimes/{showtime_id}/seats/lock/extend
        GET /api/bookings
        POST /api/bookings
    """,
    OWNER: """
        DELETE /api/auth/sessions/{session_id}
        GET /api/bookings/{booking_id}
        DELETE /api/bookings/{booking_id}
        POST /api/bookings/{booking_id}/pay
        GET /api/bookings/{booking_id}/ticket.svg
        GET /api/bookings/{booking_id}/calendar.ics
        GET /dev/mails/{name}
        POST /dev/mails/{name}
    """,
    STAFF: """
        GET /api/showtimes/{showtime_id}/seats/locks
        GET /api/admin/bookings
        POST /api/admin/showtimes/{showtime_id}/seats/lock
    """,
    ADMIN: """
        DELETE /api/showtimes/{showtime_id}/seats/locks
        GET /api/admin/ping
        GET /api/admin/health
        GET /api/admin/audit
        SOCKET /api/admin/audit/live
        GET /api/admin/users
        PATCH /api/admin/users/{user_id}
        POST /api/admin/tickets/check
        POST /api/admin/bookings/{booking_id}/cancel
        POST /api/admin/showtimes/{showtime_id}/cancel
    """,
}

_NOUNS = {
    "/api/bookings/{id}": "booking_id",
    "/api/admin/bookings/{id}": "booking_id",
    "/api/movies/{id}": "movie_id",
    "/api/showtimes/{id}": "showtime_id",
    "/api/admin/showtimes/{id}": "showtime_id",
    "/showtimes/{id}": "showtime_id",
}
"""What a bare `{id}` stands for."""


@dataclass(frozen=True, slots=True)
class Call:
    """One row of the table: a method, and a path whose places say what stands in them."""

    method: str
    path: str
    access: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def filled_in(self, things: dict[str, str]) -> str:
        """The path for these things, with whatever query the route cannot do without."""
        query = "?seats=A1" if str(self) in WITH_SEATS else ""
        return self.path.format_map(things) + query


def _calls() -> Iterator[Call]:
    for access, lines in CLASSES.items():
        for line in lines.split("\n"):
            if line.strip():
                yield Call(*line.split(), access)


CALLS = list(_calls())

WITH_SEATS = {
    "DELETE /api/showtimes/{showtime_id}/seats/lock",
    "DELETE /api/showtimes/{showtime_id}/seats/locks",
}


@dataclass(frozen=True, slots=True)
class Things:
    """What belongs to one person, by the names that stand in paths, and what tells it apart."""

    ids: dict[str, str]
    marks: list[str] = field(default_factory=list)
    """Texts that nobody else may be shown."""


def body_of(call: Call, things: dict[str, str]) -> dict[str, Any] | None:
    """A body with which the call would do something, if only it were allowed."""
    bodies: dict[str, dict[str, Any]] = {
        "POST /api/showtimes/{showtime_id}/seats/lock": {"seats": ["A1", "A2"]},
        "POST /api/bookings": {"showtime_id": things["showtime_id"], "seats": ["A1"]},
        "POST /api/bookings/{booking_id}/pay": {"payment_method": "demo:approve"},
        "POST /api/auth/password": {"current_password": "x", "new_password": "x" * 20},
        "POST /api/auth/register": {
            "email": things["email"],
            "password": "a long enough one, by me",
            "name": "Not Ann",
        },
        "POST /api/auth/login": {"email": things["email"], "password": "a guess of a password"},
        "PATCH /api/admin/users/{user_id}": {"role": "ADMIN", "blocked": True},
        "POST /api/admin/showtimes/{showtime_id}/seats/lock": {
            "customer": things["user_id"],
            "seats": ["B1"],
        },
        "POST /api/admin/tickets/check": {"code": things["code"]},
        "POST /api/admin/bookings/{booking_id}/cancel": {"why": "because"},
        "POST /api/admin/showtimes/{showtime_id}/cancel": {"why": "because"},
    }
    return bodies.get(str(call))


def routed(app: Starlette) -> set[str]:
    """Every row of the route table of `app`, written as in CLASSES."""
    return {f"{method} {_with_nouns(path)}" for method, path in _rows(app)}


def _rows(app: Starlette) -> Iterator[tuple[str, str]]:
    for route in app.routes:
        if isinstance(route, Route):
            # A route without methods is an endpoint that takes them all.
            yield from ((m, route.path) for m in (route.methods or {"ANY"}) - {"HEAD"})
        elif isinstance(route, WebSocketRoute):
            yield SOCKET, route.path
        elif isinstance(route, Mount):
            yield FILES, route.path
        else:
            yield type(route).__name__, repr(route)


def _with_nouns(path: str) -> str:
    for prefix, noun in _NOUNS.items():
        if path.startswith(prefix):
            return path.replace("{id}", f"{{{noun}}}", 1)
    return path
