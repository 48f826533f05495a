"""Local accounts: those rows of collection `users` that have a password."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from server.models import from_ms, new_id, to_ms
from server.repo.mongo import Database, Document, DuplicateKeyError
from server.repo.users import User, user_of

LOCAL = "password"
"""What stands for the name of a provider where somebody signs in with a password."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user and how they may sign in."""

    user: User
    email_verified: bool
    google_linked: bool
    password_hash: str | None = field(repr=False)
    password_changed_at: datetime | None


class AccountRepo:
    """A mail address belongs to one local account at most. It is only claimed, not verified, until
    a provider says the same; whoever signs in through one is another user."""

    def __init__(self, database: Database) -> None:
        self._rows = database["users"]

    async def add(self, email: str, name: str, password_hash: str) -> Account | None:
        """Make a user with a password; None when a local account has this `email` (lower case), or
        somebody who is kept out has proven to own it."""
        kept_out = {"email": email, "email_verified": True, "blocked": True}
        if await self._rows.find_one(kept_out, {"_id": 1}):
            return None
        now = _now()
        row = {
            "_id": new_id("usr"),
            "email": email,
            "email_verified": False,
            "name": name,
            "role": "USER",
            "password_hash": password_hash,
            "password_changed_at": now,
            "created_at": now,
            "signed_in_at": now,
        }
        try:
            await self._rows.insert_one(row)
        except DuplicateKeyError:
            return None
        return _account_of(row)

    async def find(self, email: str) -> Account | None:
        """Return the local account of this `email` (lower case)."""
        row = await self._rows.find_one({"email": email, "password_hash": {"$exists": True}})
        return _account_of(row) if row else None

    async def get(self, user_id: str) -> Account | None:
        """Return any user, with a password or without."""
        row = await self._rows.find_one({"_id": user_id})
        return _account_of(row) if row else None

    async def note_sign_in(self, account: Account) -> bool:
        """False when the password was changed or the user blocked since `account` was read."""
        result = await self._rows.update_one(
            {**_as_read(account), "blocked": {"$ne": True}},
            {"$set": {"signed_in_at": datetime.now(UTC)}},
        )
        return bool(result.matched_count)

    async def change_password(self, account: Account, password_hash: str) -> bool:
        """Replace the password; False when somebody else did so since `account` was read."""
        fresh = {"password_hash": password_hash, "password_changed_at": _now()}
        result = await self._rows.update_one(_as_read(account), {"$set": fresh})
        return bool(result.matched_count)

    async def renew_hash(self, account: Account, password_hash: str) -> None:
        """Keep another hash of the same password, if that is still the password."""
        await self._rows.update_one(_as_read(account), {"$set": {"password_hash": password_hash}})


def _now() -> datetime:
    """In whole milliseconds, as it is stored."""
    return from_ms(to_ms(datetime.now(UTC)))


def _as_read(account: Account) -> Document:
    """Match a row whose password is the one that was read. Its hash alone says less: it is
    renewed without a change."""
    return {"_id": account.user.id, "password_changed_at": account.password_changed_at}


def _account_of(row: Document) -> Account:
    return Account(
        user=user_of(row),
        email_verified=row.get("email_verified", False),
        google_linked="sub" in row,
        password_hash=row.get("password_hash"),
        password_changed_at=row.get("password_changed_at"),
    )
