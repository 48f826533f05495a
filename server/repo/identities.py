"""Collection `users`: the identities (`provider`, `sub`) that accounts are linked with."""

from typing import Literal

from server.repo.mongo import Database, DuplicateKeyError

Obstacle = Literal["email_mismatch", "already_linked", "identity_taken"]


class Identities:
    """An identity belongs to one account at most, and an account has one at most."""

    def __init__(self, database: Database) -> None:
        self._rows = database["users"]

    async def link(self, user_id: str, provider: str, sub: str, email: str) -> Obstacle | None:
        """Link an identity whose provider has verified `email` with the account of that address.

        The address counts as verified from then on. Returns what stands in the way, if anything
        does; nothing is changed then. Linking the same identity again changes nothing.
        """
        identity = {"provider": provider, "sub": sub}
        account = {"_id": user_id, "email": email.lower()}
        try:
            linked = await self._rows.update_one(
                {**account, "$or": [{"sub": {"$exists": False}}, identity]},
                {"$set": {**identity, "email_verified": True}},
            )
        except DuplicateKeyError:
            return "identity_taken"
        if linked.matched_count:
            return None
        known = await self._rows.count_documents(account, limit=1)
        return "already_linked" if known else "email_mismatch"
