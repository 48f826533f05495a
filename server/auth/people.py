"""People: what the house may see of those who sign in, and do about them."""

from datetime import datetime

from server.auth.sessions import Sessions
from server.errors import InvalidRequest, NotFound
from server.models import Caller
from server.repo.people import PeopleRepo, UserChange, UserFilter, UserRecord
from server.repo.users import User, Users

__all__ = ["People", "UserChange", "UserFilter", "UserRecord"]

OPERATOR = Caller(user_id="", request_id="")
"""Who acts on the command line: to the audit log, the system."""


class People:
    def __init__(self, rows: PeopleRepo, users: Users, sessions: Sessions) -> None:
        self._rows = rows
        self._users = users
        self._sessions = sessions

    async def find(
        self, wanted: UserFilter, before: tuple[datetime, str] | None, limit: int
    ) -> list[UserRecord]:
        """Return users newest first, from `before` (created_at, id) on."""
        return await self._rows.find(wanted, before, limit)

    async def change(self, caller: Caller, user_id: str, change: UserChange) -> UserRecord:
        """Give a user another role, or keep them out, or let them in again.

        Who is kept out has no session left. A process that dies between the two does no harm: the
        sessions of the blocked are refused wherever they come, and none of them is left when the
        block ends. Raises NotFound, LastAdmin,
        EmailUnverified.
        """
        if change.blocked is False:
            await self._end_sessions(caller, user_id)
        changed = await self._rows.change(caller, user_id, change)
        if changed is None:
            raise NotFound
        if change.blocked:
            await self._end_sessions(caller, user_id)
        return changed

    async def grant_admin(self, email: str) -> list[User]:
        """Make everybody ADMIN who proved to own `email` and is not blocked; returns them."""
        granted = []
        for user in await self._users.with_email(email, verified=True):
            if not user.blocked:
                changed = await self._rows.change(OPERATOR, user.id, UserChange(role="ADMIN"))
                granted += [changed.user] if changed else []
        return granted

    async def customer(self, named: str) -> User:
        """Return whom a clerk means by an id or a mail address.

        An address that somebody proved to own means them, whoever else claims it. Raises NotFound,
        for somebody who is blocked too, and InvalidRequest when several have the address.
        """
        found = await (self._with_email(named) if "@" in named else self._with_id(named))
        if not found:
            raise NotFound("There is no such customer.")
        if len(found) > 1:
            raise InvalidRequest("Several customers have this address: name one by id.")
        return found[0]

    async def _end_sessions(self, caller: Caller, user_id: str) -> None:
        await self._sessions.revoke_all(
            user_id, "blocked", caller.request_id, actor=caller.user_id or None
        )

    async def _with_id(self, user_id: str) -> list[User]:
        user = await self._users.get(user_id)
        return [user] if user and not user.blocked else []

    async def _with_email(self, email: str) -> list[User]:
        """Who only claims the address is not asked for while somebody has proven to own it, be
        that somebody blocked."""
        owners = await self._users.with_email(email, verified=True)
        found = owners or await self._users.with_email(email)
        return [user for user in found if not user.blocked]
