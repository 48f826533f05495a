"""Is there an order for what happened to seats? Each seat for itself, and the hall as a whole."""

from collections.abc import Sequence
from typing import Any

from tests.linearizability import Search
from tests.seat_operation import FREE, Operation
from tests.seat_register import on_hall, on_seat

SEATS = ("A1", "A2", "A3", "A4", "A5")
CAP = 3


def unexplained(history: Sequence[Operation]) -> list[str]:
    """Return the seats whose own history has no order, and `hall` when the whole has none."""
    found = [seat for seat in SEATS if not _explained(history, FREE, on_seat(seat))]
    whole = _explained(history, (FREE,) * len(SEATS), on_hall(SEATS, CAP))
    return found if whole else [*found, "hall"]


def _explained(history: Sequence[Operation], start: Any, step: Any) -> bool:
    verdict = Search(history, start, step).run()
    assert verdict.explained is not None, "the search was given up"
    return verdict.explained
