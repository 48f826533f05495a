"""The seat scripts and their model, side by side."""

from dataclasses import dataclass
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine

from server.events import STATE_AFTER, ChangeSet
from server.repo.seat_answers import PUBLIC_STATE
from tests.alike import REFUSED, as_row, at_once, in_any_order, outcome, unnumbered, unordered
from tests.seat_chances import HOUR_MS, MAX_AT_ADDRESS, MAX_SEATS, PARTITION, TTL_MS
from tests.seat_model import ModelSeats
from tests.seat_model_image import image
from tests.seat_model_state import Showtime
from tests.timed_store import SLACK_MS, TimedStore

REPEATABLE = {"lock", "extend", "release", "begin_checkout", "claim", "begin_rebuild", "close"}
"""Of these, a second run at once must answer as the first; of the others, change nothing more."""

JOURNALED = {("seats", method) for method in ("lock", "extend", "release", "revoke")}
"""Of these, all that is logged goes into the journal, too; and when a run changed nothing because
an earlier one had, whatever is in the log of that user."""
RECENT = 50
"""At least so many entries of the log are looked through for that."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a store method; under the same number it is the same operation."""

    number: int
    view: str
    method: str
    args: tuple[Any, ...]
    named: dict[str, Any]

    @property
    def answers_alike(self) -> bool:
        return self.method in REPEATABLE and (self.view, self.method) != ("claims", "release")


