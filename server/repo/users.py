"""Collection `users`: who signed in here, with which role."""

from dataclasses import dataclass

from server.models import Role, new_id
from server.repo.mongo import Database, Document, ReturnDocument

ADMINISTERS: Document = {"role": "ADMIN", "blocked": {"$ne": True}}
"""Matches everybody who is ADMIN and not blocked."""

_HAS_PASSWORD = {"$ne": [{"$type": "$password_hash"}, "missing"]}


@dataclass(frozen=True, slots=True)
class User:
    id: str
    email: str
    name: str
    role: Role
    blocked: bool = False
    """Whether an administrator keeps them out."""

    def as_json(self) -> dict[str, str]:
        return {"id": self.id, "email": self.email, "name": self.name, "role": self.role}


class Users:
    """A person is (`provider`, `sub`). An email address is no key: it may change hands."""

    def __init__(self, database: Database) -> None:
        self._rows = database["users"]

    async def upsert_by_sub(
        self, provider: str, sub: str, *, email: str, email_verified: bool, name: str, admin: bool
    ) -> User:
        """Store what the provider says today and return the user.

        Whoever has a password keeps the address and the name of the account: the identity was
        linked with it, and the address is what they sign in with.
        The role is the one that was granted, to whomever one was (`server.repo.people`). For all
        others it is what the configuration says today: ADMIN when `admin`, else USER.
        """
        told = {"email": email.lower(), "email_verified": email_verified, "name": name}
        role = {"$ifNull": ["$granted_role", "ADMIN" if admin else "USER"]}
        # A pipeline reads "$…" in a value as the name of a field: what came from outside is quoted.
        change: Document = {
            field: {"$cond": [_HAS_PASSWORD, f"${field}", {"$literal": value}]}
            for field, value in told.items()
        }
        change |= {
            "_id": {"$ifNull": ["$_id", new_id("usr")]},
            "role": role,
            "created_at": {"$ifNull": ["$created_at", "$$NOW"]},
            "signed_in_at": "$$NOW",
        }
        # Two first sign-ins at once: the server itself retries the upsert that loses the race for
        # the unique index, because the index covers exactly what is matched here.
        row = await self._rows.find_one_and_update(
            {"provider": provider, "sub": sub},
            [{"$set": change}],
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        return user_of(row)

    async def get(self, user_id: str) -> User | None:
        row = await self._rows.find_one({"_id": user_id})
        return user_of(row) if row else None

    async def get_many(self, user_ids: list[str]) -> list[User]:
        """Return those of `user_ids` that exist, in no order."""
        return [user_of(row) async for row in self._rows.find({"_id": {"$in": user_ids}})]

    async def with_email(self, email: str, *, verified: bool = False) -> list[User]:
        """Return everybody with that address, in no order; or only those who proved to own it."""
        where: Document = {"email": email.strip().lower()}
        if verified:
            where["email_verified"] = True
        return [user_of(row) async for row in self._rows.find(where)]

    async def administrators(self) -> list[User]:
        """Return all who are ADMIN and not blocked, in no order; few, and seldom asked for."""
        return [user_of(row) async for row in self._rows.find(ADMINISTERS)]


def administers(row: Document) -> bool:
    """Say whether a row is one that ADMINISTERS matches."""
    return bool(row["role"] == "ADMIN") and not row.get("blocked", False)


def user_of(row: Document) -> User:
    return User(
        id=row["_id"],
        email=row["email"],
        name=row["name"],
        role=row["role"],
        blocked=row.get("blocked", False),
    )
