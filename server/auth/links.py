"""Linking a provider's identity with an account that is signed in."""

from server.auth.person import Person
from server.auth.refusals import SignInFailed
from server.auth.sessions import Sessions
from server.errors import Unauthenticated
from server.models import Identity
from server.repo.identities import Identities
from server.repo.outbox import AuditRecord, Outbox


class Links:
    """Two proofs are asked for, because whoever can link an identity can sign in for good: a
    session of the account that is alive when the person comes back, and an address that the
    provider has verified and that is the account's own."""

    def __init__(self, identities: Identities, sessions: Sessions, outbox: Outbox) -> None:
        self._identities = identities
        self._sessions = sessions
        self._outbox = outbox

    async def add(self, person: Person, user_id: str, session_id: str, request_id: str) -> None:
        """Link `person` with the account `user_id`; raises SignInFailed."""
        await self._check_session(user_id, session_id)
        if not person.email_verified:
            raise SignInFailed("email_unverified")
        obstacle = await self._identities.link(user_id, person.provider, person.sub, person.email)
        if obstacle is not None:
            raise SignInFailed(obstacle)
        await self._outbox.add(
            AuditRecord(
                action="auth.linked",
                outcome="ok",
                actor=user_id,
                target={"session_id": session_id},
                detail={"provider": person.provider},
                request_id=request_id,
            )
        )

    async def _check_session(self, user_id: str, session_id: str) -> None:
        if not session_id:
            raise SignInFailed("session_ended")
        try:
            owner = await self._sessions.owner(Identity(user_id, "USER", session_id))
        except Unauthenticated as error:
            raise SignInFailed("session_ended") from error
        if owner.blocked:
            raise SignInFailed("account_blocked")
