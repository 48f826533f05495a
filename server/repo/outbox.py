"""Collection `audit_outbox`: acts that have no state document of their own (sign-in, admin).

An act is written here before it is acknowledged; the audit relay takes it over.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from server.models import new_id
from server.repo.mongo import Database, Document


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One act. `actor` is a user id, or None for the system; `target` holds ids by field name."""

    action: str
    outcome: str
    actor: str | None = None
    target: dict[str, str] = field(default_factory=dict)
    detail: dict[str, Any] = field(default_factory=dict)
    request_id: str = ""


class Outbox:
    def __init__(self, database: Database) -> None:
        self._rows = database["audit_outbox"]

    async def add(self, record: AuditRecord) -> None:
        """Store one act durably; returns once a majority has it."""
        await self._rows.insert_one(
            {
                "_id": new_id("out"),
                "at": datetime.now(UTC),
                "action": record.action,
                "outcome": record.outcome,
                "actor": record.actor,
                "target": record.target,
                "detail": record.detail,
                "request_id": record.request_id,
            }
        )

    async def oldest(self, limit: int) -> list[Document]:
        rows: list[Document] = await self._rows.find().sort("_id", 1).to_list(limit)
        return rows

    async def remove(self, ids: list[str]) -> None:
        await self._rows.delete_many({"_id": {"$in": ids}})
