"""Sign-in with an OpenID provider: a transaction leaves, comes back once, and becomes a session."""

import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from server.auth.opaque import digest
from server.auth.openid import OpenIDClient, Person, SignInFailed
from server.auth.sessions import Grant, Sessions
from server.repo.mongo import UNAVAILABLE
from server.repo.outbox import AuditRecord, Outbox
from server.repo.signins import SignInRepo, Transaction
from server.repo.users import User, Users

logger = logging.getLogger("rowlock.auth")

CALLBACK_PATH = "/api/auth/google/callback"
TRANSACTION_TTL = timedelta(minutes=10)

_MAX_NEXT = 1024


@dataclass(frozen=True, slots=True)
class Departure:
    """A browser that wants to sign in."""

    origin: str
    """How it sees this server."""
    browser: str
    """A secret that it keeps meanwhile, and by which it is known when it comes back."""
    next_path: str
    login_hint: str


@dataclass(frozen=True, slots=True)
class Return:
    """The same browser, sent back by the provider."""

    browser: str
    state: str
    code: str
    error: str


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
        outbox: Outbox,
        *,
        admin_emails: Collection[str] = (),
        redirect_uri: str = "",
    ) -> None:
        self._provider = provider
        self._signins = signins
        self._users = users
        self._sessions = sessions
        self._outbox = outbox
        self._admin_emails = {email.lower() for email in admin_emails}
        self._redirect_uri = redirect_uri

    async def begin(self, departure: Departure, request_id: str) -> str:
        """Return the address at the provider to send the browser to. Raises SignInFailed."""
        redirect_uri = self._redirect_uri or f"{departure.origin}{CALLBACK_PATH}"
        async with self._failures(request_id):
            asked = await self._provider.authorize(
                departure.origin, redirect_uri, departure.login_hint
            )
            transaction = Transaction(
                asked.nonce, asked.verifier, redirect_uri, local_path(departure.next_path)
            )
            await self._signins.add(
                digest(asked.state),
                digest(departure.browser),
                transaction,
                datetime.now(UTC) + TRANSACTION_TTL,
            )
        return asked.url

    async def finish(self, arrival: Return, request_id: str) -> tuple[Grant, str]:
        """Return the new session and the path that the person wanted to go to.

        Raises SignInFailed, after which nobody is signed in and an audit entry says why.
        """
        async with self._failures(request_id):
            person, next_path = await self._person(arrival)
            grant = await self._sessions.open(await self._user(person))
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
        return grant, next_path

    async def _person(self, arrival: Return) -> tuple[Person, str]:
        # Spent first, so that whatever else this return brings, it cannot be tried again.
        transaction = await self._signins.take(digest(arrival.state), digest(arrival.browser))
        if arrival.error:
            denied = arrival.error == "access_denied"
            raise SignInFailed("access_denied" if denied else "provider_refused")
        if transaction is None or not arrival.code:
            raise SignInFailed("state_invalid")
        person = await self._provider.redeem(
            arrival.code, transaction.redirect_uri, transaction.verifier, transaction.nonce
        )
        return person, transaction.next_path

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
    async def _failures(self, request_id: str) -> AsyncIterator[None]:
        """Make SignInFailed of a store that does not answer, and an audit entry of the rest."""
        try:
            try:
                yield
            except SignInFailed as failure:
                await self._record(failure, request_id)
                raise
        except UNAVAILABLE as error:
            raise SignInFailed("store_unavailable") from error

    async def _record(self, failure: SignInFailed, request_id: str) -> None:
        # The cause's own text may quote what the provider sent; its kind says enough.
        cause = type(failure.__cause__).__name__
        logger.info(
            "sign-in failed: %s (%s)", failure.reason, cause, extra={"request_id": request_id}
        )
        await self._outbox.add(
            AuditRecord(
                action="auth.failed",
                outcome="refused",
                detail={"reason": failure.reason},
                request_id=request_id,
            )
        )


def local_path(wanted: str) -> str:
    """Return `wanted` if it is a path on this very origin, else "/".

    Browsers read a backslash as a slash and skip tabs and line breaks, so that `/\\t/host` leads
    away: such characters are refused wherever they stand.
    """
    plain = wanted.isprintable() and "\\" not in wanted and len(wanted) <= _MAX_NEXT
    if not plain or not wanted.startswith("/") or wanted.startswith("//"):
        return "/"
    return wanted
