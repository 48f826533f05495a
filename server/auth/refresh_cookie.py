"""The cookies of a session: the one that carries its refresh token, and what a sign-in takes along.

The first is only ever sent by our own page, so it is Strict; all tabs of a browser share it. A
browser that comes back from a provider comes from another site and does not send it, so which
session it leaves behind travels in a cookie of its own. That one opens nothing.
"""

from server.auth.cookies import Cookie
from server.auth.origins import Origins

REFRESH_COOKIE = "rowlock_refresh"


def refresh_cookie(origins: Origins) -> Cookie:
    return Cookie(REFRESH_COOKIE, "/api/auth", "strict", origins)


def leaving_cookie(origins: Origins) -> Cookie:
    return Cookie("rowlock_leaving", "/api/auth", "lax", origins)
