"""Collection `idempotency`: the first answer to each Idempotency-Key, for 72 hours."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from server.repo.mongo import Database, DuplicateKeyError

_LEASE = timedelta(seconds=90)
"""After this long a first request that never finished is taken over by its repeat."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered: HTTP status and JSON body."""

    status: int
    body: dict[str, Any]


Begun = Literal["mine", "running", "other_body"]


class IdempotencyRepo:
    def __init__(self, database: Database) -> None:
        self._rows = database["idempotency"]

    async def begin(self, key: str, fingerprint: str, token: str) -> Begun | Answer:
        """Claim `key` for the request with this fingerprint, in the name of `token`.

        "mine": do the work, then `finish`. Otherwise the first answer, or why there is none.
        """
        now = datetime.now(UTC)
        row = {
            "_id": key,
            "fingerprint": fingerprint,
            "created_at": now,
            "locked_until": now + _LEASE,
            "token": token,
        }
        try:
            await self._rows.insert_one(row)
        except DuplicateKeyError:
            return await self._repeat(key, fingerprint, token, now)
        return "mine"

    async def _repeat(
        self, key: str, fingerprint: str, token: str, now: datetime
    ) -> Begun | Answer:
        row = await self._rows.find_one({"_id": key})
        if row is None:  # it was abandoned in between
            return "running"
        if row["fingerprint"] != fingerprint:
            return "other_body"
        if "status" in row:
            return Answer(row["status"], row["body"])
        taken = await self._rows.update_one(
            {"_id": key, "status": {"$exists": False}, "locked_until": {"$lt": now}},
            {"$set": {"locked_until": now + _LEASE, "token": token}},
        )
        return "mine" if taken.modified_count else "running"

    async def finish(self, key: str, token: str, answer: Answer) -> None:
        """Keep the answer, unless a repeat has taken the key over."""
        await self._rows.update_one(
            {"_id": key, "token": token},
            {"$set": {"status": answer.status, "body": answer.body}},
        )

    async def abandon(self, key: str, token: str) -> None:
        """Nothing was begun or nothing is known: let the next request try."""
        await self._rows.delete_one({"_id": key, "token": token, "status": {"$exists": False}})
