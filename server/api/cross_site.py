"""Unsafe requests: from which pages they may come, and that they bring JSON.

A browser adds cookies to what any page sends. It also says which page that was, in `Origin` and
`Sec-Fetch-Site`, and no page can take these headers away or change them. A client that sends
neither is no browser and passes. A page can send what looks like an HTML form without asking
first, JSON it cannot (Fetch, "CORS-safelisted request-header"): so only JSON is taken.
"""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.cors import SERVERS_ONLY
from server.api.problems import render
from server.auth.origins import Origins
from server.errors import Forbidden, RowlockError, UnsupportedMediaType

_SAFE = {"GET", "HEAD", "OPTIONS"}
_API = "/api/"


class CrossSiteGuard:
    """Middleware. Below SERVERS_ONLY it is a signature that proves the caller, whatever a request
    looks like; outside of `/api` are pages of our own with forms of their own."""

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        self.app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if refusal := self._refusal(scope):
            await render(refusal, scope["state"]["request_id"])(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _refusal(self, scope: Scope) -> RowlockError | None:
        if scope["type"] != "http" or scope["method"] in _SAFE:
            return None
        path, headers = scope["path"], Headers(scope=scope)
        if path.startswith(SERVERS_ONLY):
            return None
        if not self._is_ours(headers):
            return Forbidden("This request comes from another site.")
        if path.startswith(_API) and not _is_json_or_nothing(headers):
            return UnsupportedMediaType("Send JSON, with Content-Type: application/json.")
        return None

    def _is_ours(self, headers: Headers) -> bool:
        """Say whether a page that may act here sent this, or no page at all."""
        origins, sites = headers.getlist("origin"), headers.getlist("sec-fetch-site")
        if len(origins) > 1 or len(sites) > 1:
            return False
        site = sites[0] if sites else "none"
        if not origins:
            return site in ("none", "same-origin")
        if site == "cross-site":
            # A page of CORS_ORIGINS may act by its token, and never by a cookie.
            return self._origins.lists(origins[0]) and "cookie" not in headers
        known = site in ("none", "same-origin", "same-site")
        return known and self._origins.allows(origins[0], headers.get("host", ""))


def _is_json_or_nothing(headers: Headers) -> bool:
    types = headers.getlist("content-type")
    if types:
        return len(types) == 1 and types[0].split(";")[0].strip().lower() == "application/json"
    length = headers.get("content-length", "0")
    return length == "0" and "transfer-encoding" not in headers
