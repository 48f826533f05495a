"""Collection `users`, as administrators see it: lists, roles, blocks.

A change and its audit entry are one transaction. So is the promise that an administrator remains:
a transaction that takes one away writes to another one as well, who vouches for the house; of two
that would take each other away at the same moment one meets the other's write, and has to look
again.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from server.errors import EmailUnverified, LastAdmin
from server.models import Caller, Role
from server.repo.accounts import LOCAL
from server.repo.mongo import Database, Document, Transaction, in_transaction
from server.repo.outbox import AuditRecord, Outbox
from server.repo.users import ADMINISTERS, User, administers, user_of


@dataclass(frozen=True, slots=True)
class UserRecord:
    """A user with what administrators may know besides."""

    user: User
    email_verified: bool
    """Whether somebody proved that the address is theirs."""
    providers: list[str]
    created_at: datetime
    signed_in_at: datetime


@dataclass(frozen=True, slots=True)
class UserChange:
    """What is to become of a user; None leaves it as it is."""

    role: Role | None = None
    blocked: bool | None = None


@dataclass(frozen=True, slots=True)
class UserFilter:
    """What to look for; None means any. `email` is the whole address, in any case."""

    email: str | None = None
    role: Role | None = None
    blocked: bool | None = None

    def as_match(self) -> Document:
        match: Document = {}
        if self.email is not None:
            match["email"] = self.email.strip().lower()
        if self.role is not None:
            match["role"] = self.role
        if self.blocked is not None:
            match["blocked"] = True if self.blocked else {"$ne": True}
        return match


class PeopleRepo:
    """`listed` are the addresses that the configuration makes ADMIN."""

    def __init__(self, database: Database, outbox: Outbox, listed: Collection[str] = ()) -> None:
        self._database = database
        self._rows = database["users"]
        self._outbox = outbox
        self._listed = sorted({email.lower() for email in listed})

    async def find(
        self, wanted: UserFilter, before: tuple[datetime, str] | None, limit: int
    ) -> list[UserRecord]:
        """Return users newest first, from `before` (created_at, id) on."""
        where = wanted.as_match()
        if before:
            at, user_id = before
            # The first part alone is what an index can use.
            where["created_at"] = {"$lte": at}
            where["$or"] = [{"created_at": {"$lt": at}}, {"_id": {"$lt": user_id}}]
        rows = self._rows.find(where).sort([("created_at", -1), ("_id", -1)]).limit(limit)
        return [_record_of(row) async for row in rows]

    async def change(self, caller: Caller, user_id: str, change: UserChange) -> UserRecord | None:
        """Do `change` and record it for the audit log, both or neither; a role is granted for good.

        None when there is no such user. Raises LastAdmin when nobody would be left who is ADMIN
        and not blocked; where the user is ADMIN for good, nobody who is for good. Raises
        EmailUnverified for a role that is to go to an address which nobody proved to own.
        """

        async def work(transaction: Transaction) -> UserRecord | None:
            row = await self._rows.find_one({"_id": user_id}, session=transaction)
            if row is None:
                return None
            if change.role not in (None, "USER") and not row.get("email_verified", False):
                raise EmailUnverified
            after = row | _values(change)
            if administers(row) and not administers(after):
                await self._have_another_vouch(row, transaction)
            await self._rows.update_one(
                {"_id": user_id}, {"$set": _values(change)}, session=transaction
            )
            await self._outbox.add_within(transaction, _acts(caller, row, after))
            return _record_of(after)

        return await in_transaction(self._database, work)

    async def _have_another_vouch(self, row: Document, transaction: Transaction) -> None:
        """Raise LastAdmin unless there is another; the write is what two of us collide on."""
        others = ADMINISTERS | (self._lasting() if self._lasts(row) else {})
        vouched = await self._rows.find_one_and_update(
            {"_id": {"$ne": row["_id"]}, **others}, {"$inc": {"vouched": 1}}, session=transaction
        )
        if vouched is None:
            raise LastAdmin

    def _lasts(self, row: Document) -> bool:
        """Say whether an administrator will be one at the next sign-in too."""
        if "granted_role" in row:
            return bool(row["granted_role"] == "ADMIN")
        return bool(row.get("email_verified")) and row["email"] in self._listed

    def _lasting(self) -> Document:
        """The same as a filter."""
        listed = {
            "granted_role": {"$exists": False},
            "email": {"$in": self._listed},
            "email_verified": True,
        }
        return {"$or": [{"granted_role": "ADMIN"}, listed]}


def _values(change: UserChange) -> dict[str, Any]:
    role = {"role": change.role, "granted_role": change.role} if change.role else {}
    return role | ({} if change.blocked is None else {"blocked": change.blocked})


def _acts(caller: Caller, before: Document, after: Document) -> list[AuditRecord]:
    """Return what has really changed, as acts of `caller`."""

    def act(action: str, **detail: str) -> AuditRecord:
        target = {"user_id": before["_id"]}
        actor = caller.user_id or None
        return AuditRecord(action, "ok", actor, target, dict(detail), caller.request_id)

    acts = []
    if before["role"] != after["role"]:
        acts.append(act("admin.role_changed", before=before["role"], after=after["role"]))
    if before.get("blocked", False) != after.get("blocked", False):
        acts.append(act("admin.user_blocked" if after["blocked"] else "admin.user_unblocked"))
    return acts


def _record_of(row: Document) -> UserRecord:
    providers = {row[name] for name in ("provider",) if name in row}
    if "password_hash" in row:
        providers.add(LOCAL)
    return UserRecord(
        user_of(row),
        row.get("email_verified", False),
        sorted(providers),
        row["created_at"],
        row["signed_in_at"],
    )
