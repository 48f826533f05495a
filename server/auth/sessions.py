"""Sessions: a refresh token that changes at every use, and dies with its family when copied.

A refresh token is `family.secret`. The family stays the same from sign-in to sign-out, 30 days at
most, and ends when it is not used for 14; the secret is good for one use. Whoever comes with the
right family and another secret holds a spent token: either a thief, or the victim after a thief.
Nobody can tell which, so the family ends for both (RFC 9700, section 4.14).

One exception: a page that is left while its refresh is under way never sees the answer, and the
next page, or another tab, comes with the spent token. Within GRACE our own page is answered with
the token that is current by then. A thief gains no token by it that the victim has not.
"""

import hmac
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from server.auth.opaque import SECRET, digest, keyed_digest, new_secret
from server.auth.tokens import AccessTokens
from server.errors import NotFound, Unauthenticated
from server.models import Identity
from server.repo.mongo import Transaction
from server.repo.outbox import AuditRecord, Outbox
from server.repo.sessions import IDLE as IDLE
from server.repo.sessions import Session as Session
from server.repo.sessions import SessionRepo
from server.repo.users import User, Users

SESSION_TTL = timedelta(days=30)
GRACE = timedelta(seconds=10)
MAX_SESSIONS = 50
"""Of one user. Whoever opens another one ends the oldest."""

Reason = Literal[
    "refresh_token_reused",
    "revoked_by_user",
    "password_changed",
    "blocked",
    "replaced",  # its browser has signed in anew
    "too_many",
]
"""Why a session ended before its time."""

