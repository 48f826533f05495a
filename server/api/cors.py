"""CORS, for the addresses that pages call."""

from starlette.middleware.cors import CORSMiddleware
from starlette.types import Receive, Scope, Send

SERVERS_ONLY = "/api/payments/"
"""Below it other servers call us; a page of whatever origin has no business there."""


class CorsForPages(CORSMiddleware):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(SERVERS_ONLY):
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)
