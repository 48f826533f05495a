"""Collection `sessions`: one document per refresh family, from sign-in to sign-out.

`_id` and `token_hash` are hashes of what the browser holds; nothing here opens a session.
"""

from datetime import UTC, datetime, timedelta

from server.repo.mongo import Database


class SessionRepo:
    def __init__(self, database: Database) -> None:
        self._rows = database["sessions"]

    async def add(
        self, session_id: str, user_id: str, token_hash: str, expires_at: datetime
    ) -> None:
        await self._rows.insert_one(
            {
                "_id": session_id,
                "user_id": user_id,
                "token_hash": token_hash,
                "created_at": datetime.now(UTC),
                "expires_at": expires_at,
            }
        )

    async def rotate(
        self, session_id: str, spent_hash: str, fresh_hash: str
    ) -> tuple[str, datetime] | None:
        """Replace the token if `spent_hash` is still the current one, in one step.

        Returns (user id, end of the family), or None when the family is over or has moved on.
        """
        now = datetime.now(UTC)
        row = await self._rows.find_one_and_update(
            {"_id": session_id, "token_hash": spent_hash, "expires_at": {"$gt": now}},
            {"$set": {"token_hash": fresh_hash, "spent_hash": spent_hash, "rotated_at": now}},
        )
        return (row["user_id"], row["expires_at"]) if row else None

    async def rotated(
        self, session_id: str, spent_hash: str, within: timedelta
    ) -> tuple[str, datetime] | None:
        """Return the same if `spent_hash` was the last token to be replaced, not longer ago."""
        now = datetime.now(UTC)
        row = await self._rows.find_one(
            {
                "_id": session_id,
                "spent_hash": spent_hash,
                "rotated_at": {"$gt": now - within},
                "expires_at": {"$gt": now},
            }
        )
        return (row["user_id"], row["expires_at"]) if row else None

    async def end(self, session_id: str, token_hash: str) -> str | None:
        """End the family if `token_hash` is its current token; returns whose it was."""
        row = await self._rows.find_one_and_delete({"_id": session_id, "token_hash": token_hash})
        return row["user_id"] if row else None

    async def revoke(self, session_id: str) -> str | None:
        """End a living family, whatever its current token; returns whose it was."""
        row = await self._rows.find_one_and_delete(
            {"_id": session_id, "expires_at": {"$gt": datetime.now(UTC)}}
        )
        return row["user_id"] if row else None
