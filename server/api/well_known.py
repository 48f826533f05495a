"""/.well-known/jwks.json: the public keys by which others verify our access tokens (RFC 7517)."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server.auth.keys import KeyRing

_MAX_AGE = 300
"""Seconds; a new key is to be accepted everywhere for so long before it signs."""


class WellKnownRoutes:
    def __init__(self, keys: KeyRing) -> None:
        self._answer = {"keys": keys.public}

    @property
    def routes(self) -> list[Route]:
        return [Route("/.well-known/jwks.json", self.keys, methods=["GET"])]

    async def keys(self, request: Request) -> Response:
        """`{"keys": [...]}`; the list is empty when a secret signs."""
        headers = {"Cache-Control": f"public, max-age={_MAX_AGE}"}
        return JSONResponse(self._answer, headers=headers)
