"""What happens to every request: an id, a limit, a log line, security headers, a net for bugs."""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api.problems import render, render_unexpected
from server.api.requests import MAX_BODY
from server.api.security_headers import SECURITY_HEADERS
from server.errors import BodyTooLarge, StoreUnavailable
from server.log_context import REQUEST_ID
from server.models import new_id

access_log = logging.getLogger("rowlock.access")
logger = logging.getLogger("rowlock.api")

_CLIENT_GONE = 499
"""Only for the log: nobody was left to read an answer (the number that nginx uses)."""

Header = tuple[bytes, bytes]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def _nobody(scope: Scope, status: int, seconds: float) -> None:
    """Hears of a request, and does not care."""


class RequestEnvelope:
    """Outermost middleware. Puts `request_id` into `scope["state"]` and onto the answer."""

    def __init__(
        self,
        app: ASGIApp,
        headers: Mapping[str, str] = SECURITY_HEADERS,
        ended: Callable[[Scope, int, float], None] = _nobody,
    ) -> None:
        """`headers` are put onto every answer that does not set them itself; `ended` hears of each
        request, its status and how many seconds it took."""
        self.app = app
        self._ended = ended
        self._headers = [(n.lower().encode(), v.encode("latin-1")) for n, v in headers.items()]
        self._api_headers = [*self._headers, (b"cache-control", b"no-store")]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        if scope["type"] == "websocket":
            await self.app(scope, receive, send)
            return
        await self._http(scope, receive, send, request_id)

    async def _http(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        REQUEST_ID.set(request_id)
        started = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = self._with_ours(scope["path"], request_id, message["headers"])
            await send(message)

        too_large = _declared_length(scope) > MAX_BODY
        app = render(BodyTooLarge(), request_id) if too_large else self.app
        try:
            await app(scope, receive, send_with_headers)
        except ClientDisconnect:
            status = _CLIENT_GONE
        except (Exception, asyncio.CancelledError) as error:
            cut_off = isinstance(error, asyncio.CancelledError) and _is_cancelled()
            if not cut_off:
                logger.exception("unexpected error")
            if status:
                raise
            answer = (
                render(StoreUnavailable(), request_id) if cut_off else render_unexpected(request_id)
            )
            await answer(scope, receive, send_with_headers)
        finally:
            seconds = time.perf_counter() - started
            self._ended(scope, status, seconds)
            if access_log.isEnabledFor(logging.INFO):
                _log(scope["method"], scope["path"], status, seconds * 1000)

    def _with_ours(self, path: str, request_id: str, headers: Iterable[Header]) -> list[Header]:
        ours = self._api_headers if path.startswith("/api/") else self._headers
        theirs = [*headers, (b"x-request-id", request_id.encode())]
        there = {name for name, _ in theirs}
        return theirs + [header for header in ours if header[0] not in there]


def _is_cancelled() -> bool:
    """Say whether it is we who are to end: uvicorn cancels what is still open when a server has
    waited long enough for it. Nothing else does, so the answer may take the cancellation's place.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _log(method: str, path: str, status: int, ms: float) -> None:
    fields = {"method": method, "path": path, "status": status, "duration_ms": round(ms, 1)}
    access_log.info("%s %s %s %.1f ms", method, path, status, ms, extra={"fields": fields})


def _declared_length(scope: Scope) -> int:
    """What Content-Length says; 0 for a body in chunks, whose length `read_body` counts."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


def _request_id(scope: Scope) -> str:
    """The caller's id when it is well formed, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text: str = value.decode("latin-1")
            if _REQUEST_ID.fullmatch(text):
                return text
            break
    return new_id("req")
