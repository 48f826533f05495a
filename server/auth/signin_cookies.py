"""The cookies of sign-ins under way: what binds each of them to the browser that began it.

Every sign-in has one of its own, named after its state, so that tabs which begin at the same moment
do not take each other's. They must come along when the provider, another site, redirects to the
callback, so they are Lax. Once spent, one is good for nothing and soon forgotten by the browser.
"""

import re
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from server.auth.cookies import Cookie
from server.auth.opaque import digest
from server.auth.origins import Origins

_NAME = "rowlock_signin"
_OURS = re.compile(rf"(?:__Host-)?({_NAME}_[0-9a-f]{{16}})")
"""Hosts beside this one may set cookies of other names, which need not even be good ones."""
_MOST = 10
"""Cookies of sign-ins that were left half-way; whoever begins yet another one drops them."""


class SignInCookies:
    def __init__(self, origins: Origins) -> None:
        self._blank = Cookie(_NAME, "/api/auth/google", "lax", origins)

    def set(
        self, request: Request, response: Response, state: str, secret: str, max_age: int
    ) -> None:
        """Hand the browser its secret for the sign-in of `state`, for `max_age` seconds."""
        left = self._left(request)
        if len(left) >= _MOST:
            for cookie in left:
                cookie.clear(request, response)
        self._of(state).set(request, response, secret, max_age)

    def read(self, request: Request, state: str) -> str:
        """Return the browser's secret for the sign-in of `state`, or ""."""
        return self._of(state).read(request)

    def _left(self, request: Request) -> list[Cookie]:
        """Those that the browser has, under the name that they have for this request."""
        ours = {found[1] for found in map(_OURS.fullmatch, request.cookies) if found}
        cookies = [replace(self._blank, name=name) for name in ours]
        return [cookie for cookie in cookies if cookie.read(request)]

    def _of(self, state: str) -> Cookie:
        return replace(self._blank, name=f"{_NAME}_{digest(state)[:16]}")
