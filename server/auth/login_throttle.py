"""How often the password of an account may be tried.

A try is counted before the password is looked at, so that many at once are counted as well, and
counted for the mail address that was typed, so that an unknown one answers like any other. Nobody
is locked out for good: tries come back with time, and a success brings back those that its owner
used up. Nor is anybody locked out by a guesser: the tries of each address that calls are counted by
themselves, and a browser that the account was used from before has tries of its own, which nobody
else can use up. What many addresses, or many marks, may try together is counted besides.

How often an address may try, whatever the account, is limited where all requests are.
"""

from typing import Literal, Protocol

from server.auth.opaque import keyed_digest
from server.errors import RateLimited

TOGETHER = 10
"""Times as many tries as one of them has: for all unmarked browsers of an account, and for all
marked ones."""


class Standing(Protocol):
    @property
    def retry_after(self) -> int:
        """Seconds to wait; 0 for who was admitted."""


class Tries(Protocol):
    """The tries of each account: a bucket that fills up again with time."""

    async def count(
        self, name: Literal["password"], *, account: str, lenience: int = 1
    ) -> Standing | None:
        """Take one try of `lenience` times as many as usual, or say how long to wait for one; None
        where nothing is limited."""

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

    async def admit(self, email: str, device: str | None, address: str) -> None:
        """Count a try to sign in; `device` names a browser known to the account.

        What one may do is asked first: who is refused uses up nothing of what is for all.
        """
        await self._count(self._name(email, device, address))
        kind = "marked" if device else "unmarked"
        await self._count(self._hashed(f"{kind}:{email}"), TOGETHER)

    async def forgive(self, email: str, device: str | None, address: str) -> None:
        """Give back what the owner used up, after a success; not to all browsers at once."""
        if self._tries is not None:
            await self._tries.forgive("password", account=self._name(email, device, address))

    async def admit_change(self, user_id: str) -> None:
        """Count a try to name the current password from within a session."""
        await self._count(self._hashed(f"change:{user_id}"))

    async def _count(self, name: str, lenience: int = 1) -> None:
        if self._tries is None:
            return
        standing = await self._tries.count("password", account=name, lenience=lenience)
        if standing and standing.retry_after:
            raise RateLimited(retry_after=standing.retry_after)

    def _name(self, email: str, device: str | None, address: str) -> str:
        return self._hashed(f"device:{device}" if device else f"email:{address}:{email}")

    def _hashed(self, name: str) -> str:
        return keyed_digest(self._key, f"throttle:{name}")
