"""How often the password of an account may be tried.

A try is counted before the password is looked at, so that many at once are counted as well, and
counted for the mail address that was typed, so that an unknown one answers like any other. Nobody
is locked out for good: tries come back with time, a success brings all of them back, and a browser
that the account was used from before has tries of its own, which nobody else can use up.

How often an address may try, whatever the account, is limited where all requests are.
"""

from typing import Literal, Protocol

from server.auth.opaque import keyed_digest


class Tries(Protocol):
    """The tries of each account: a bucket that fills up again with time."""

    async def admit(self, name: Literal["password"], *, account: str) -> object:
        """Take one try; raises RateLimited."""

    async def forgive(self, name: Literal["password"], *, account: str) -> None:
        """Give all tries back."""


class LoginThrottle:
    """Its methods raise RateLimited, and StoreUnavailable when the tries cannot be counted.

    What it counts under are keyed hashes: no store names the mail addresses of strangers.
    """

    def __init__(self, tries: Tries | None, key: bytes) -> None:
        """Without `tries` nothing is limited. `key` is secret."""
        self._tries = tries
        self._key = key

    async def admit(self, email: str, device: str | None) -> None:
        """Count a try to sign in; `device` names a browser known to the account."""
        await self._admit(self._name(email, device))

    async def forgive(self, email: str, device: str | None) -> None:
        """Give back what the owner used up, after a success; not to all browsers at once."""
        if self._tries is not None:
            await self._tries.forgive("password", account=self._name(email, device))

    async def admit_change(self, user_id: str) -> None:
        """Count a try to name the current password from within a session."""
        await self._admit(self._hashed(f"change:{user_id}"))

    async def _admit(self, name: str) -> None:
        if self._tries is not None:
            await self._tries.admit("password", account=name)

    def _name(self, email: str, device: str | None) -> str:
        return self._hashed(f"device:{device}" if device else f"email:{email}")

    def _hashed(self, name: str) -> str:
        return keyed_digest(self._key, f"throttle:{name}")
