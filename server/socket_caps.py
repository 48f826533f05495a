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


class Place:
    """What one open connection holds."""

    __slots__ = ("_open", "_who")

    def __init__(self, open_ones: Counter[str], who: str) -> None:
        self._open = open_ones
        self._who = who
        open_ones[who] += 1

    def give_back(self) -> None:
        """Call it once."""
        self._open[self._who] -= 1
        if not self._open[self._who]:
            del self._open[self._who]


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

    def take(self, connection: HTTPConnection) -> Place | None:
        """Take a place for the address of `connection`; None: there is none."""
        most = self._most(self._per_address, connection)
        return self._take(client_address(connection), most)

    @contextmanager
    def place(self, connection: HTTPConnection) -> Iterator[bool]:
        """Take a place for the address as long as the context lasts; False: there is none."""
        with _held(self.take(connection)) as free:
            yield free

    @contextmanager
    def place_of(self, user_id: str, connection: HTTPConnection) -> Iterator[bool]:
        """The same for a person."""
        most = self._most(self._per_user, connection)
        with _held(self._take(f"user {user_id}", most)) as free:
            yield free

    def _most(self, most: int, connection: HTTPConnection) -> int:
        return most * lenience(connection, development=self._development)

    def _has(self, who: str, most: int) -> bool:
        return bool(who) and self._open.get(who, 0) >= most

    def _take(self, who: str, most: int) -> Place | None:
        return None if self._has(who, most) else Place(self._open, who)


@contextmanager
def _held(place: Place | None) -> Iterator[bool]:
    try:
        yield place is not None
    finally:
        if place:
            place.give_back()
