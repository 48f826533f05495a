"""Histories of a hall of five seats, told by hand, that have an order or have none."""

from math import inf
from typing import Any

from tests.seat_operation import Mine, Operation

LATER = 10_000
"""A deadline (ms) that does not come in these histories."""


def op(
    when: tuple[int, float], kind: str, user: str, seats: str = "", answer: Any = None, **named: Any
) -> Operation:
    """Tell of an operation called and returned at these moments, which are its ms as well."""
    called, returned = when
    ended = named.pop("ended", called if returned == inf else int(returned))
    return Operation(
        kind, called, returned, user, tuple(seats.split()), answer=answer,
        started=called, ended=ended, soonest=LATER, **named,
    )  # fmt: skip


def has(seats: str, until: int = LATER) -> Mine:
    return Mine(frozenset(seats.split()), until)


def gets(
    when: tuple[int, float], user: str, seats: str, all_: str = "", until: int = LATER
) -> Operation:
    return op(when, "lock", user, seats, has(all_ or seats, until))


def refused(when: tuple[int, float], user: str, seats: str, **taken: str) -> Operation:
    return op(when, "lock", user, seats, taken, refusal="unavailable")


def releases(when: tuple[int, float], user: str, seats: str, rest: str = "") -> Operation:
    left = has(rest) if rest else Mine()
    return op(when, "release", user, seats, (frozenset(seats.split()), left))


def sees(when: tuple[int, float], **states: str) -> Operation:
    return op(when, "map", "", "", states)


def checks_out(when: tuple[int, float], user: str, seats: str, booking: str = "bk") -> Operation:
    return op(when, "checkout", user, seats, LATER, booking=booking)


THERE_IS_AN_ORDER = {
    "nothing happened": [],
    "one after the other": [
        gets((1, 2), "ann", "A1"),
        releases((3, 4), "ann", "A1"),
        gets((5, 6), "bob", "A1"),
    ],
    "the one called later was first": [
        gets((1, 9), "ann", "A1"),
        gets((2, 8), "bob", "A1"),
        releases((3, 7), "bob", "A1"),
    ],
    "a map seen meanwhile, before or after": [
        gets((1, 9), "ann", "A1 A2"),
        sees((2, 3)),
        sees((4, 5), A1="l", A2="l"),
    ],
    "a lock without an answer was done": [
        gets((1, inf), "ann", "A1"),
        refused((2, 3), "bob", "A1", A1="locked"),
    ],
    "a lock without an answer was not done": [
        gets((1, inf), "ann", "A1"),
        gets((2, 3), "bob", "A1"),
        sees((4, 5), A1="l"),
    ],
    "a lock without an answer was done much later": [
        gets((1, inf), "ann", "A1"),
        gets((2, 3), "bob", "A1"),
        releases((4, 5), "bob", "A1"),
        sees((6, 7)),
        op((8, 9), "mine", "ann", "", has("A1")),
    ],
    "a lapsed lock shows, and goes to whoever comes": [
        gets((1, 2), "ann", "A1 A2", until=5),
        sees((6, 7), A1="l", A2="l"),
        gets((8, 9), "bob", "A1"),
        sees((10, 11), A1="l"),
    ],
    "seats that are locked already are locked again later": [
        gets((1, 2), "ann", "A1"),
        gets((3, 9), "ann", "A1"),
        op((4, 8), "revoke", "boss", "A1", frozenset({"A1"})),
        sees((5, 7)),
        sees((10, 11), A1="l"),
    ],
    "locked, claimed, booked": [
        gets((1, 2), "ann", "A1 A2"),
        checks_out((3, 4), "ann", "A1"),
        op((5, 6), "book", "ann", "A1", booking="bk"),
        op((7, 8), "mine", "ann", "", has("A2")),
        refused((9, 10), "bob", "A1 A2 A3", A1="booked", A2="locked"),
    ],
    "claimed and given up": [
        gets((1, 2), "ann", "A1"),
        checks_out((3, 4), "ann", "A1"),
        op((5, 6), "unbook", "ann", "A1", frozenset({"A1"}), booking="bk"),
        gets((7, 8), "bob", "A1"),
    ],
}

