"""The mirror's bookkeeping: what is applied, what shows a loss, what a watcher is told."""

import pytest

from server.catalogue import Layout, Row, Seat
from server.events import ChangeSet, Event
from server.realtime.mirror import RING, Mirror, fold
from server.repo.seat_answers import SeatStates

SEATS = ("A1", "A2", "A3", "A4")
LAYOUT = Layout((Row("A", tuple(Seat(seat, x) for x, seat in enumerate(SEATS))),))


def locked(*seats: str, until: int = 1000) -> Event:
    return {"type": "seat.locked", "seats": list(seats), "expires_at": until}


def released(*seats: str, reason: str = "released") -> Event:
    return {"type": "seat.released", "seats": list(seats), "reason": reason}


def booked(*seats: str) -> Event:
    return {"type": "seat.booked", "seats": list(seats)}


def change(seq: int, *events: Event, epoch: str = "e1") -> ChangeSet:
    return ChangeSet(epoch, seq, 5_000, list(events))


def snapshot(seq: int, epoch: str = "e1", **taken: str) -> SeatStates:
    return SeatStates(epoch, seq, 1_000, taken)


@pytest.fixture
def mirror() -> Mirror:
    mirror = Mirror("sho_1")
    assert mirror.load(LAYOUT, snapshot(10, A1="b"))
    return mirror


def hear(mirror: Mirror, change: ChangeSet) -> str:
    return mirror.hear(change, loading=False)


def test_a_snapshot_is_drawn_in_layout_order(mirror: Mirror) -> None:
    assert (mirror.epoch, mirror.seq, mirror.states) == ("e1", 10, "b...")


def test_the_next_change_is_applied(mirror: Mirror) -> None:
    assert hear(mirror, change(11, locked("A2", "A3"))) == "applied"
    assert hear(mirror, change(12, released("A3"), booked("A2"))) == "applied"
    assert (mirror.seq, mirror.states) == (12, "bb..")


def test_an_old_change_is_ignored(mirror: Mirror) -> None:
    assert hear(mirror, change(10, locked("A2"))) == "ignored"
    assert mirror.states == "b..."


def test_a_hole_is_a_loss_and_nothing_is_applied(mirror: Mirror) -> None:
    assert hear(mirror, change(12, locked("A2"))) == "lost"
    assert (mirror.seq, mirror.states) == (10, "b...")


def test_another_epoch_is_a_loss(mirror: Mirror) -> None:
    assert hear(mirror, change(11, locked("A2"), epoch="e2")) == "lost"


def test_changes_heard_while_loading_are_applied_on_top(mirror: Mirror) -> None:
    for seq, seat in ((11, "A2"), (12, "A3"), (13, "A4")):
        assert mirror.hear(change(seq, locked(seat)), loading=True) == "ignored"
    assert mirror.load(LAYOUT, snapshot(12, A1="b", A2="l", A3="l"))
    assert (mirror.seq, mirror.states) == (13, "blll")


def test_a_hole_behind_the_snapshot_asks_for_another_load(mirror: Mirror) -> None:
    mirror.hear(change(14, locked("A4")), loading=True)
    assert not mirror.load(LAYOUT, snapshot(12, A1="b"))
    assert mirror.load(LAYOUT, snapshot(14, A1="b", A4="l"))
    assert mirror.states == "b..l"


def test_since_folds_to_the_last_event_of_each_seat(mirror: Mirror) -> None:
    hear(mirror, change(11, locked("A2", "A3")))
    hear(mirror, change(12, released("A3")))
    hear(mirror, change(13, booked("A2"), locked("A4", until=2000)))
    assert mirror.since(10) == [booked("A2"), released("A3"), locked("A4", until=2000)]
    assert mirror.since(12) == [booked("A2"), locked("A4", until=2000)]
    assert mirror.since(13) == []


def test_since_knows_its_bounds(mirror: Mirror) -> None:
    assert mirror.since(9) is None
    assert mirror.since(11) is None  # ahead of us
    for seq in range(11, 11 + RING + 5):
        hear(mirror, change(seq, locked("A2") if seq % 2 else released("A2")))
    assert mirror.since(10) is None
    assert mirror.since(mirror.seq - RING) is not None


def test_a_load_that_jumps_forgets_the_ring(mirror: Mirror) -> None:
    hear(mirror, change(11, locked("A2")))
    mirror.load(LAYOUT, snapshot(20, A1="b"))
    assert mirror.since(10) is None
    hear(mirror, change(21, locked("A3")))
    assert mirror.since(20) == [locked("A3")]
    assert mirror.since(11) is None


def test_a_load_that_finds_nothing_new_keeps_the_ring(mirror: Mirror) -> None:
    hear(mirror, change(11, locked("A2")))
    mirror.load(LAYOUT, snapshot(11, A1="b", A2="l"))
    assert mirror.since(10) == [locked("A2")]


def test_fold_leaves_the_events_it_was_given_alone() -> None:
    changes = [change(1, locked("A1", "A2")), change(2, released("A1"))]
    assert fold(changes) == [released("A1"), locked("A2")]
    assert changes[0].events == [locked("A1", "A2")]


def test_any_step_leads_to_the_same_states() -> None:
    """Folded or one by one, from wherever a watcher stands: the states are the mirror's."""
    history = [
        change(11, locked("A1", "A2")),
        change(12, released("A1", reason="expired"), locked("A1", "A3")),
        change(13, booked("A2")),
        change(14, released("A2", reason="cancelled"), released("A3")),
        change(15, locked("A3", until=9000)),
    ]
    after = {"seat.locked": "l", "seat.released": ".", "seat.booked": "b"}
    states = [dict.fromkeys(SEATS, ".")]
    mirror = Mirror("sho_1")
    mirror.load(LAYOUT, snapshot(10))
    for step in history:
        hear(mirror, step)
        states.append(dict(zip(SEATS, mirror.states, strict=True)))
    for position, before in enumerate(states):
        reached = dict(before)
        for event in mirror.since(10 + position) or []:
            reached.update(dict.fromkeys(event["seats"], after[event["type"]]))
        assert reached == states[-1]


def test_the_clock_is_that_of_redis(mirror: Mirror) -> None:
    assert 1_000 <= mirror.now() < 2_000
    hear(mirror, change(11, locked("A2")))
    assert 5_000 <= mirror.now() < 6_000
