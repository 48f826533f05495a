"""What a route asks before it acts: who is this, and may they?"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from server.errors import Forbidden, Unauthenticated
from server.models import Identity, Role

Handler = Callable[[Request, Identity], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


class Verifier(Protocol):
    """Turns an access token into an identity; raises Unauthenticated."""

    def verify(self, token: str) -> Identity: ...


class Guards:
    def __init__(self, tokens: Verifier) -> None:
        self._tokens = tokens

    def identify(self, request: Request) -> Identity:
        """Return the caller of `request`; raises Unauthenticated."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated
        return self._tokens.verify(token.strip())

    def signed_in(self, handler: Handler, role: Role | None = None) -> Endpoint:
        """Wrap `handler` so that it runs for signed-in callers (with `role`) alone."""

        async def endpoint(request: Request) -> Response:
            identity = self.identify(request)
            if role is not None and identity.role != role:
                raise Forbidden
            return await handler(request, identity)

        return endpoint