THERE_IS_NO_ORDER = {
    "two have one seat": [gets((1, 4), "ann", "A1"), gets((2, 3), "bob", "A1")],
    "a map from before": [gets((1, 2), "ann", "A1"), sees((3, 4))],
    "a map from after": [sees((1, 2), A1="l"), gets((3, 4), "ann", "A1")],
    "a map that goes back": [
        gets((1, 9), "ann", "A1"),
        sees((2, 3), A1="l"),
        sees((4, 5)),
    ],
    "refused for a seat that nobody had": [refused((1, 2), "ann", "A1", A1="locked")],
    "refused for a seat that was released": [
        gets((1, 2), "ann", "A1"),
        releases((3, 4), "ann", "A1"),
        refused((5, 6), "bob", "A1", A1="locked"),
    ],
    "refused without naming a seat in the way": [
        gets((1, 2), "ann", "A1 A2"),
        refused((3, 4), "bob", "A1 A2", A1="locked"),
    ],
    "a seat of the lock is forgotten": [
        gets((1, 2), "ann", "A1"),
        gets((3, 4), "ann", "A2"),
    ],
    "somebody else's seat is released": [gets((1, 2), "ann", "A1"), releases((3, 4), "bob", "A1")],
    "somebody else's seat is checked out": [
        gets((1, 2), "ann", "A1"),
        checks_out((3, 4), "bob", "A1"),
    ],
    "a claimed seat is locked": [
        gets((1, 2), "ann", "A1"),
        checks_out((3, 4), "ann", "A1"),
        gets((5, 6), "bob", "A1"),
    ],
    "a claimed seat is revoked": [
        gets((1, 2), "ann", "A1"),
        checks_out((3, 4), "ann", "A1"),
        op((5, 6), "revoke", "boss", "A1", frozenset({"A1"})),
    ],
    "a booked seat is seen free": [
        gets((1, 2), "ann", "A1"),
        checks_out((3, 4), "ann", "A1"),
        op((5, 6), "book", "ann", "A1", booking="bk"),
        sees((7, 8)),
    ],
    "a lock lapses before its time": [
        gets((1, 2), "ann", "A1", until=50),
        gets((3, 4), "bob", "A1"),
    ],
    "a lock is swept before its time": [
        gets((1, 2), "ann", "A1", until=50),
        op((3, 4), "expire", "ann", "", True),
    ],
    "a lock is extended after its time": [
        gets((1, 2), "ann", "A1", until=5),
        op((6, 7), "extend", "ann", "", has("A1", 90)),
    ],
    "an extension is taken back": [
        gets((1, 2), "ann", "A1", until=50),
        op((3, 4), "extend", "ann", "", has("A1", 90)),
        op((5, 6), "mine", "ann", "", has("A1", 50)),
    ],
    "a lock without an answer is done and undone": [
        gets((1, inf), "ann", "A1"),
        sees((2, 3), A1="l"),
        sees((4, 5)),
    ],
}

NO_ORDER_FOR_THE_WHOLE = {
    "half of a lock is seen": [gets((1, 9), "ann", "A1 A2"), sees((2, 3), A1="l")],
    "half of a lock without an answer is seen": [
        gets((1, inf), "ann", "A1 A2"),
        sees((2, 3), A1="l"),
    ],
    "half of a release is seen": [
        gets((1, 2), "ann", "A1 A2"),
        releases((3, 9), "ann", "A1 A2"),
        sees((4, 5), A2="l"),
    ],
    "two see the halves in another order": [
        gets((1, 9), "ann", "A1"),
        gets((2, 10), "bob", "A2"),
        sees((3, 7), A1="l"),
        sees((4, 8), A2="l"),
    ],
    "more than the cap": [
        gets((1, 2), "ann", "A1 A2"),
        checks_out((3, 4), "ann", "A1 A2"),
        gets((5, 6), "ann", "A3 A4"),
    ],
    "the cap, and it was not reached": [
        op((1, 2), "lock", "ann", "A1 A2", refusal="limit"),
    ],
    "a checkout is refused although all is there": [
        gets((1, 2), "ann", "A1 A2"),
        op((3, 4), "checkout", "ann", "A1 A2", None, booking="bk"),
    ],
    "something expires where nothing is": [op((1, 2), "expire", "ann", "", True)],
}
"""Each seat for itself has an order here."""
