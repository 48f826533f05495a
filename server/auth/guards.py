"""What a route asks before it acts: who is this, and may they?

For most routes the access token is enough, for as long as it lives. What a plain USER may not do is
asked twice: of the token, and at each call of the stored user, so that whoever loses a role, is
blocked or signs out everywhere stops at once and not with the end of the token. Where a route has
`patience`, the token's word is enough while the store does not answer.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from server.errors import Forbidden, StoreUnavailable, Unauthenticated
from server.models import Identity, Role
from server.repo.mongo import UNAVAILABLE
from server.repo.users import User

logger = logging.getLogger("rowlock.auth")

_AWAY: tuple[type[Exception], ...] = (TimeoutError, StoreUnavailable, *UNAVAILABLE)

Handler = Callable[[Request, Identity], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


class Verifier(Protocol):
    """Turns an access token into an identity; raises Unauthenticated."""

    def verify(self, token: str) -> Identity: ...


class Register(Protocol):
    """Knows everybody as they are now; raises Unauthenticated for who is gone or signed out."""

    async def owner(self, identity: Identity) -> User: ...


class Guards:
    def __init__(self, tokens: Verifier, register: Register) -> None:
        self._tokens = tokens
        self._register = register

    def identify(self, request: Request) -> Identity:
        """Return the caller of `request`; raises Unauthenticated."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated
        return self._tokens.verify(token.strip())

    async def insist(self, identity: Identity, *roles: Role) -> None:
        """Raise Forbidden unless both the token and the store give `identity` one of `roles`,
        Unauthenticated when the store knows them no more or has blocked them."""
        if identity.role not in roles:
            raise Forbidden
        user = await self._register.owner(identity)
        if user.blocked:
            raise Unauthenticated("This account is blocked.")
        if user.role not in roles:
            raise Forbidden

    def signed_in(self, handler: Handler, *roles: Role, patience: float | None = None) -> Endpoint:
        """Wrap `handler` so that it runs for signed-in callers alone: those with one of `roles`,
        or, when none is named, all of them. `roles_of` tells which. `patience`: seconds after
        which a store that does not answer is not waited for; None: it has to answer."""

        @wraps(handler)
        async def endpoint(request: Request) -> Response:
            identity = self.identify(request)
            if roles and patience is None:
                await self.insist(identity, *roles)
            elif roles:
                await self._ask(identity, *roles, patience=patience)
            return await handler(request, identity)

        endpoint.__dict__["roles"] = roles
        return endpoint

    async def _ask(self, identity: Identity, *roles: Role, patience: float | None) -> None:
        """The same as `insist`, unless the store does not answer in time."""
        try:
            async with asyncio.timeout(patience):
                await self.insist(identity, *roles)
        except _AWAY as error:
            logger.warning("%s is let in by the token alone: %r", identity.user_id, error)


def roles_of(endpoint: object) -> tuple[Role, ...] | None:
    """Return who may call an endpoint of the route table: these roles, everybody who is signed in
    for (), the whole world for None."""
    roles: tuple[Role, ...] | None = getattr(endpoint, "roles", None)
    return roles
