"""What a browser takes along to the provider, what it comes back with, and where it goes on."""

from dataclasses import dataclass

from server.auth.refusals import HOME
from server.auth.sessions import Grant
from server.models import Identity

_MAX_NEXT = 1024


@dataclass(frozen=True, slots=True)
class Departure:
    """A browser that wants to sign in, or whose person wants to link an identity with `account`."""

    origin: str
    """How it sees this server."""
    next_path: str = HOME
    login_hint: str = ""
    account: Identity | None = None


@dataclass(frozen=True, slots=True)
class Departed:
    """What the browser takes along: where it goes, and the secret by which it is known again."""

    url: str
    state: str
    secret: str


@dataclass(frozen=True, slots=True)
class Return:
    """The same browser, sent back by the provider."""

    secret: str
    state: str
    code: str
    error: str
    issuer: str | None
    user_agent: str = ""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Where the person goes on, and the new session; none when an identity was linked."""

    next_path: str
    grant: Grant | None


def local_path(wanted: str) -> str:
    """Return `wanted` if it is a path on this very origin, else "/".

    Browsers read a backslash as a slash and skip tabs and line breaks, so that `/\\t/host` leads
    away: such characters are refused wherever they stand.
    """
    plain = wanted.isprintable() and "\\" not in wanted and len(wanted) <= _MAX_NEXT
    if not plain or not wanted.startswith("/") or wanted.startswith("//"):
        return "/"
    return wanted
