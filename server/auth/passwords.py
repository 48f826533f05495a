"""Passwords, kept as Argon2id hashes, and never on the event loop.

The cost is the second recommendation of RFC 9106, section 4: three passes over 64 MiB in four
lanes, which is above the minimum of OWASP. It is meant to hurt whoever guesses, and would hurt us
as much in a storm of sign-ins: so hashing has THREADS of its own, which give way to the event loop
and bound the memory, and a queue in front of them that turns away what it could not serve in time.
"""

import asyncio
import os
import secrets
import sys
import threading
from base64 import b64encode
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from server.auth.hash_queue import HashQueue, Place
from server.auth.password_rules import prepared, refuse_weak

THREADS = 2
MAX_WAITING = 32
"""Passwords that may wait for a thread, about two seconds' worth."""
RESERVED = 8
"""Places of these that only who is known may take."""
PER_ADDRESS = 4
"""Places that one address may take at once."""
_NICENESS = 5

T = TypeVar("T")


class Passwords:
    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
        self._threads = ThreadPoolExecutor(THREADS, "passwords", initializer=_give_way)
        self._queue = HashQueue(THREADS + MAX_WAITING, RESERVED, PER_ADDRESS)
        self._decoy = _decoy(self._hasher)

    def place(self, address: str = "", *, known: bool = False) -> Place:
        """Take a place in the queue, to be left by `with`; raises RateLimited.

        `known`: for somebody who has proven before who they are. The methods below take a place
        for themselves, as for somebody who is known, where they are given none.
        """
        return self._queue.enter(address, known=known)

    async def accept(
        self, password: str, personal: Iterable[str], place: Place | None = None
    ) -> str:
        """Return the hash of a new password; raises WeakPassword.

        `personal`: what others know of its owner, such as mail address and name.
        """

        def work() -> str:
            refuse_weak(password, personal)
            return self._hasher.hash(prepared(password))

        return await self._run(work, place)

    async def matches(self, password: str, kept: str | None, place: Place | None = None) -> bool:
        """Say whether `kept` is the hash of `password`.

        Without a hash the answer is no, after the same work: nobody learns from the clock whether
        there is one.
        """
        verified = await self._run(lambda: self._verify(kept or self._decoy, password), place)
        return verified and kept is not None

    async def hash(self, password: str) -> str:
        """Return the hash of a password that was accepted before."""
        return await self._run(lambda: self._hasher.hash(prepared(password)))

    def is_dated(self, kept: str) -> bool:
        """Say whether the cost of a hash is not that of today."""
        return self._hasher.check_needs_rehash(kept)

    def _verify(self, kept: str, password: str) -> bool:
        try:
            return self._hasher.verify(kept, prepared(password))
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T], place: Place | None = None) -> T:
        if place is None:
            with self.place(known=True) as place:
                return await self._run(work, place)
        place.begin()
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        # Counted until the work is done, not until somebody stops waiting for it.
        future.add_done_callback(place.done)
        return await future


def _give_way() -> None:
    """Let this thread, and the lanes that it starts, yield to the event loop.

    Only Linux has a niceness per thread.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _decoy(hasher: PasswordHasher) -> str:
    """Return a hash of today's cost that belongs to no password: its bytes are random."""
    salt, digest = (
        b64encode(secrets.token_bytes(length)).rstrip(b"=").decode()
        for length in (hasher.salt_len, hasher.hash_len)
    )
    cost = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v=19${cost}${salt}${digest}"
