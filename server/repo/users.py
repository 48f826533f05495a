"""Collection `users`: who signed in here, with which role."""

from dataclasses import dataclass

from server.models import Role, new_id
from server.repo.mongo import Database, Document, ReturnDocument


@dataclass(frozen=True, slots=True)
class User:
    id: str
    email: str
    name: str
    role: Role

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

        The role is ADMIN when `admin` says so or when it was granted by `set_role`; otherwise it
        is USER, also for somebody whom the configuration made ADMIN at an earlier sign-in.
        """
        told = {"email": email.lower(), "email_verified": email_verified, "name": name}
        role = "ADMIN" if admin else {"$ifNull": ["$granted_role", "USER"]}
        # A pipeline reads "$…" in a value as the name of a field: what came from outside is quoted.
        change: Document = {field: {"$literal": value} for field, value in told.items()}
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
        return _user_of(row)

    async def get(self, user_id: str) -> User | None:
        row = await self._rows.find_one({"_id": user_id})
        return _user_of(row) if row else None

    async def get_many(self, user_ids: list[str]) -> list[User]:
        """Return those of `user_ids` that exist, in no order."""
        return [_user_of(row) async for row in self._rows.find({"_id": {"$in": user_ids}})]

    async def administrators(self) -> list[User]:
        """Return all who are ADMIN, in no order; few, and seldom asked for."""
        return [_user_of(row) async for row in self._rows.find({"role": "ADMIN"})]

    async def set_role(self, email: str, role: Role) -> bool:
        """Grant `role` for good to whoever proved to own `email`; False when nobody did."""
        result = await self._rows.update_many(
            {"email": email.strip().lower(), "email_verified": True},
            {"$set": {"role": role, "granted_role": role}},
        )
        return bool(result.matched_count)


def _user_of(row: Document) -> User:
    return User(id=row["_id"], email=row["email"], name=row["name"], role=row["role"])
