"""Collection `audit_logs`: append-only, one chain.

Each entry carries its number `n`, the hash of the entry before it and its own, so that a missing or
changed one is found. How far the chain had got is kept apart, in `audit_anchors`, so that its end
cannot go missing either.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from server.models import rfc3339
from server.repo.mongo import Database, Document

GENESIS = "0" * 64
SYSTEM = "system"
"""The actor of what nobody did."""


class AuditLogRepo:
    def __init__(self, database: Database) -> None:
        self._rows = database["audit_logs"]
        self._anchors = database["audit_anchors"]

    async def append(self, entries: Sequence[Document]) -> int:
        """Add those entries whose `_id` is not there yet; returns how many were added.

        Raises BulkWriteError when another relay appended meanwhile: what was added before that is
        whole, and a repeat adds the rest.
        """
        ids = [entry["_id"] for entry in entries]
        known = {row["_id"] async for row in self._rows.find({"_id": {"$in": ids}}, {"_id": 1})}
        newest = await self._rows.find_one(sort=[("n", -1)]) or {"n": 0, "hash": GENESIS}
        anchored = await self.anchor()
        behind = newest["n"] < anchored[0]  # somebody took the end away: its numbers stay taken
        number, previous = anchored if behind else (newest["n"], newest["hash"])
        chained = []
        for entry in entries:
            if entry["_id"] in known:
                continue
            known.add(entry["_id"])
            number += 1
            link = {**entry, "n": number, "previous": previous}
            previous = digest(link)
            chained.append({**link, "hash": previous})
        if chained:
            await self._rows.insert_many(chained, ordered=True)
            await self._move_anchor(number, previous)
        return len(chained)

    async def anchor(self) -> tuple[int, str]:
        """Return number and hash of an entry that was written: the chain is at least so long."""
        row = await self._anchors.find_one({"_id": "audit_logs"})
        return (row["n"], row["hash"]) if row else (0, GENESIS)

    async def _move_anchor(self, number: int, entry_hash: str) -> None:
        """Forward only; who dies before this leaves one that is merely behind."""
        further = {"$gt": [number, {"$ifNull": ["$n", 0]}]}
        await self._anchors.find_one_and_update(
            {"_id": "audit_logs"},
            [
                {
                    "$set": {
                        "n": {"$cond": [further, number, "$n"]},
                        "hash": {"$cond": [further, entry_hash, "$hash"]},
                    }
                }
            ],
            upsert=True,
        )

    async def chain(self) -> AsyncIterator[Document]:
        """Yield every entry, oldest first."""
        async for row in self._rows.find().sort("n", 1):
            yield row

    async def find(self, where: "AuditQuery", before: int | None, limit: int) -> list[Document]:
        """Return entries newest first, those with `n` below `before`."""
        query = where.as_filter()
        if before is not None:
            query["n"] = {"$lt": before}
        rows: list[Document] = await self._rows.find(query).sort("n", -1).limit(limit).to_list()
        return rows

    async def after(self, n: int, limit: int) -> list[Document]:
        """Return entries oldest first, those with a number above `n`.

        Whoever goes on from the last one misses none: entries are added in the order of their
        numbers, and a majority-committed read sees the beginning of that order, without holes.
        """
        newer = self._rows.find({"n": {"$gt": n}}).sort("n", 1)
        rows: list[Document] = await newer.limit(limit).to_list()
        return rows

    async def head(self) -> int:
        """Return the number of the newest entry; 0 when there is none."""
        newest = await self._rows.find_one({}, {"_id": 0, "n": 1}, sort=[("n", -1)])
        return int(newest["n"]) if newest else 0

    async def number_of(self, entry_id: str) -> int | None:
        row = await self._rows.find_one({"_id": entry_id}, {"n": 1})
        return int(row["n"]) if row else None


class AuditQuery:
    """What the admin audit feed can be narrowed to; None leaves a field open."""

    def __init__(
        self,
        *,
        action: str | None = None,
        actor: str | None = None,
        showtime: str | None = None,
        booking: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> None:
        self._exact = {
            "action": action,
            "actor" if actor == SYSTEM else "actor.id": actor,
            "target.showtime_id": showtime,
            "target.booking_id": booking,
        }
        self._span = {"$gte": start, "$lt": end}

    def as_filter(self) -> Document:
        query: Document = {name: value for name, value in self._exact.items() if value is not None}
        span = {name: _whole_ms(at) for name, at in self._span.items() if at is not None}
        return query | ({"at": span} if span else {})


def _whole_ms(moment: datetime) -> datetime:
    """Round up, because entries keep whole milliseconds; the driver would round down."""
    return moment + timedelta(microseconds=-moment.microsecond % 1000)


def digest(entry: Document) -> str:
    """Return the SHA-256 of an entry without its own hash: keys sorted, times RFC 3339."""
    content = {name: value for name, value in entry.items() if name != "hash"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return rfc3339(value)
    raise TypeError(f"{type(value).__name__} has no place in an audit entry")