class Twins(RuleBasedStateMachine):
    """The real store and the model, which do everything together.

    After every call both must have answered, announced, logged and stored the same; and the map
    must be the fold of what was announced.
    """

    def __init__(self, store: TimedStore) -> None:
        super().__init__()
        self.store = store
        self.model = ModelSeats(
            lambda: store.now,
            ttl_ms=TTL_MS,
            max_seats_per_user=MAX_SEATS,
            max_seats_per_address=MAX_AT_ADDRESS,
            new_id=store.name,
        )
        self._numbers = 0
        self._past: list[tuple[Call, Any]] = []
        self._undisturbed = self._agreed = False
        self._maps: dict[str, dict[str, str]] = {}
        self._heard, self._position = 0, "0"
        self._stored: tuple[dict[str, Any], dict[str, int]] = ({}, {})
        store.begin()

    @property
    def calls(self) -> int:
        return self._numbers

    def showtime(self, showtime_id: str) -> Showtime:
        """Return it as both remember it."""
        return self.model.state.showtime(showtime_id)

    def call(self, view: str, method: str, *args: Any, **named: Any) -> Any:
        """Call the method of both; returns what they answered alike."""
        self._numbers += 1
        call = Call(self._numbers, view, method, args, named)
        answer = self._run(call)
        self._past.append((call, answer))
        self._undisturbed = True
        if self._numbers % 4 == 0:
            self.repeat(1)
        return answer

    def look(self, view: str, method: str, *args: Any, **named: Any) -> Any:
        """The same for a call that must not change anything."""
        before = self._stored
        answer = self._run(Call(0, view, method, args, named))
        assert self._stored == before
        return answer

    def _run(self, call: Call) -> Any:
        self.store.number = call.number
        self.store.journal.clear()
        real = outcome(lambda: self.store.answer(_method(self.store, call)))
        modelled = outcome(lambda: at_once(_method(self.model, call)))
        assert real == modelled, f"{call}\nreal  {real}\nmodel {modelled}"
        rows = self.agree()
        if (call.view, call.method) in JOURNALED:
            self._journal_agrees(call, rows, refused=isinstance(real, tuple) and real[0] == REFUSED)
        return real

    def _journal_agrees(self, call: Call, rows: list[dict[str, str]], *, refused: bool) -> None:
        journal = [as_row(entry) for entry in self.store.journal]
        showtime, user = call.args[:2]
        log = self.model.state.stored.logs.get(PARTITION, [])
        theirs, recent = (
            {unnumbered(as_row(e)) for e in some if (e.showtime_id, e.owner_id) == (showtime, user)}
            for some in (log, log[-RECENT:])
        )
        if rows:  # and what came before, when some of the seats were the user's already
            assert journal[: len(rows)] == rows
            assert {unnumbered(row) for row in journal[len(rows) :]} <= theirs
            return
        assert {unnumbered(row) for row in journal} <= theirs
        if call.method in ("lock", "extend") and not refused:
            assert {unnumbered(row) for row in journal} >= recent

    def agree(self) -> list[dict[str, str]]:
        """Compare what was announced, stored and logged; returns what was logged."""
        self._agreed = False
        changes = self.model.published[self._heard :]
        self._heard = len(self.model.published)
        heard, (values, ending, rows) = self.store.heard_and_stored(self._position)
        assert [unordered(c) for c in heard] == [unordered(c) for c in changes]
        self._stored = expected, until = image(self.model.state.stored, self.store.now)
        assert values == expected, f"stored\nreal  {values}\nmodel {expected}"
        assert ending.keys() == until.keys()
        for key, moment in ending.items():
            assert abs(moment - until[key]) <= SLACK_MS, f"{key} ends at another time"
        self._fold(heard)
        written = self._log_agrees(rows)
        self._agreed = True
        return written

    def _log_agrees(self, rows: list[Any]) -> list[dict[str, str]]:
        written = [dict(zip(flat[::2], flat[1::2], strict=True)) for _, flat in rows]
        log = self.model.state.stored.logs.get(PARTITION, [])
        expected = [as_row(entry) for entry in log[len(log) - len(rows) :]]
        assert in_any_order(written) == in_any_order(expected)
        if rows:
            self._position = rows[-1][0]
        return written

    def _fold(self, changes: list[tuple[str, ChangeSet]]) -> None:
        """The map that a client makes of the events is the map that a new client gets."""
        for showtime_id, change in changes:
            seats = self.showtime(showtime_id).seats
            if change.seq == 1:
                self._maps[showtime_id] = {s: PUBLIC_STATE[state[0]] for s, state in seats.items()}
            for event in change.events:
                state = STATE_AFTER[event["type"]]
                self._maps[showtime_id] |= dict.fromkeys(event["seats"], state)
        for showtime_id, folded in self._maps.items():
            showtime = self.showtime(showtime_id)
            fresh = {seat: PUBLIC_STATE[state[0]] for seat, state in showtime.seats.items()}
            if showtime.epoch:
                assert {s: state for s, state in folded.items() if state != "."} == fresh

    def repeat(self, back: int) -> None:
        """Run the very same operation again, as redis-py does when the answer was lost."""
        if len(self._past) < back:
            return
        call, first = self._past[-back]
        before = self._stored[0]
        announced = len(self.model.published)
        again = self._run(call)
        if back > 1 or not self._undisturbed:
            self._undisturbed = False
            return
        assert self._stored[0] == before, f"{call} did more"
        assert len(self.model.published) == announced, f"{call} was announced again"
        assert again == first or not call.answers_alike, f"{call} answered {first}, then {again}"

    def pass_time(self, milliseconds: int) -> None:
        self._undisturbed = False
        self.store.pass_time(milliseconds, self._stored[1])
        self.agree()

    def wait_for_a_deadline(self, beside: int | None) -> None:
        """Until right before, at or right after the next one."""
        if beside is None:
            return
        stored = self.model.state.stored
        moments = [s.closes_at for s in stored.showtimes.values()]
        for queues in (stored.deadlines, stored.checkouts):
            moments += [deadline for queue in queues.values() for deadline in queue.values()]
        soon = range(self.store.now + 2, self.store.now + 2 * HOUR_MS)
        if later := [moment for moment in moments if moment in soon]:
            self.pass_time(min(later) + beside - self.store.now)

    def wipe_both(self) -> None:
        self.store.wipe()
        self.model.wipe()
        self._undisturbed, self._position = False, "0"
        self.agree()

    def teardown(self) -> None:
        """In the end, the whole log through the store that reads it."""
        if not self._agreed:
            return
        real = [as_row(e) for e in self.store.answer(self.store.log.read(PARTITION, 1_000))]
        model = [as_row(e) for e in at_once(self.model.log.read(PARTITION, 1_000))]
        assert in_any_order(real) == in_any_order(model)


def _method(stores: Any, call: Call) -> Any:
    return getattr(getattr(stores, call.view), call.method)(*call.args, **call.named)
