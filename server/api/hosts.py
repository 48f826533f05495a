"""Under which names this server answers.

A page can give its own name the address of another machine (DNS rebinding): the browser then holds
that machine for the page's own server. What gives it away is the Host header.
"""

import ipaddress
import re
from contextlib import suppress
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.problems import render
from server.errors import HostNotAllowed
from server.settings import Settings

BY_ANY_NAME = {"/health", "/health/live", "/metrics"}
"""What watchers ask by address; it tells nothing about anybody."""

_REMEMBERED = 1024
_HOST = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(:[0-9]{1,5})?", re.IGNORECASE)


class Hosts:
    """The name in PUBLIC_URL, and those of ALLOWED_HOSTS or, when that is empty, of CORS_ORIGINS.
    A port does not matter. In development loopback names and plain addresses are ours as well: no
    page can be named like that."""

    def __init__(self, settings: Settings) -> None:
        further = settings.allowed_hosts or settings.cors_origins
        self._development = settings.is_development
        self._names = {_name_in(place) for place in (settings.origin, *further)} - {""}
        self.allows = lru_cache(_REMEMBERED)(self._allows)

    def _allows(self, host: str) -> bool:
        """`host` is a Host header, `name[:port]`."""
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match[1].lower()
        return name in self._names or (self._development and _is_here_or_address(name))


class KnownHosts:
    """Middleware: a request under another name is answered 421."""

    def __init__(self, app: ASGIApp, hosts: Hosts) -> None:
        self.app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] in BY_ANY_NAME:
            await self.app(scope, receive, send)
            return
        named = [value for name, value in scope["headers"] if name == b"host"]
        if len(named) == 1 and self._hosts.allows(named[0].decode("latin-1")):
            await self.app(scope, receive, send)
        else:
            await render(HostNotAllowed(), scope["state"]["request_id"])(scope, receive, send)


def _name_in(place: str) -> str:
    """Return the name in an origin or in `name[:port]`, as it stands in a Host header."""
    address = place if "://" in place else f"//{place}"
    name = urlsplit(address.strip().lower()).netloc.rpartition("@")[2]
    match = _HOST.fullmatch(name)
    return match[1] if match else ""


def _is_here_or_address(name: str) -> bool:
    if name == "localhost":
        return True
    with suppress(ValueError):
        return bool(ipaddress.ip_address(name.strip("[]")))
    return False
