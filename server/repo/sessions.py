"""Collection `sessions`: one document per refresh family, from sign-in to sign-out.

`_id` and `token_hash` are hashes of what the browser holds, `spent` those of the tokens that it
held last, each with the time at which it was spent; nothing here opens a session.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from server.repo.mongo import Database, Document, Transaction, in_transaction

IDLE = timedelta(days=14)
"""A session that was not used for so long has ended."""

_MOST_SPENT = 200
"""Spent tokens that are remembered at most, whatever their age."""


Ended = Callable[[Transaction, list[str]], Awaitable[None]]
"""What is to be written in the transaction that ends these families."""


@dataclass(frozen=True, slots=True)
class Session:
    id: str
    user_id: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    user_agent: str


class SessionRepo:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._rows = database["sessions"]

    async def add(
        self,
        session_id: str,
        user_id: str,
        token_hash: str,
        expires_at: datetime,
        user_agent: str = "",
    ) -> None:
        now = datetime.now(UTC)
        await self._rows.insert_one(
            {
                "_id": session_id,
                "user_id": user_id,
                "token_hash": token_hash,
                "spent": [],
                "created_at": now,
                "last_used_at": now,
                "expires_at": expires_at,
                "user_agent": user_agent,
            }
        )

    async def rotate(
        self,
        session_id: str,
        spent_hash: str,
        fresh_hash: str,
        user_agent: str = "",
        *,
        remember: timedelta,
    ) -> Session | None:
        """Replace the token if `spent_hash` is still the current one, in one step.

        Returns None when the family is over or has moved on. An empty `user_agent` says nothing
        new. Tokens that were spent longer ago than `remember` are forgotten.
        """
        now = datetime.now(UTC)
        recent = {
            "$filter": {"input": "$spent", "cond": {"$gt": ["$$this.at", now - remember]}},
        }
        spent: Document = {"$concatArrays": [recent, [{"hash": spent_hash, "at": now}]]}
        change: Document = {
            "token_hash": fresh_hash,
            "last_used_at": now,
            "spent": {"$slice": [spent, -_MOST_SPENT]},
        }
        if user_agent:
            change["user_agent"] = {"$literal": user_agent}
        row = await self._rows.find_one_and_update(
            {"_id": session_id, "token_hash": spent_hash, **_alive(now)}, [{"$set": change}]
        )
        return _session_of(row) if row else None

    async def moved_on(
        self, session_id: str, spent_hash: str, within: timedelta
    ) -> tuple[Session, list[str]] | None:
        """Return the family if `spent_hash` was spent not longer ago than `within`, and the hashes
        of all tokens that came after it, the current one last."""
        now = datetime.now(UTC)
        recent = {"$elemMatch": {"hash": spent_hash, "at": {"$gt": now - within}}}
        row = await self._rows.find_one({"_id": session_id, "spent": recent, **_alive(now)})
        if row is None:
            return None
        hashes = [*(each["hash"] for each in row["spent"]), row["token_hash"]]
        return _session_of(row), hashes[hashes.index(spent_hash) + 1 :]

    async def of_user(self, user_id: str) -> list[Session]:
        """Return the living families of a user, the one used last first."""
        alive = {"user_id": user_id, **_alive(datetime.now(UTC))}
        found = [_session_of(row) async for row in self._rows.find(alive)]
        return sorted(found, key=lambda each: (each.last_used_at, each.id), reverse=True)

    async def lives(self, session_id: str, user_id: str) -> bool:
        """Say whether that family of that user has not ended."""
        alive = {"_id": session_id, "user_id": user_id, **_alive(datetime.now(UTC))}
        return await self._rows.find_one(alive, {"_id": 1}) is not None

    async def end(self, session_id: str, token_hash: str) -> str | None:
        """End the family if `token_hash` is its current token; returns whose it was."""
        row = await self._rows.find_one_and_delete({"_id": session_id, "token_hash": token_hash})
        return row["user_id"] if row else None

    async def revoke(self, session_id: str, user_id: str = "") -> str | None:
        """End a living family (of `user_id`, if given), whatever its current token; returns whose
        it was."""
        alive: Document = {"_id": session_id, **_alive(datetime.now(UTC))}
        row = await self._rows.find_one_and_delete(
            alive | ({"user_id": user_id} if user_id else {})
        )
        return row["user_id"] if row else None

    async def revoke_all(
        self, user_id: str, ended: Ended, *, except_session: str = "", beyond: int = 0
    ) -> int:
        """End the living families of `user_id` but `except_session` and the newest `beyond`;
        returns how many. `ended` is told which, and is part of the same transaction."""
        where = {"user_id": user_id, "_id": {"$ne": except_session}}

        async def work(transaction: Transaction) -> int:
            alive = where | _alive(datetime.now(UTC))
            rows = self._rows.find(alive, {"_id": 1}, session=transaction)
            newest_first = rows.sort([("created_at", -1), ("_id", -1)]).skip(beyond)
            ids = [row["_id"] async for row in newest_first]
            if ids:
                await self._rows.delete_many({"_id": {"$in": ids}}, session=transaction)
                await ended(transaction, ids)
            return len(ids)

        return await in_transaction(self._database, work)

    async def count(self, user_id: str) -> int:
        """Return how many living families a user has."""
        return await self._rows.count_documents({"user_id": user_id, **_alive(datetime.now(UTC))})


def _alive(now: datetime) -> Document:
    """Match the families that have neither run out nor been left unused."""
    return {"expires_at": {"$gt": now}, "last_used_at": {"$not": {"$lte": now - IDLE}}}


def _session_of(row: Document) -> Session:
    return Session(
        id=row["_id"],
        user_id=row["user_id"],
        created_at=row["created_at"],
        last_used_at=row.get("last_used_at") or row["created_at"],
        expires_at=row["expires_at"],
        user_agent=row.get("user_agent", ""),
    )
