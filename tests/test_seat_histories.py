"""Concurrent histories of the real seat scripts must have an order; those of wrong ones have none.

`tests.seat_register` says what checking each seat shows, and what checking the hall. The normal run
takes a share of histories; `ROWLOCK_DEEP=1` takes many more.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from server import lua
from server.errors import SeatsUnavailable
from server.repo.seat_answers import Lock
from server.repo.seats import SeatStore
from tests.processes import Mutant, mutated
from tests.seat_histories import Historian
from tests.seat_operation import FREE, Operation
from tests.seat_register import on_hall
from tests.seat_verdict import CAP, SEATS, unexplained

pytestmark = [pytest.mark.slow, pytest.mark.alone]

DEEP = os.environ.get("ROWLOCK_DEEP") == "1"
HISTORIES = 5_000 if DEEP else 500
HISTORIES_OF_A_BUG = 300

LOCK = "lua/lock_seats.lua"
TAKEN = "if #taken > 2 then return taken end"
LOCKED = Mutant(LOCK, "refuse(seat, 'locked', lock.deadline - time)", "fresh[#fresh + 1] = seat")
BUGS = {
    "a locked seat is granted": [LOCKED],
    "a claimed seat is granted": [
        Mutant(
            LOCK, "refuse(seat, 'locked', math.max(0, deadline - time))", "fresh[#fresh + 1] = seat"
        )
    ],
    "a live lock counts as lapsed": [
        Mutant(LOCK, "    if lock.deadline > time then", "    if lock.deadline > time + 900 then")
    ],
    "what is free is locked, and all is well": [
        Mutant(LOCK, TAKEN, "if #taken > 2 and #fresh == 0 then return taken end")
    ],
    "a refused lock takes what was free": [
        Mutant(
            LOCK,
            TAKEN,
            "if #taken > 2 then mark_seats(seats_key, fresh, 'b:nobody') return taken end",
        )
    ],
    "a free seat is refused": [
        Mutant(LOCK, TAKEN, "if #wanted > 2 then refuse(wanted[1], 'locked', 9) end " + TAKEN)
    ],
    "nobody counts": [Mutant(LOCK, "#fresh > 0 and held + #fresh", "#fresh > 99 and held")],
    "anybody may release": [
        Mutant(
            "lua/release_seats.lua",
            "local seats = drop_seats(lock, dropped)",
            "local seats = #wanted > 0 and wanted or drop_seats(lock, dropped)",
        )
    ],
    "one seat of the lock is enough for a checkout": [
        Mutant(
            "lua/begin_checkout.lua",
            "if #drop_seats(lock, dropped) < #wanted then",
            "if #drop_seats(lock, dropped) < 1 then",
        )
    ],
    "a revoked seat is still in its lock": [
        Mutant(
            "lua/revoke_seats.lua", "  save_lock(locks_key, deadlines_key, showtime, lock)\n", ""
        )
    ],
    "an extension moves nothing": [
        Mutant("lua/extend_lock.lua", "save_lock(locks_key, deadlines_key, showtime, lock)\n", "")
    ],
}


class HastySeats(SeatStore):
    """Looks first and takes then, in two steps; its script takes whatever it is told."""

    async def lock(
        self, showtime_id: str, user_id: str, seats: Sequence[str], request_id: str
    ) -> Lock:
        states = await self.read(showtime_id)
        assert states is not None
        mine = await self.lock_of(showtime_id, user_id)
        others = set(states.taken) - set(mine.seats if mine else ())
        if taken := [seat for seat in seats if seat in others]:
            raise SeatsUnavailable([{"seat": s, "state": "locked"} for s in taken])
        return await super().lock(showtime_id, user_id, seats, request_id)


def test_there_is_an_order_for_every_history(
    valkey_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    operations = lost = overtaken = 0
    seconds = 0.0
    with historian(valkey_url) as recording:
        for seed in range(HISTORIES):
            history = recording.record(seed)
            started = time.perf_counter()
            assert unexplained(history) == [], f"history {seed}\n{told(history)}"
            seconds += time.perf_counter() - started
            operations += len(history)
            lost += sum(operation.lost for operation in history)
            overtaken += not holds_in_the_order_of_calls(history)
    with capsys.disabled():
        print(
            f"\n{HISTORIES:,} histories, {operations:,} operations, {lost:,} without an answer; "
            f"{overtaken:,} histories did not happen in the order of their calls; "
            f"checked in {seconds:.1f} s"
        )
    assert lost > HISTORIES
    assert overtaken > HISTORIES / 2


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_leaves_a_history_without_an_order(
    tmp_path: Path, valkey_url: str, bug: str
) -> None:
    folder = mutated(tmp_path, BUGS[bug]) / "server" / "lua"
    with historian(valkey_url, folder) as recording:
        assert found_within(recording, HISTORIES_OF_A_BUG)


def test_a_check_apart_from_its_act_leaves_a_history_without_an_order(
    tmp_path: Path, valkey_url: str
) -> None:
    folder = mutated(tmp_path, [LOCKED]) / "server" / "lua"
    with historian(valkey_url, folder, HastySeats) as recording:
        assert found_within(recording, HISTORIES_OF_A_BUG)


@contextmanager
def historian(
    url: str, folder: Path = lua.FOLDER, seats_of: Callable[..., SeatStore] = SeatStore
) -> Iterator[Historian]:
    recording = Historian(url, folder, seats_of)
    try:
        yield recording
    finally:
        recording.close()


def holds_in_the_order_of_calls(history: Sequence[Operation]) -> bool:
    """Say whether each was done before the next was called: then there was nothing to find out."""
    halls = {(FREE,) * len(SEATS)}
    step = on_hall(SEATS, CAP)
    for operation in sorted(history, key=lambda operation: operation.called):
        halls = {later for hall in halls for later in step(operation, hall)}
    return bool(halls)


def found_within(recording: Historian, histories: int) -> bool:
    return any(unexplained(recording.record(seed)) for seed in range(histories))


def told(history: Sequence[Operation]) -> str:
    return "\n".join(str(o) for o in sorted(history, key=lambda o: o.called))
