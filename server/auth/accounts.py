"""Local accounts: register, sign in and change the password.

Whoever may not sign in learns one thing only, that it did not work: an unknown mail address, a
wrong password and a blocked account give the same words after the same work.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass

from server.auth.devices import Device, Devices
from server.auth.login_throttle import LoginThrottle
from server.auth.opaque import keyed_digest
from server.auth.passwords import Passwords
from server.auth.sessions import Grant, Sessions
from server.errors import EmailTaken, Forbidden, NoPassword, RateLimited, Unauthenticated
from server.models import Identity
from server.repo.accounts import LOCAL, Account, AccountRepo
from server.repo.outbox import AuditRecord, Outbox
from server.repo.users import User

logger = logging.getLogger("rowlock.auth")

_REFUSED = "Mail address or password are wrong."
_WRONG = "The current password is wrong."


@dataclass(frozen=True, slots=True)
class Visit:
    """Where somebody without a session comes from."""

    device_mark: str
    """What its browser has kept from an earlier sign-in, or ""."""
    user_agent: str
    request_id: str
    address: str = ""
    """By which tries are counted; empty where they do not go by it."""
    refresh_token: str = ""
    """That of the session which its browser leaves behind, or ""."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a browser gets that has signed in."""

    grant: Grant
    device_mark: str


class Accounts:
    def __init__(
        self,
        accounts: AccountRepo,
        passwords: Passwords,
        sessions: Sessions,
        throttle: LoginThrottle,
        outbox: Outbox,
        key: bytes,
    ) -> None:
        """`key` is secret; under it the mail addresses of strangers are named in the audit log."""
        self._accounts = accounts
        self._passwords = passwords
        self._sessions = sessions
        self._throttle = throttle
        self._outbox = outbox
        self._key = key
        self._devices = Devices(key)

    async def register(self, email: str, password: str, name: str, visit: Visit) -> Entry:
        """Make an account and sign in to it; `email` is lower case and so far only claimed.

        Raises RateLimited, WeakPassword, EmailTaken.
        """
        with self._passwords.place(visit.address) as place:
            password_hash = await self._passwords.accept(password, (email, name), place)
        account = await self._accounts.add(email, name, password_hash)
        if account is None:
            raise EmailTaken
        await self._audit("auth.registered", visit.request_id, account.user)
        grant = await self._sessions.open(account.user, visit.user_agent)
        await self._signed_in(grant, visit)
        return self._entry(grant, account, None, visit)

    async def sign_in(self, email: str, password: str, visit: Visit) -> Entry:
        """Raises RateLimited, or Unauthenticated for whatever reason."""
        account = await self._accounts.find(email)
        since = account.password_changed_at if account else None
        device = self._devices.known(visit.device_mark, email, since)
        kept = account.password_hash if account else None
        # Who finds no place in the queue has used up no try.
        with self._passwords.place(visit.address, known=device is not None) as place:
            await self._admit(email, device, visit)
            matches = await self._passwords.matches(password, kept, place)
        if account is None:
            raise await self._failed("unknown_account", {"email_hash": self._alias(email)}, visit)
        if not matches or account.user.blocked:
            reason = "blocked" if matches else "wrong_password"
            raise await self._failed(reason, {"user_id": account.user.id}, visit)
        await self._throttle.forgive(email, device.name if device else None, visit.address)
        grant = await self._open(account, visit)
        await self._renew(account, password)
        return self._entry(grant, account, device, visit)

    async def change_password(
        self, identity: Identity, current: str, new: str, request_id: str
    ) -> None:
        """Replace the password and end all other sessions.

        Raises RateLimited, NoPassword, Forbidden when `current` is wrong, WeakPassword.
        """
        account = await self.get(identity)
        user, kept = account.user, account.password_hash
        if kept is None:
            raise NoPassword
        with self._passwords.place(user.id, known=True) as place:
            await self._throttle.admit_change(user.id)
            if not await self._passwords.matches(current, kept, place):
                whose = {"user_id": user.id}
                await self._record_failure("wrong_password", whose, request_id, user.id)
                raise Forbidden(_WRONG)
            fresh = await self._passwords.accept(new, (user.email, user.name), place)
        if not await self._accounts.change_password(account, fresh):
            raise Forbidden(_WRONG)  # by now it is: another request was faster
        await self._sessions.revoke_all(
            user.id,
            "password_changed",
            request_id,
            except_session=identity.session_id,
            actor=user.id,
        )
        await self._audit("auth.password_changed", request_id, user)

    async def get(self, identity: Identity) -> Account:
        """Return the account behind an access token; raises Unauthenticated when gone."""
        account = await self._accounts.get(identity.user_id)
        if account is None:
            raise Unauthenticated("The account does not exist any more.")
        return account

    def _entry(self, grant: Grant, account: Account, device: Device | None, visit: Visit) -> Entry:
        """Return the grant with the mark that the browser keeps from now on."""
        email, since = account.user.email, account.password_changed_at
        if since is None:
            return Entry(grant, "")
        return Entry(grant, self._devices.renewed(device, visit.device_mark, email, since))

    async def _admit(self, email: str, device: Device | None, visit: Visit) -> None:
        try:
            await self._throttle.admit(email, device.name if device else None, visit.address)
        except RateLimited:
            # Not for the audit log: these come as fast as somebody can send them.
            logger.warning("tries to sign in used up")
            raise

    async def _open(self, account: Account, visit: Visit) -> Grant:
        """Start a session, unless the password was changed or the user blocked meanwhile.

        That is asked when the session is there: whatever changes later finds it and ends it.
        """
        grant = await self._sessions.open(account.user, visit.user_agent)
        if not await self._accounts.note_sign_in(account):
            await self._sessions.end(grant.refresh_token, visit.request_id)
            raise await self._failed("changed_meanwhile", {"user_id": account.user.id}, visit)
        await self._signed_in(grant, visit)
        return grant

    async def _renew(self, account: Account, password: str) -> None:
        """Keep a hash of today's cost from now on, if it is of another."""
        kept = account.password_hash
        if kept is not None and self._passwords.is_dated(kept):
            with suppress(RateLimited):  # in a storm there is another time
                await self._accounts.renew_hash(account, await self._passwords.hash(password))

    def _alias(self, email: str) -> str:
        """Name a stranger's mail address, which may be a password in the wrong field."""
        return keyed_digest(self._key, f"mail:{email}")

    async def _failed(self, reason: str, whose: dict[str, str], visit: Visit) -> Unauthenticated:
        """Write down why a sign-in failed, and return what is told: not why."""
        await self._record_failure(reason, whose, visit.request_id)
        return Unauthenticated(_REFUSED)

    async def _record_failure(
        self, reason: str, whose: dict[str, str], request_id: str, actor: str | None = None
    ) -> None:
        await self._outbox.add(
            AuditRecord(
                action="auth.failed",
                outcome="refused",
                actor=actor,
                target=whose,
                detail={"provider": LOCAL, "reason": reason},
                request_id=request_id,
            )
        )

    async def _signed_in(self, grant: Grant, visit: Visit) -> None:
        await self._audit(
            "auth.signed_in", visit.request_id, grant.user, session_id=grant.session_id
        )
        await self._sessions.replace(visit.refresh_token, visit.request_id)

    async def _audit(self, action: str, request_id: str, user: User, **target: str) -> None:
        await self._outbox.add(
            AuditRecord(
                action=action,
                outcome="ok",
                actor=user.id,
                target=target,
                detail={"provider": LOCAL},
                request_id=request_id,
            )
        )
