"""Collection `idempotency`: the first answer to each Idempotency-Key, for 72 hours."""

from dataclasses import dataclass
from typing import Any, Literal

from server.repo.mongo import Database, Document, DuplicateKeyError, ReturnDocument

LEASE_SECONDS = 10
"""After this long without a renewal the first request counts as dead, and a repeat takes over."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered: HTTP status and JSON body."""

    status: int
    body: dict[str, Any]


Begun = Literal["mine", "running", "other_body"]


class IdempotencyRepo:
    """Leases are judged by MongoDB's clock."""

    def __init__(self, database: Database) -> None:
        self._rows = database["idempotency"]

    async def begin(self, key: str, fingerprint: str, token: str) -> Begun | Answer:
        """Claim `key` for the request with this fingerprint, in the name of `token`.

        "mine": do the work, then `finish`. Otherwise the first answer, or why there is none.
        """
        try:
            row = await self._claim(key, fingerprint, token)
        except DuplicateKeyError:  # two first ones at once: the other one was quicker
            row = await self._claim(key, fingerprint, token)
        if row["token"] == token:
            return "mine"
        if row["fingerprint"] != fingerprint:
            return "other_body"
        return Answer(row["status"], row["body"]) if "status" in row else "running"

    async def renew(self, key: str, token: str) -> None:
        """The work goes on: nobody is to take the key over."""
        await self._rows.update_one(
            {"_id": key, "token": token}, [{"$set": {"locked_until": _until()}}]
        )

    async def finish(self, key: str, token: str, answer: Answer) -> Answer | None:
        """Keep the answer, unless a repeat has taken the key over; returns the one that stands.

        None: that repeat is still at it.
        """
        kept = await self._rows.update_one(
            {"_id": key, "token": token},
            {"$set": {"status": answer.status, "body": answer.body}},
        )
        if kept.matched_count:
            return answer
        row = await self._rows.find_one({"_id": key})
        return Answer(row["status"], row["body"]) if row and "status" in row else None

    async def abandon(self, key: str, token: str) -> None:
        """Nothing was begun or nothing is known: let the next request try."""
        await self._rows.delete_one({"_id": key, "token": token, "status": {"$exists": False}})

    async def _claim(self, key: str, fingerprint: str, token: str) -> Document:
        """Make the row, or take over one whose lease is out; returns it as it stands then."""
        asked, mine = {"$literal": fingerprint}, {"$literal": token}
        dead = {
            "$and": [
                {"$eq": ["$fingerprint", asked]},
                {"$eq": [{"$type": "$status"}, "missing"]},
                {"$lt": ["$locked_until", "$$NOW"]},
            ]
        }
        take = {"$or": [{"$eq": [{"$type": "$token"}, "missing"]}, dead]}
        row: Document = await self._rows.find_one_and_update(
            {"_id": key},
            [
                {
                    "$set": {
                        "fingerprint": {"$ifNull": ["$fingerprint", asked]},
                        "created_at": {"$ifNull": ["$created_at", "$$NOW"]},
                        "token": {"$cond": [take, mine, "$token"]},
                        "locked_until": {"$cond": [take, _until(), "$locked_until"]},
                    }
                }
            ],
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        return row


def _until() -> Document:
    return {"$dateAdd": {"startDate": "$$NOW", "unit": "second", "amount": LEASE_SECONDS}}
