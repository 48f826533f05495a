"""/api/auth/sessions: where I am signed in, and an end to it.

Whose own session has ended may do nothing here, though their access token lives on a while: they
may be the very one that was shown the door.
"""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.api.pages import Cursor, PageQuery, page
from server.api.problems import request_id_of
from server.api.requests import path_id, query
from server.auth.guards import Guards
from server.auth.sessions import Session, Sessions
from server.models import Id, Identity, rfc3339, to_ms


class SessionsQuery(PageQuery):
    cursor: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**47)], Id], Cursor] | None = None


class SessionRoutes:
    def __init__(self, sessions: Sessions, guards: Guards) -> None:
        self._sessions = sessions
        self._guards = guards

    @property
    def routes(self) -> list[Route]:
        signed_in, mine = self._guards.signed_in, "/api/auth/sessions"
        return [
            Route(mine, signed_in(self.list_mine), methods=["GET"]),
            Route(mine, signed_in(self.revoke_others), methods=["DELETE"]),
            Route(f"{mine}/{{session_id}}", signed_in(self.revoke), methods=["DELETE"]),
        ]

    async def list_mine(self, request: Request, identity: Identity) -> Response:
        """The one used last first; `current` is the one that asks."""
        asked = query(request, SessionsQuery)
        await self._sessions.owner(identity)
        found = await self._sessions.of(identity)
        if asked.cursor:
            found = [session for session in found if _position(session) < asked.cursor]
        return page(
            found, asked.limit, lambda each: _session_json(each, identity.session_id), _position
        )

    async def revoke(self, request: Request, identity: Identity) -> Response:
        session_id = path_id(request, "session_id")
        await self._sessions.owner(identity)
        await self._sessions.revoke(identity, session_id, request_id_of(request))
        return Response(status_code=204)

    async def revoke_others(self, request: Request, identity: Identity) -> Response:
        await self._sessions.owner(identity)
        await self._sessions.revoke_all(
            identity.user_id,
            "revoked_by_user",
            request_id_of(request),
            except_session=identity.session_id,
            actor=identity.user_id,
        )
        return Response(status_code=204)


def _position(session: Session) -> tuple[int, str]:
    return to_ms(session.last_used_at), session.id


def _session_json(session: Session, current: str) -> dict[str, Any]:
    left = session.expires_at - datetime.now(UTC)
    return {
        "id": session.id,
        "created_at": rfc3339(session.created_at),
        "last_used_at": rfc3339(session.last_used_at),
        "expires_at": rfc3339(session.expires_at),
        "expires_in_ms": max(0, int(left.total_seconds() * 1000)),
        "user_agent": session.user_agent,
        "current": session.id == current,
    }
