"""For administrators: GET /api/admin/ping and the audit log, GET /api/admin/audit."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, Field, StringConstraints
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server.api.pages import Cursor, PageQuery, page
from server.api.requests import query
from server.audit import AuditEntry, AuditFeed, AuditQuery
from server.auth.guards import Guards
from server.models import Id, Identity, rfc3339

Action = Annotated[str, StringConstraints(pattern=r"^[a-z]+(\.[a-z_]+)?$", max_length=64)]

Moment = Annotated[
    AwareDatetime, Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(3000, 1, 1, tzinfo=UTC))
]
"""Far enough from the ends of the calendar to be told in any time zone."""


class FeedQuery(PageQuery):
    action: Action | None = None
    actor: Id | None = None
    showtime: Id | None = None
    booking: Id | None = None
    from_: Annotated[Moment | None, Field(alias="from")] = None
    to: Moment | None = None
    cursor: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**63)]], Cursor] | None = None


class AdminRoutes:
    def __init__(self, feed: AuditFeed, guards: Guards) -> None:
        self._feed = feed
        self._guards = guards

    @property
    def routes(self) -> list[Route]:
        signed_in = self._guards.signed_in
        return [
            Route("/api/admin/ping", signed_in(self.ping, "ADMIN"), methods=["GET"]),
            Route("/api/admin/audit", signed_in(self.audit, "ADMIN"), methods=["GET"]),
        ]

    async def ping(self, request: Request, identity: Identity) -> Response:
        return JSONResponse({"pong": True})

    async def audit(self, request: Request, identity: Identity) -> Response:
        """Newest first; `from` is inclusive, `to` is not."""
        asked = query(request, FeedQuery)
        wanted = AuditQuery(
            action=asked.action,
            actor=asked.actor,
            showtime=asked.showtime,
            booking=asked.booking,
            start=asked.from_,
            end=asked.to,
        )
        before = asked.cursor[0] if asked.cursor else None
        found = await self._feed.find(wanted, before, asked.limit + 1)
        return page(found, asked.limit, entry_json, lambda entry: (entry.n,))


def entry_json(entry: AuditEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "at": rfc3339(entry.at),
        "actor": entry.actor,
        "action": entry.action,
        "outcome": entry.outcome,
        "target": entry.target,
        "detail": entry.detail,
        "request_id": entry.request_id,
    }
