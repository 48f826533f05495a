"""Limits on how often one may call: which class a route is in, `429 rate_limited`, and the headers
`RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers).

Someone who is signed in is counted by name and by address, anybody else by address alone; a socket
that opens counts as a read, and is closed with 1013 when that is too often. Who is on the way to
the provider or back is sent to the page that says why it ends here. Pages, health and the payment
provider's calls are not counted.
"""

import re
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from server.addresses import client_address, client_home, client_site, lenience
from server.api.problems import render, request_id_of
from server.auth.refusals import SignInFailed
from server.auth.signin import CALLBACK_PATH
from server.errors import RateLimited, RowlockError, StoreUnavailable
from server.models import Identity
from server.rate_limits import ClassName, RateLimits, Standing

_ADDRESS = "counted_address"

_TRY_LATER = 1013

_ROUTES: tuple[tuple[str, ClassName], ...] = (
    (r"\w+ /api/auth/(google/|register|login|password|link)", "sign_in"),
    (r"(POST|DELETE) /api/admin/(bookings/|showtimes/[^/]+/(seats/|cancel))", "house"),
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
    """Return the address, or home, that caps go by; empty when they do not go by this one."""
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
        if scope["type"] == "websocket" and class_of("GET", scope["path"]):
            await self._socket(scope, receive, send)
        elif scope["type"] == "http" and (name := class_of(scope["method"], scope["path"])):
            await self._request(name, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _request(self, name: ClassName, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        try:
            standing = await self._count(name, request, self._user(request))
        except StoreUnavailable as error:
            # Who comes back brings what serves once, and is in no need of the store.
            back = scope["path"] == CALLBACK_PATH
            await (self.app if back else _refusal(request, error))(scope, receive, send)
            return
        app = self.app
        if standing and standing.retry_after:
            wait = standing.retry_after
            app = _refusal(request, RateLimited("That was too often.", retry_after=wait))
        await app(scope, receive, _telling(send, standing) if standing else send)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Accept first and refuse by close code: a browser shows no other reason."""
        websocket = WebSocket(scope, receive, send)
        standing = await self._count("read", websocket)
        if standing and standing.retry_after:
            await websocket.accept()
            await websocket.close(_TRY_LATER, "that was too often; come back later")
        else:
            await self.app(scope, receive, send)

    async def _count(
        self, name: ClassName, connection: HTTPConnection, user: str = ""
    ) -> Standing | None:
        times = lenience(connection, development=self._development)
        connection.scope["state"][_ADDRESS] = client_home(connection) if times == 1 else ""
        return await self._limits.count(
            name,
            user=user,
            address=client_address(connection),
            site=client_site(connection),
            lenience=times,
        )

    def _user(self, request: Request) -> str:
        if "authorization" not in request.headers:
            return ""
        try:
            return self._identify(request).user_id
        except RowlockError:
            return ""


def _refusal(request: Request, error: RateLimited | StoreUnavailable) -> Response:
    if not request.url.path.startswith("/api/auth/google/"):
        return render(error, request_id_of(request))
    ended = SignInFailed("too_often" if isinstance(error, RateLimited) else "store_unavailable")
    return RedirectResponse(ended.location, 303, error.headers)


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
