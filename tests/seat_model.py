"""The seat store as a plain Python object: what the scripts of `server/lua` are held against.

    model = ModelSeats(now, ttl_ms=300_000, max_seats_per_user=10)
    await model.claims.begin_rebuild("sho", "token", "")
    await model.claims.rebuild("sho", "token", closes_at=…, blocked=[], claims=[])
    await model.seats.lock("sho", "usr_ann", ["A1", "A2"], "req")
    model.published  # the change sets, in order

Whoever wants to know what a seat may do reads `tests.seat_model_locks` (locks),
`tests.seat_model_claims` (bookings, rebuilding) and `tests.seat_model_state` (what is remembered).
"""

import itertools
from collections.abc import Callable
from copy import deepcopy

from server.events import ChangeSet
from tests.seat_model_claims import ModelClaimStore, ModelSeatLog
from tests.seat_model_locks import ModelSeatStore
from tests.seat_model_state import SeatState, Stored


class ModelSeats:
    """Three views of one state, each the twin of a store of `server.repo`.

    `now` gives ms and may go on, never back. `new_id(kind)` names locks, operations and epochs;
    without it they are numbered, so that two runs alike are alike in all.
    """

    def __init__(
        self,
        now: Callable[[], int],
        *,
        ttl_ms: int,
        max_seats_per_user: int,
        max_seats_per_address: int = 0,
        new_id: Callable[[str], str] | None = None,
    ) -> None:
        self.state = SeatState(now, new_id or _numbered())
        self.seats = ModelSeatStore(self.state, ttl_ms, max_seats_per_user, max_seats_per_address)
        self.claims = ModelClaimStore(self.state)
        self.log = ModelSeatLog(self.state)

    @property
    def published(self) -> list[tuple[str, ChangeSet]]:
        """(showtime, change set) of all that was ever announced; no wipe takes it back."""
        return self.state.published

    def wipe(self) -> None:
        """Lose everything, as FLUSHALL does."""
        self.state.stored = Stored()

    def snapshot(self) -> Stored:
        """Return a copy of all that is stored."""
        return deepcopy(self.state.stored)

    def restore(self, snapshot: Stored) -> None:
        """Be as it was then: a replica that had not heard of what came since takes over."""
        self.state.stored = deepcopy(snapshot)


def _numbered() -> Callable[[str], str]:
    numbers = itertools.count(1)
    return lambda kind: f"{kind}_{next(numbers):06d}"
