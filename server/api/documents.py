"""/openapi.json and /asyncapi.json, and /docs to read the first and to try it out: Swagger UI from
our own address."""

import hashlib
import json
from collections.abc import Iterable
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from swagger_ui_bundle import swagger_ui_path

from server.api import asyncapi
from server.api.descriptions import (
    accounts,
    admin,
    admin_bookings,
    admin_health,
    admin_users,
    auth,
    bookings,
    cancellations,
    etickets,
    health,
    live,
    movies,
    pages,
    payments,
    seats,
    sessions,
    showtimes,
    well_known,
)
from server.api.descriptions.problems import every_error
from server.api.frontend import FOLDER
from server.api.openapi import Operation, document
from server.api.security_headers import MARKUP_FROM_STRINGS

OPERATIONS: list[Operation] = [
    *movies.OPERATIONS,
    *showtimes.OPERATIONS,
    *seats.OPERATIONS,
    *bookings.OPERATIONS,
    *cancellations.OPERATIONS,
    *etickets.OPERATIONS,
    *accounts.OPERATIONS,
    *auth.OPERATIONS,
    *sessions.OPERATIONS,
    *well_known.OPERATIONS,
    *admin.OPERATIONS,
    *admin_health.OPERATIONS,
    *admin_users.OPERATIONS,
    *admin_bookings.OPERATIONS,
    *payments.OPERATIONS,
    *health.OPERATIONS,
    *pages.OPERATIONS,
]

_ASSETS = ("swagger-ui.css", "swagger-ui-bundle.js")
"""What the page needs of the package; it brings other pages too, which nobody shall reach."""

_SWAGGER_UI = Path(swagger_ui_path)
_DEVELOPMENT = "/dev/"
"""Below it is what stands in for others while developing: the sign-in provider, the letter box."""


def routed(routes: Iterable[BaseRoute]) -> list[tuple[str, str]]:
    """Every method and path of the route table, but for files and for development's stand-ins."""
    return [
        (method, route.path)
        for route in routes
        if isinstance(route, Route) and not route.path.startswith(_DEVELOPMENT)
        for method in sorted(route.methods or ())
        if method != "HEAD"
    ]


class DocumentRoutes:
    def __init__(self, cookie: str, origin: str) -> None:
        """`cookie` is the name of the refresh cookie, `origin` where browsers find this server."""
        self._cookie = cookie
        self._origin = origin
        self._table: list[BaseRoute] = []

    @property
    def routes(self) -> list[BaseRoute]:
        return [
            Route("/openapi.json", self.openapi, methods=["GET"]),
            Route("/asyncapi.json", self.asyncapi, methods=["GET"]),
            Route("/docs", self.docs, methods=["GET"]),
            Route("/docs/problems", self.problems, methods=["GET"]),
            Mount("/docs/assets", routes=[Route(f"/{name}", _asset) for name in _ASSETS]),
        ]

    async def openapi(self, request: Request) -> Response:
        """What this server routes; made when it is asked for first."""
        self._table = request.app.routes
        return _served(request, *self._document)

    async def asyncapi(self, request: Request) -> Response:
        """What goes over its WebSockets."""
        return _served(request, *self._live_document)

    async def docs(self, request: Request) -> Response:
        headers = {"Cache-Control": "no-cache", "Content-Security-Policy": MARKUP_FROM_STRINGS}
        return FileResponse(FOLDER / "docs" / "index.html", headers=headers)

    async def problems(self, request: Request) -> Response:
        """Where the `type` of a problem document leads."""
        return HTMLResponse(_problems_page())

    @cached_property
    def _document(self) -> tuple[bytes, str]:
        addresses = set(routed(self._table))
        described = [o for o in OPERATIONS if (o.method, o.path) in addresses]
        return _tagged(document(described, self._cookie))

    @cached_property
    def _live_document(self) -> tuple[bytes, str]:
        return _tagged(asyncapi.document(live.CHANNELS, self._origin))


def _tagged(told: dict[str, Any]) -> tuple[bytes, str]:
    """Return a document as it is sent, and its ETag."""
    body = json.dumps(told, ensure_ascii=False).encode()
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _served(request: Request, body: bytes, etag: str) -> Response:
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == etag:
        return Response(None, 304, headers)
    return Response(body, 200, headers, "application/json")


async def _asset(request: Request) -> Response:
    return FileResponse(_SWAGGER_UI / request.url.path.rpartition("/")[2])


def _problems_page() -> str:
    entries = "".join(
        f'<dt id="{error.code}"><code>{error.code}</code> {error.status}</dt>'
        f"<dd>{escape(error.title)}.</dd>"
        for error in every_error()
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Problems · Rowlock</title>'
        '<link rel="stylesheet" href="/static/docs/docs.css">'
        f'<main><h1>What can be refused</h1><dl>{entries}</dl><a href="/docs">The API</a></main>'
    )
