"""Sign-in with an OpenID provider: a transaction leaves, comes back once, and becomes a session.

Or, for somebody who is signed in already, a link between the provider's identity and the account.
"""

import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from server.auth.journey import Arrival, Departed, Departure, Return, local_path
from server.auth.links import Links
from server.auth.opaque import digest, new_secret
from server.auth.openid import OpenIDClient
from server.auth.person import Person
from server.auth.refusals import ACCOUNT, HOME, SignInFailed
from server.auth.sessions import Grant, Sessions
from server.repo.mongo import UNAVAILABLE
from server.repo.outbox import AuditRecord, Outbox
from server.repo.signins import SignInRepo, Transaction
from server.repo.users import User, Users

logger = logging.getLogger("rowlock.auth")

CALLBACK_PATH = "/api/auth/google/callback"
TRANSACTION_TTL = timedelta(minutes=10)


class SignIn:
    """`admin_emails` become ADMIN when the provider has verified the address. `redirect_uri` is
    where the provider sends browsers back to; empty means CALLBACK_PATH under the origin that the
    browser uses."""

    def __init__(
        self,
        provider: OpenIDClient,
        signins: SignInRepo,
        users: Users,
        sessions: Sessions,
        links: Links,
        outbox: Outbox,
        *,
        admin_emails: Collection[str] = (),
        redirect_uri: str = "",
    ) -> None:
        self._provider = provider
        self._signins = signins
        self._users = users
        self._sessions = sessions
        self._links = links
        self._outbox = outbox
        self._admin_emails = {email.lower() for email in admin_emails}
        self._redirect_uri = redirect_uri

    async def begin(self, departure: Departure, request_id: str) -> Departed:
        """Return where at the provider to send the browser. Raises SignInFailed."""
        redirect_uri = self._redirect_uri or f"{departure.origin}{CALLBACK_PATH}"
        account = departure.account
        async with self._failures(request_id, ACCOUNT if account else HOME):
            asked = await self._provider.authorize(
                departure.origin, redirect_uri, departure.login_hint
            )
            departed = Departed(asked.url, asked.state, new_secret())
            transaction = Transaction(
                asked.nonce,
                asked.verifier,
                redirect_uri,
                local_path(departure.next_path),
                link_user=account.user_id if account else "",
                link_session=account.session_id if account else "",
            )
            expires_at = datetime.now(UTC) + TRANSACTION_TTL
            await self._signins.add(
                digest(departed.state), digest(departed.secret), transaction, expires_at
            )
        return departed

    async def finish(self, back: Return, request_id: str) -> Arrival:
        """Return where the person goes on, signed in or linked.

        Raises SignInFailed, after which neither has happened and an audit entry says why.
        """
        async with self._failures(request_id):
            # Spent first, so that whatever else this return brings, it cannot be tried again.
            transaction = await self._signins.take(digest(back.state), digest(back.secret))
            if transaction is None:
                raise _refused(back.error) if back.error else SignInFailed("state_invalid")
        async with self._failures(request_id, ACCOUNT if transaction.link_user else HOME):
            person = await self._person(back, transaction)
            if transaction.link_user:
                account = transaction.link_user, transaction.link_session
                await self._links.add(person, *account, request_id)
                return Arrival(ACCOUNT, None)
            return Arrival(transaction.next_path, await self._sign_in(person, back, request_id))

    async def _person(self, back: Return, transaction: Transaction) -> Person:
        await self._provider.check_issuer(back.issuer)
        if back.error:
            raise _refused(back.error)
        if not back.code:
            raise SignInFailed("state_invalid")
        return await self._provider.redeem(
            back.code, transaction.redirect_uri, transaction.verifier, transaction.nonce
        )

    async def _sign_in(self, person: Person, back: Return, request_id: str) -> Grant:
        user = await self._user(person)
        if user.blocked:
            raise SignInFailed("account_blocked")
        grant = await self._sessions.open(user, back.user_agent)
        # Asked again when the session is there: a block that comes later finds it and ends it.
        known = await self._users.get(user.id)
        if known is None or known.blocked:
            await self._sessions.end(grant.refresh_token, request_id)
            raise SignInFailed("account_blocked")
        await self._outbox.add(
            AuditRecord(
                action="auth.signed_in",
                outcome="ok",
                actor=grant.user.id,
                target={"session_id": grant.session_id},
                detail={"provider": person.provider},
                request_id=request_id,
            )
        )
        return grant

    async def _user(self, person: Person) -> User:
        listed = person.email.lower() in self._admin_emails
        return await self._users.upsert_by_sub(
            person.provider,
            person.sub,
            email=person.email,
            email_verified=person.email_verified,
            name=person.name,
            admin=listed and person.email_verified,
        )

    @asynccontextmanager
    async def _failures(self, request_id: str, page: str = HOME) -> AsyncIterator[None]:
        """Make SignInFailed of a store that does not answer, and an audit entry of the rest; all
        are told on `page`."""
        try:
            try:
                yield
            except SignInFailed as failure:
                failure.page = page
                await self._record(failure, request_id)
                raise
        except UNAVAILABLE as error:
            raise SignInFailed("store_unavailable", page) from error

    async def _record(self, failure: SignInFailed, request_id: str) -> None:
        # The cause's own text may quote what the provider sent; its kind says enough.
        cause = type(failure.__cause__).__name__
        logger.info("sign-in failed: %s (%s)", failure.reason, cause)
        await self._outbox.add(
            AuditRecord(
                action="auth.failed",
                outcome="refused",
                detail={"reason": failure.reason},
                request_id=request_id,
            )
        )


def _refused(error: str) -> SignInFailed:
    """What an `error` of the provider means to the person."""
    return SignInFailed("access_denied" if error == "access_denied" else "provider_refused")
