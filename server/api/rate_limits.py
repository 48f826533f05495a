"""Limits on how often one may call: which class a route is in, `429 rate_limited`, and the headers
`RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers).

Someone who is signed in is counted by name and by address, anybody else by address alone. Pages,
health and the payment provider's calls are not counted; nor are sockets, which are capped.
"""

import re
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.addresses import client_address, lenience
from server.api.problems import render, request_id_of
from server.errors import RateLimited, RowlockError, StoreUnavailable
from server.models import Identity
from server.rate_limits import ClassName, RateLimits, Standing

_ADDRESS = "counted_address"

_ROUTES: tuple[tuple[str, ClassName], ...] = (
    (r"(GET|POST) /api/auth/(google/|register|login|password|link)", "sign_in"),
    (r"\w+ /api/admin/", "admin"),
    (r"(GET|HEAD|OPTIONS) ", "read"),
    (r"(POST|DELETE) /api/showtimes/[^/]+/seats/", "lock"),
    (r"POST /api/bookings/?$", "lock"),
    (r"(POST|DELETE) /api/bookings/", "pay"),
)
"""The first that fits; a booking locks its seats, a cancelled one may bring money back."""
_CLASSES = tuple((re.compile(pattern), name) for pattern, name in _ROUTES)


def class_of(method: str, path: str) -> ClassName | None:
    """Return the class of a route; None for what is not counted."""
    if not path.startswith("/api/") or path.startswith("/api/payments/"):
        return None
    asked = f"{method} {path}"
    return next((name for pattern, name in _CLASSES if pattern.match(asked)), "write")


def counted_address(request: Request) -> str:
    """Return the address that caps go by; empty when they do not go by this one."""
    address: str = request.scope["state"].get(_ADDRESS, "")
    return address


class RateLimiting:
    """Middleware: counts a request before any route sees it."""

    def __init__(
        self,
        app: ASGIApp,
        limits: RateLimits,
        identify: Callable[[Request], Identity],
        *,
        development: bool,
    ) -> None:
        """`identify` raises a RowlockError for who is not signed in."""
        self.app = app
        self._limits = limits
        self._identify = identify
        self._development = development

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = class_of(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if name is None:
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        try:
            standing = await self._count(name, request)
        except StoreUnavailable as error:
            await render(error, request_id_of(request))(scope, receive, send)
            return
        if standing is None:
            await self.app(scope, receive, send)
            return
        told = _telling(send, standing)
        if standing.retry_after:
            refusal = RateLimited(
                "That is too often. Wait a moment.", retry_after=standing.retry_after
            )
            await render(refusal, request_id_of(request))(scope, receive, told)
        else:
            await self.app(scope, receive, told)

    async def _count(self, name: ClassName, request: Request) -> Standing | None:
        address, times = client_address(request), lenience(request, development=self._development)
        request.scope["state"][_ADDRESS] = address if times == 1 else ""
        return await self._limits.count(
            name,
            user=self._user(request),
            address=address,
            lenience=times,
        )

    def _user(self, request: Request) -> str:
        if "authorization" not in request.headers:
            return ""
        try:
            return self._identify(request).user_id
        except RowlockError:
            return ""


def _telling(send: Send, standing: Standing) -> Send:
    """Put the headers onto the answer."""
    policy = f'"{standing.policy}";q={standing.quota};w={standing.window_seconds}'
    state = f'"{standing.policy}";r={standing.left};t={standing.full_in_seconds}'

    async def tell(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["RateLimit-Policy"], headers["RateLimit"] = policy, state
        await send(message)

    return tell
