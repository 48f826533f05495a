"""Collection `audit_outbox`: acts that have no state document of their own (sign-in, admin, seats).

An act is written here before it is acknowledged; the audit relay takes it over.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from server.models import new_id
from server.repo.mongo import Database, Document, DuplicateKeyError, Transaction
from server.repo.seat_log import Logged, read_logged


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One act. `actor` is a user id, or None for the system; `target` holds ids by field name."""

    action: str
    outcome: str
    actor: str | None = None
    target: dict[str, str] = field(default_factory=dict)
    detail: dict[str, Any] = field(default_factory=dict)
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What one write has brought: entries of the log, `rows`, without their place in the chain."""

    id: str
    rows: list[Document]


class Outbox:
    def __init__(self, database: Database) -> None:
        self._rows = database["audit_outbox"]

    async def add(self, record: AuditRecord, record_id: str | None = None) -> None:
        """Store one act durably; returns once a majority has it.

        Under the same `record_id` it is one act, however often it is added.
        """
        with suppress(DuplicateKeyError):
            await self._rows.insert_one(_row_of(record, record_id or new_id("out")))

    async def add_within(self, transaction: Transaction, records: Sequence[AuditRecord]) -> None:
        """Store acts together with what they did."""
        if records:
            ids = sorted(new_id("out") for _ in records)  # copied in the order of their ids
            rows = [_row_of(record, row_id) for record, row_id in zip(records, ids, strict=True)]
            await self._rows.insert_many(rows, session=transaction)

    async def add_logged(self, logged: Sequence[Logged]) -> None:
        """Store what seat scripts have logged, as they did, in one write."""
        await self._rows.insert_one({"_id": new_id("out"), "logged": logged})

    async def oldest(self, limit: int) -> list[Waiting]:
        documents = await self._rows.find().sort("_id", 1).to_list(limit)
        return [Waiting(each["_id"], _rows_in(each)) for each in documents]

    async def count(self) -> int:
        return await self._rows.count_documents({})

    async def remove(self, ids: list[str]) -> None:
        await self._rows.delete_many({"_id": {"$in": ids}})


def _rows_in(document: Document) -> list[Document]:
    if "logged" in document:
        return [read_logged(each).as_row() for each in document["logged"]]
    rows: list[Document] = document.get("rows", [document])  # `rows`: as they were stored once
    return rows


def _row_of(record: AuditRecord, record_id: str) -> Document:
    return {
        "_id": record_id,
        "at": datetime.now(UTC),
        "action": record.action,
        "outcome": record.outcome,
        "actor": record.actor,
        "target": record.target,
        "detail": record.detail,
        "request_id": record.request_id,
    }
