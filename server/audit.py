"""The audit log: what happened, who did it, in one chain.

Nothing writes to the log directly. Seats log to a Redis stream in the same step that changes them,
bookings keep a timeline in the same document, and what a person is told to be done goes through an
outbox first. The relay copies all three; each entry has an id of its own, so a second copy is none.
"""

import secrets
import time
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

from server.booking import Booking
from server.repo.audit_logs import SYSTEM, AuditLogRepo, AuditQuery
from server.repo.bookings import BookingRepo
from server.repo.keys import PARTITIONS
from server.repo.leases import LeaseRepo
from server.repo.mongo import Document
from server.repo.outbox import Outbox
from server.repo.seat_log import SeatLog
from server.repo.users import Users

__all__ = ["AuditEntry", "AuditFeed", "AuditQuery", "AuditRelay", "entry_of"]

_BATCH = 500
_LEASE_SECONDS = 10
_ASK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One entry of the log, as the admin feed shows it; `n` is its place in the chain."""

    id: str
    n: int
    at: datetime
    actor: dict[str, str] | str
    action: str
    outcome: str
    target: dict[str, str]
    detail: dict[str, Any]
    request_id: str


def entry_of(row: Document) -> AuditEntry:
    return AuditEntry(
        id=row["_id"],
        n=row["n"],
        at=row["at"],
        actor=row["actor"],
        action=row["action"],
        outcome=row["outcome"],
        target=row["target"],
        detail=row["detail"],
        request_id=row["request_id"],
    )


class AuditFeed:
    def __init__(self, logs: AuditLogRepo) -> None:
        self._logs = logs

    async def find(self, query: AuditQuery, before: int | None, limit: int) -> list[AuditEntry]:
        """Return entries newest first, those before place `before` in the chain."""
        return [entry_of(row) for row in await self._logs.find(query, before, limit)]


class AuditRelay:
    """Copies what happened into the log. One process at a time does it; the rest stand by."""

    def __init__(
        self,
        logs: AuditLogRepo,
        seat_log: SeatLog,
        bookings: BookingRepo,
        outbox: Outbox,
        users: Users,
        leases: LeaseRepo,
    ) -> None:
        self._logs = logs
        self._seat_log = seat_log
        self._bookings = bookings
        self._outbox = outbox
        self._users = users
        self._leases = leases
        self._name = secrets.token_hex(8)
        self._leads = False
        self._ask_again = 0.0

    async def run_once(self) -> int:
        """Copy what is there; returns how many entries were added (0 while another relays)."""
        if not await self._leading():
            return 0
        acts = await self._outbox.oldest(_BATCH)
        bookings = await self._bookings.audit_due(_BATCH)
        events = [await self._seat_log.read(partition, _BATCH) for partition in PARTITIONS]
        rows = [
            *chain.from_iterable(act.rows for act in acts),
            *chain.from_iterable(map(_of_booking, bookings)),
        ]
        there = {row["_id"] for row in rows}  # most of what a script has logged is in the outbox
        rows += [each.as_row() for each in chain.from_iterable(events) if each.id not in there]
        if not rows:
            return 0
        copied = await self._logs.append(await self._named(sorted(rows, key=_age)))
        await self._outbox.remove([act.id for act in acts])
        for booking in bookings:
            await self._bookings.audited(booking)
        for partition, entries in zip(PARTITIONS, events, strict=True):
            await self._seat_log.forget(partition, [entry.position for entry in entries])
        return copied

    async def _leading(self) -> bool:
        """Say whether this process relays; asked of MongoDB only now and then.

        A lease that was lost meanwhile does no harm: the chain refuses the slower of two writers.
        """
        if time.monotonic() >= self._ask_again:
            self._leads = await self._leases.hold("audit-relay", self._name, _LEASE_SECONDS)
            self._ask_again = time.monotonic() + _ASK_SECONDS
        return self._leads

    async def stop(self) -> None:
        """Let another process relay at once."""
        await self._leases.let_go("audit-relay", self._name)

    async def _named(self, rows: list[Document]) -> list[Document]:
        """Give each row the mail address of its actor, as it is today."""
        ids = {row["actor"] for row in rows if row["actor"]}
        emails = {user.id: user.email for user in await self._users.get_many(list(ids))}
        return [{**row, "actor": _actor(row["actor"], emails)} for row in rows]


def _age(row: Document) -> datetime:
    at: datetime = row["at"]
    return at


def _actor(user_id: str | None, emails: dict[str, str]) -> dict[str, str] | str:
    return {"id": user_id, "email": emails.get(user_id, "")} if user_id else SYSTEM


def _of_booking(booking: Booking) -> list[Document]:
    return [
        {
            "_id": f"{booking.id}-{number}",
            "at": entry.at,
            "actor": entry.actor_id,
            "action": entry.action,
            "outcome": entry.outcome,
            "target": {"showtime_id": booking.showtime_id, "booking_id": booking.id},
            "detail": entry.detail,
            "request_id": entry.request_id,
        }
        for number, entry in enumerate(booking.timeline)
    ]
