"""Sessions: a refresh token that changes at every use, and dies with its family when copied.

A refresh token is `family.secret`. The family stays the same from sign-in to sign-out, 30 days at
most; the secret is good for one use. Whoever comes with the right family and another secret holds
a spent token: either a thief, or the victim after a thief. Nobody can tell which, so the family
ends for both (RFC 9700, section 4.14).

One exception: a page that is left while its refresh is under way never sees the answer, and the
next page comes with the spent token. Within GRACE our own page is answered with the same successor
again, as long as nobody has used that one. A thief gains no token by it that the victim has not.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from server.auth.opaque import SECRET, digest, keyed_digest, new_secret
from server.auth.tokens import AccessTokens
from server.errors import Unauthenticated
from server.models import Identity
from server.repo.outbox import AuditRecord, Outbox
from server.repo.sessions import SessionRepo
from server.repo.users import User, Users

SESSION_TTL = timedelta(days=30)
GRACE = timedelta(seconds=10)

_TOKEN = re.compile(rf"(?P<family>{SECRET.pattern})\.{SECRET.pattern}")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a signed-in browser gets."""

    user: User
    session_id: str
    refresh_token: str
    refresh_expires_in: int
    """Seconds until the session ends for good."""
    access_token: str
    expires_in: int
    """Seconds that the access token lives."""

    def as_json(self) -> dict[str, Any]:
        """The body of every answer that signs in; the refresh token travels in its cookie."""
        return {
            "access_token": self.access_token,
            "token_type": "Bearer",
            "expires_in": self.expires_in,
            "user": self.user.as_json(),
        }


class Sessions:
    def __init__(
        self,
        sessions: SessionRepo,
        users: Users,
        tokens: AccessTokens,
        outbox: Outbox,
        key: bytes,
    ) -> None:
        """`key` is secret; the successor of each refresh token follows from it."""
        self._sessions = sessions
        self._users = users
        self._tokens = tokens
        self._outbox = outbox
        self._key = key

    async def open(self, user: User) -> Grant:
        """Start a session for somebody who has just proven to be `user`."""
        family = new_secret()
        token = f"{family}.{new_secret()}"
        expires_at = datetime.now(UTC) + SESSION_TTL
        await self._sessions.add(digest(family), user.id, digest(token), expires_at)
        return self._grant(user, digest(family), token, expires_at)

    async def refresh(self, token: str, request_id: str, *, from_page: bool = False) -> Grant:
        """Spend `token` for the next one; raises Unauthenticated.

        `from_page`: a browser says that a page of ours asks, so that GRACE holds.
        """
        family = _family_of(token)
        fresh = f"{family}.{keyed_digest(self._key, token)}"
        rotated = await self._sessions.rotate(digest(family), digest(token), digest(fresh))
        if rotated is None and from_page:
            rotated = await self._sessions.rotated(digest(family), digest(token), within=GRACE)
        if rotated is None:
            await self._revoke(digest(family), request_id)
            raise Unauthenticated("The session has ended.")
        user_id, expires_at = rotated
        user = await self._users.get(user_id)
        if user is None:
            await self._sessions.revoke(digest(family))
            raise Unauthenticated("The session has ended.")
        return self._grant(user, digest(family), fresh, expires_at)

    async def end(self, token: str, request_id: str) -> None:
        """Sign out; does nothing when there is no such session any more."""
        try:
            session_id = digest(_family_of(token))
        except Unauthenticated:
            return
        user_id = await self._sessions.end(session_id, digest(token))
        if user_id is None:
            await self._revoke(session_id, request_id)
            return
        await self._outbox.add(
            AuditRecord(
                action="auth.signed_out",
                outcome="ok",
                actor=user_id,
                target={"session_id": session_id},
                request_id=request_id,
            )
        )

    async def owner(self, identity: Identity) -> User:
        """Return the user behind an access token; raises Unauthenticated when gone."""
        user = await self._users.get(identity.user_id)
        if user is None:
            raise Unauthenticated("The account does not exist any more.")
        return user

    async def _revoke(self, session_id: str, request_id: str) -> None:
        """End a session, one of whose spent tokens came back."""
        user_id = await self._sessions.revoke(session_id)
        if user_id is None:
            return
        await self._outbox.add(
            AuditRecord(
                action="auth.session_revoked",
                outcome="ok",
                target={"session_id": session_id, "user_id": user_id},
                detail={"reason": "refresh_token_reused"},
                request_id=request_id,
            )
        )

    def _grant(self, user: User, session_id: str, token: str, expires_at: datetime) -> Grant:
        access_token, expires_in = self._tokens.mint(user)
        seconds_left = int((expires_at - datetime.now(UTC)).total_seconds())
        return Grant(user, session_id, token, seconds_left, access_token, expires_in)


def _family_of(token: str) -> str:
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise Unauthenticated
    return match["family"]
