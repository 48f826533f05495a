"""A seat as a register, an operation on seats, and what either lets us know of the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

FOREVER = 10**15


class Seat(NamedTuple):
    """`kind`: free, locked, claimed or booked. `earliest` and `latest` bound a lock's deadline."""

    kind: str = "free"
    user: str = ""
    booking: str = ""
    earliest: int = 0
    latest: int = 0


FREE = Seat()
Hall = tuple[Seat, ...]


class Mine(NamedTuple):
    """What an answer says of the user's lock; no seats: there is none."""

    seats: frozenset[str] = frozenset()
    until: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One operation of a history. `refusal` is the word of its error, "" when there was none.

    kind                answer                       refusal and its answer
    lock                Mine                         unavailable: seat -> locked | booked; limit
    extend              Mine                         lapsed; limit
    release             (released seats, Mine)
    mine                Mine
    map                 seat -> l | b
    checkout            deadline, None: refused
    book                                             taken
    unbook              freed seats
    revoke              revoked seats
    expire              whether there was something
    """

    kind: str
    called: int
    returned: float
    user: str = ""
    seats: Sequence[str] = ()
    booking: str = ""
    answer: Any = None
    refusal: str = ""
    started: int = 0
    """No later than Redis' clock when it was called."""
    ended: int = FOREVER
    """No earlier than Redis' clock when it returned; if it never did, when the history ended."""
    soonest: int = 0
    """No later than any deadline that it may have given to a lock without telling it."""

    @property
    def lost(self) -> bool:
        return self.returned == inf

    @property
    def idle(self) -> bool:
        """It was refused, or only read, or found nothing to do."""
        if self.lost or self.kind == "lock":
            return bool(self.refusal)
        if self.kind == "release":
            return self.answer == (frozenset(), Mine())
        return bool(self.refusal) or self.kind in ("mine", "map") or self._found_nothing

    @property
    def _found_nothing(self) -> bool:
        return self.kind not in ("extend", "book") and not self.answer


def theirs(operation: Operation, state: Seat) -> bool:
    return state.kind == "locked" and state.user == operation.user


def maybe_lapsed(state: Seat, operation: Operation) -> bool:
    return state.kind == "locked" and state.earliest <= operation.ended


def maybe_live(state: Seat, operation: Operation) -> bool:
    return state.kind == "locked" and state.latest > operation.started


def surely_live(state: Seat, operation: Operation) -> bool:
    return theirs(operation, state) and not maybe_lapsed(state, operation)


def lockable(state: Seat, operation: Operation) -> bool:
    return state == FREE or theirs(operation, state) or maybe_lapsed(state, operation)


def gone(operation: Operation, state: Seat) -> bool:
    """The user has no live lock on it."""
    return not theirs(operation, state) or maybe_lapsed(state, operation)
