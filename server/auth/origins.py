"""Which web origins are ours, and under which of them a browser sees this server."""

import re
from urllib.parse import urlsplit

from server.settings import Settings

_LOOPBACK = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class Origins:
    """An origin is `scheme://host[:port]` as browsers write it: lower case, no default port."""

    def __init__(self, settings: Settings) -> None:
        self._development = settings.is_development
        self.public = _normal(settings.origin)
        self._listed = {self.public, *map(_normal, settings.cors_origins)}

    def allows(self, origin: str, host: str) -> bool:
        """Say whether a page of `origin` may act here; `host` is the request's Host header."""
        return origin in self._listed or (bool(host) and origin in self._own(host.lower()))

    def lists(self, origin: str) -> bool:
        """Say whether `origin` is named in the settings."""
        return origin in self._listed

    def seen_as(self, scheme: str, host: str) -> str:
        """Return the origin to build browser-facing addresses from.

        In development a loopback name counts as it was typed, because cookies belong to a name:
        a sign-in that begins on `127.0.0.1` must not come back on `localhost`. Elsewhere the Host
        header is only a claim, and the configured origin is used.
        """
        return f"{scheme}://{host.lower()}" if self.is_local(host) else self.public

    def is_local(self, host: str) -> bool:
        """Say whether this is development, reached under a loopback name."""
        return self._development and _LOOPBACK.fullmatch(host) is not None

    def _own(self, host: str) -> set[str]:
        """The origins of a page that came from the very host it now calls.

        Plain http is one of them only where this server itself is served that way, so that
        whoever controls the network cannot act as the http twin of an https site.
        """
        plain = self.public.startswith("http://") or self.is_local(host)
        return {f"https://{host}", f"http://{host}"} if plain else {f"https://{host}"}


def _normal(url: str) -> str:
    parts = urlsplit(url.strip().lower())
    return f"{parts.scheme}://{parts.netloc.removesuffix(_DEFAULT_PORTS.get(parts.scheme, ''))}"
