"""Collection `tickets`: one-time passes for a WebSocket that needs an identity."""

from datetime import UTC, datetime

from server.models import Identity
from server.repo.mongo import Database


class TicketRepo:
    def __init__(self, database: Database) -> None:
        self._rows = database["tickets"]

    async def add(self, ticket_hash: str, identity: Identity, expires_at: datetime) -> None:
        await self._rows.insert_one(
            {
                "_id": ticket_hash,
                "user_id": identity.user_id,
                "role": identity.role,
                "session_id": identity.session_id,
                "expires_at": expires_at,
            }
        )

    async def take(self, ticket_hash: str) -> Identity | None:
        """Return whose ticket this is and remove it, so that it serves once."""
        row = await self._rows.find_one_and_delete(
            {"_id": ticket_hash, "expires_at": {"$gt": datetime.now(UTC)}}
        )
        return Identity(row["user_id"], row["role"], row.get("session_id", "")) if row else None