_TOKEN = re.compile(rf"(?P<family>{SECRET.pattern})\.{SECRET.pattern}")
_FAMILY = re.compile(rf"(?P<family>{SECRET.pattern})")
_MAX_USER_AGENT = 256


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
        secrets: Sequence[str],
    ) -> None:
        """The successor of each refresh token follows from the first of `secrets`; the others are
        the first ones of other servers while the secret changes."""
        self._sessions = sessions
        self._users = users
        self._tokens = tokens
        self._outbox = outbox
        label = b"rowlock refresh token"
        self._keys = [hmac.digest(secret.encode(), label, "sha256") for secret in secrets]

    async def open(self, user: User, user_agent: str = "") -> Grant:
        """Start a session for somebody who has just proven to be `user`."""
        family = new_secret()
        token = f"{family}.{new_secret()}"
        expires_at = datetime.now(UTC) + SESSION_TTL
        agent = _visible(user_agent)
        await self._sessions.add(digest(family), user.id, digest(token), expires_at, agent)
        if await self._sessions.count(user.id) > MAX_SESSIONS:
            await self._revoke_many(user.id, "too_many", beyond=MAX_SESSIONS)
        return self._grant(user, digest(family), token, expires_at)

    async def replace(self, token: str, request_id: str) -> None:
        """End the session of a browser that has just signed in anew, if it had one.

        `token` is the refresh token that it carried, or the family of it alone.
        """
        match = _TOKEN.fullmatch(token) or _FAMILY.fullmatch(token)
        if match is not None:
            await self._revoke(digest(match["family"]), "replaced", request_id)

    async def refresh(
        self, token: str, request_id: str, *, from_page: bool = False, user_agent: str = ""
    ) -> Grant:
        """Spend `token` for the next one; raises Unauthenticated.

        `from_page`: a browser says that a page of ours asks, so that GRACE holds.
        """
        family = digest(_family_of(token))
        fresh = next(self._successors(token))
        session = await self._sessions.rotate(
            family, digest(token), digest(fresh), _visible(user_agent), remember=GRACE
        )
        found = (session, fresh) if session else None
        if found is None and from_page:
            found = await self._current(family, token)
        if found is None:
            await self._revoke(family, "refresh_token_reused", request_id)
            raise Unauthenticated("The session has ended.")
        session, fresh = found
        user = await self._users.get(session.user_id)
        if user is None:
            await self._sessions.revoke(family)
            raise Unauthenticated("The session has ended.")
        if user.blocked:
            await self._revoke(family, "blocked", request_id)
            raise Unauthenticated("The session has ended.")
        return self._grant(user, family, fresh, session.expires_at)

    async def end(self, token: str, request_id: str) -> None:
        """Sign out; does nothing when there is no such session any more."""
        try:
            session_id = digest(_family_of(token))
        except Unauthenticated:
            return
        user_id = await self._sessions.end(session_id, digest(token))
        if user_id is None:
            await self._revoke(session_id, "refresh_token_reused", request_id)
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
        """Return the user behind an access token; raises Unauthenticated when they are gone, or
        the session that the token was minted for has ended."""
        user = await self._users.get(identity.user_id)
        if user is None:
            raise Unauthenticated("The account does not exist any more.")
        session_id = identity.session_id
        if session_id and not await self._sessions.lives(session_id, user.id):
            raise Unauthenticated("The session has ended.")
        return user

    async def of(self, identity: Identity) -> list[Session]:
        """Return the caller's sessions, the one used last first."""
        return await self._sessions.of_user(identity.user_id)

    async def revoke(self, identity: Identity, session_id: str, request_id: str) -> None:
        """End one of the caller's sessions; raises NotFound (another's too)."""
        user_id = await self._sessions.revoke(session_id, identity.user_id)
        if user_id is None:
            raise NotFound
        await self._record(session_id, user_id, "revoked_by_user", request_id, user_id)

    async def revoke_all(
        self,
        user_id: str,
        reason: Reason,
        request_id: str,
        *,
        except_session: str = "",
        actor: str | None = None,
    ) -> int:
        """End every session of a user but one; returns how many. `actor`: who wanted it."""
        return await self._revoke_many(
            user_id, reason, request_id, except_session=except_session, actor=actor
        )

    async def _revoke_many(
        self,
        user_id: str,
        reason: Reason,
        request_id: str = "",
        *,
        except_session: str = "",
        beyond: int = 0,
        actor: str | None = None,
    ) -> int:
        """End them all and write an entry for each, both or neither."""

        async def ended(transaction: Transaction, ids: list[str]) -> None:
            records = [_ended(each, user_id, reason, request_id, actor) for each in ids]
            await self._outbox.add_within(transaction, records)

        return await self._sessions.revoke_all(
            user_id, ended, except_session=except_session, beyond=beyond
        )

    async def _current(self, family: str, token: str) -> tuple[Session, str] | None:
        """Return the family and its current token, if `token` was spent a moment ago."""
        moved = await self._sessions.moved_on(family, digest(token), within=GRACE)
        if moved is None:
            return None
        session, hashes = moved
        for expected in hashes:
            fits = (each for each in self._successors(token) if digest(each) == expected)
            token = next(fits, "")
        return (session, token) if token else None

    def _successors(self, token: str) -> Iterator[str]:
        """Yield what may follow `token`: by our own key, then by those of other servers."""
        family = token.partition(".")[0]
        return (f"{family}.{keyed_digest(key, token)}" for key in self._keys)

    async def _revoke(self, session_id: str, reason: Reason, request_id: str) -> None:
        """End a session for a reason that nobody asked us for."""
        user_id = await self._sessions.revoke(session_id)
        if user_id is not None:
            await self._record(session_id, user_id, reason, request_id)

    async def _record(
        self,
        session_id: str,
        user_id: str,
        reason: Reason,
        request_id: str,
        actor: str | None = None,
    ) -> None:
        await self._outbox.add(_ended(session_id, user_id, reason, request_id, actor))

    def _grant(self, user: User, session_id: str, token: str, expires_at: datetime) -> Grant:
        access_token, expires_in = self._tokens.mint(user, session_id)
        seconds_left = int((expires_at - datetime.now(UTC)).total_seconds())
        return Grant(user, session_id, token, seconds_left, access_token, expires_in)


def family_of(token: str) -> str:
    """Return the half of a refresh token that names its session and opens nothing, or ""."""
    match = _TOKEN.fullmatch(token)
    return match["family"] if match else ""


def _ended(
    session_id: str, user_id: str, reason: Reason, request_id: str, actor: str | None
) -> AuditRecord:
    return AuditRecord(
        action="auth.session_revoked",
        outcome="ok",
        actor=actor,
        target={"session_id": session_id, "user_id": user_id},
        detail={"reason": reason},
        request_id=request_id,
    )


def _family_of(token: str) -> str:
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise Unauthenticated
    return match["family"]


def _visible(user_agent: str) -> str:
    """Return what a browser calls itself, as one short line of visible text."""
    return "".join(filter(str.isprintable, user_agent))[:_MAX_USER_AGENT].strip()
