"""Was there an order? Decides whether a concurrent history can be explained one step at a time.

The algorithm is that of Wing and Gong (1993) with Lowe's memory of what was tried before (2017): an
operation may come next when no other one that is still to come had returned before it was called;
try each, remember every (what is done, state) that led nowhere.

Two things make it quick. An operation that never changes anything is done as soon as it is
possible: no order is lost by that. (Of one that changes nothing just now it would be wrong: later
it might.) And several states that are possible at a time are carried as one set.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    """An operation: numbers that order the calls and returns of a history, all different."""

    @property
    def called(self) -> int: ...

    @property
    def returned(self) -> float:
        """`math.inf` when no answer came: it was done at any time after the call, or never."""

    @property
    def idle(self) -> bool:
        """Having answered what it did, it changes no state in which it is possible."""


S = TypeVar("S", bound=Hashable)
O = TypeVar("O", bound=Timed)  # noqa: E741

Step = Callable[[O, S], Sequence[S]]
"""The states that the operation can lead to from this state, given what it answered; none when it
could not have answered that. Of an operation without an answer, the state itself must be one."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`explained`: True, False, or None when the search was given up; `tried`: its size."""

    explained: bool | None
    tried: int


class Search(Generic[O, S]):
    """The search for an order of one history, from the state `start`."""

    def __init__(self, history: Sequence[O], start: S, step: Step[O, S]) -> None:
        self._operations = sorted(history, key=lambda operation: operation.called)
        self._start = start
        self._step = step
        self._answered = 0
        for number, operation in enumerate(self._operations):
            if operation.returned < inf:
                self._answered |= 1 << number
        self._idle = [operation.idle for operation in self._operations]

    def run(self, limit: int = 1_000_000) -> Verdict:
        """Search until an order is found, there is none, or `limit` positions were tried."""
        seen: set[tuple[int, frozenset[S]]] = set()
        open_ = [(0, 0, frozenset([self._start]))]
        while open_:
            first, done, states = self._settle(*open_.pop())
            if done & self._answered == self._answered:
                return Verdict(True, len(seen))
            if (done, states) in seen:
                continue
            seen.add((done, states))
            if len(seen) >= limit:
                return Verdict(None, len(seen))
            after = [
                (first, done | 1 << number, later)
                for number in self._next(first, done)
                if (later := self._after(number, states))
            ]
            open_.extend(reversed(after))
        return Verdict(False, len(seen))

    def _settle(self, first: int, done: int, states: frozenset[S]) -> tuple[int, int, frozenset[S]]:
        """Do all that is idle and possible."""
        settled = False
        while not settled:
            settled = True
            while done >> first & 1:
                first += 1
            for number in self._next(first, done):
                if self._idle[number] and self._after(number, states) == states:
                    done |= 1 << number
                    settled = False
        return first, done, states

    def _next(self, first: int, done: int) -> Iterator[int]:
        """Yield the operations that nothing else still to come is known to precede."""
        earliest = inf
        for number in range(first, len(self._operations)):
            operation = self._operations[number]
            if operation.called > earliest:
                return
            if not done >> number & 1:
                earliest = min(earliest, operation.returned)
                yield number

    def _after(self, number: int, states: frozenset[S]) -> frozenset[S]:
        operation = self._operations[number]
        return frozenset(later for state in states for later in self._step(operation, state))
