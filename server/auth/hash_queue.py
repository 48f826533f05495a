"""The queue in front of the threads that hash: who finds a place in it, and who is turned away.

A place is taken before anything else is done for a request, so that whoever is turned away has used
up nothing. One address has a few places at most, and some are kept for browsers that are known.
"""

from collections import Counter
from types import TracebackType

from server.errors import RateLimited


class Place:
    """Kept until its owner has left and the work that was begun from it is done."""

    def __init__(self, queue: "HashQueue", whose: str) -> None:
        self._queue = queue
        self._whose = whose
        self._holders = 1

    def __enter__(self) -> "Place":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.done()

    def begin(self) -> None:
        self._holders += 1

    def done(self, _: object = None) -> None:
        self._holders -= 1
        if not self._holders:
            self._queue.leave(self._whose)


class HashQueue:
    def __init__(self, places: int, reserved: int, per_address: int) -> None:
        self._places = places
        self._reserved = reserved
        self._per_address = per_address
        self._taken = 0
        self._by_address: Counter[str] = Counter()

    def enter(self, address: str = "", *, known: bool = False) -> Place:
        """Take a place; raises RateLimited. An empty `address` is not counted by itself.

        `known`: somebody who has proven before who they are.
        """
        open_places = self._places - (0 if known else self._reserved)
        crowded = bool(address) and self._by_address[address] >= self._per_address
        if crowded or self._taken >= open_places:
            raise RateLimited("Too many people are signing in just now.", retry_after=3)
        self._taken += 1
        if address:
            self._by_address[address] += 1
        return Place(self, address)

    def leave(self, address: str) -> None:
        """Give a place back; called by the Place."""
        self._taken -= 1
        if address:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]
