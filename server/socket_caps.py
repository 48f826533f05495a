"""How many live connections one address or one person may have open with this process."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import HTTPConnection

from server.addresses import client_address, lenience

PER_ADDRESS = 500
"""Live maps and other sockets; an address may be that of a whole school."""
PER_USER = 20
"""Sockets that somebody has proven to be theirs."""


class SocketCaps:
    def __init__(
        self,
        *,
        per_address: int = PER_ADDRESS,
        per_user: int = PER_USER,
        development: bool = False,
    ) -> None:
        """In `development` this machine's own may have a multiple of that."""
        self._per_address = per_address
        self._per_user = per_user
        self._development = development
        self._open: Counter[str] = Counter()

    def is_full(self, connection: HTTPConnection) -> bool:
        """Say whether the address of `connection` has all that it may have."""
        return self._has(client_address(connection), self._most(self._per_address, connection))

    @contextmanager
    def place(self, connection: HTTPConnection) -> Iterator[bool]:
        """Take a place for the address as long as the context lasts; False: there is none."""
        most = self._most(self._per_address, connection)
        with self._taken(client_address(connection), most) as free:
            yield free

    @contextmanager
    def place_of(self, user_id: str, connection: HTTPConnection) -> Iterator[bool]:
        """The same for a person."""
        with self._taken(f"user {user_id}", self._most(self._per_user, connection)) as free:
            yield free

    def _most(self, most: int, connection: HTTPConnection) -> int:
        return most * lenience(connection, development=self._development)

    def _has(self, who: str, most: int) -> bool:
        return bool(who) and self._open.get(who, 0) >= most

    @contextmanager
    def _taken(self, who: str, most: int) -> Iterator[bool]:
        if self._has(who, most):
            yield False
            return
        self._open[who] += 1
        try:
            yield True
        finally:
            self._open[who] -= 1
            if not self._open[who]:
                del self._open[who]
