"""Collection `notifications`: what people are to be told by mail, and what they were told.

A row is made once for each notice and never removed, so that a notice that is seen twice is one.
While it is due, whoever claims it holds it for a while: `next_at` says when it can be claimed
again, be it that its time has come or that its holder has not been heard of. MongoDB's clock.
"""

import secrets
from dataclasses import dataclass
from typing import Any, Literal

from server.repo.mongo import Database, Document, DuplicateKeyError, ReturnDocument

Ending = Literal["sent", "dropped", "refused"]
"""Accepted by the mail server, no longer worth telling, or given up: no server would take it."""


@dataclass(frozen=True, slots=True)
class Notification:
    """One notice, claimed. `attempts` counts how often it was in vain, `lease` names the claim."""

    about: str
    """The id of a booking or a showtime."""
    notice: str
    attempts: int
    lease: str

    @property
    def id(self) -> str:
        return id_of(self.about, self.notice)


class NotificationRepo:
    def __init__(self, database: Database) -> None:
        self._rows = database["notifications"]

    async def add(self, about: str, notice: str) -> bool:
        """Make a notice due. False when it is known already, in whatever state."""
        return await self._add(about, notice, {"status": "due", "next_at": "$$NOW"})

    async def record(self, about: str, notice: str) -> bool:
        """Write down a notice for which nothing is left to be sent; False when it is known."""
        return await self._add(about, notice, {"status": "sent", "ended_at": "$$NOW"})

    async def knows(self, about: str, notice: str) -> bool:
        return await self._rows.find_one({"_id": id_of(about, notice)}, {"_id": 1}) is not None

    async def claim(self, seconds: float) -> Notification | None:
        """Take, for so many seconds, the notice that has been due for longest; None: no one is."""
        due = {"status": "due", "$expr": {"$lte": ["$next_at", "$$NOW"]}}
        row: Document | None = await self._rows.find_one_and_update(
            due,
            [{"$set": {"lease": secrets.token_hex(8), "next_at": _in(seconds)}}],
            sort=[("next_at", 1)],
            return_document=ReturnDocument.AFTER,
        )
        if row is None:
            return None
        return Notification(row["about"], row["notice"], row["attempts"], row["lease"])

    async def sent(self, claimed: Notification) -> None:
        """The mail server has it: that is true whoever holds the notice by now."""
        await self._end({"_id": claimed.id, "status": "due"}, "sent")

    async def end(self, claimed: Notification, ending: Ending, reason: str) -> bool:
        """Close a notice that will not be sent. False when the claim was lost meanwhile."""
        return await self._end(_held(claimed), ending, reason)

    async def postpone(self, claimed: Notification, seconds: float, *, in_vain: bool) -> bool:
        """Let it be claimed in so many seconds. False when the claim was lost meanwhile."""
        again = {"next_at": _in(seconds), "lease": None, "attempts": claimed.attempts + in_vain}
        return await self._change(_held(claimed), again)

    async def _add(self, about: str, notice: str, state: Document) -> bool:
        new: Document = {"about": {"$literal": about}, "notice": {"$literal": notice}}
        new |= {"attempts": 0, "lease": None, "created_at": "$$NOW"} | state
        missing = {"_id": id_of(about, notice), "status": {"$exists": False}}
        try:
            await self._rows.update_one(missing, [{"$set": new}], upsert=True)
        except DuplicateKeyError:
            return False
        return True

    async def _end(self, where: Document, ending: Ending, reason: str = "") -> bool:
        change = {"status": ending, "lease": None, "ended_at": "$$NOW"}
        return await self._change(where, change | ({"reason": reason} if reason else {}))

    async def _change(self, where: Document, change: dict[str, Any]) -> bool:
        result = await self._rows.update_one(where, [{"$set": change}])
        return bool(result.modified_count)


def id_of(about: str, notice: str) -> str:
    return f"{about}:{notice}"


def _held(claimed: Notification) -> Document:
    return {"_id": claimed.id, "status": "due", "lease": claimed.lease}


def _in(seconds: float) -> Document:
    ahead = {"startDate": "$$NOW", "unit": "millisecond", "amount": round(seconds * 1000)}
    return {"$dateAdd": ahead}
