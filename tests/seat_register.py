"""What an operation on seats may answer and do, seat by seat and for a whole hall.

A seat is a register: free, locked by a user until a deadline, claimed or booked by a booking. Each
answer says something of every seat that it names, and of every seat that it does not: the answer to
a lock names all that the user has now.

Checking seat by seat (`on_seat`) is exact for what one seat went through, and cheap. It does not
see what holds seats together: that a lock gets all of its seats or none *at one moment*, that a
refused checkout really lacked a seat, that nobody has more than the cap. For that the whole hall is
one register (`on_hall`). Neither counts extensions, nor sees that a lock lapses as a whole.

Deadlines are Redis' ms, and what is known of them is a range. A lock may count as lapsed when its
deadline may have come before the operation ended, and as live when it may come after it started. A
lapsed lock may be gone and need not be; so long as nobody takes the seat, its state stays as it is.
"""

from collections.abc import Callable, Mapping, Sequence

from tests.seat_operation import (
    FOREVER,
    FREE,
    Hall,
    Mine,
    Operation,
    Seat,
    gone,
    lockable,
    maybe_lapsed,
    maybe_live,
    surely_live,
    theirs,
)


def on_seat(seat: str) -> Callable[[Operation, Seat], Sequence[Seat]]:
    """Return the step of one seat."""

    def step(operation: Operation, state: Seat) -> Sequence[Seat]:
        if operation.lost:
            changed = _unheard(operation, seat, state)
            return (state,) if changed in (None, state) else (state, changed)
        later = _heard(operation, seat, state)
        return () if later is None else (later,)

    return step


def on_hall(seats: Sequence[str], cap: int) -> Callable[[Operation, Hall], Sequence[Hall]]:
    """Return the step of a whole hall in which nobody may have more than `cap` unpaid seats."""

    def step(operation: Operation, hall: Hall) -> Sequence[Hall]:
        change = _unheard if operation.lost else _heard
        later = tuple(change(operation, *pair) for pair in zip(seats, hall, strict=True))
        whole = tuple(state for state in later if state is not None)
        possible = len(whole) == len(hall) and _together(operation, seats, hall, whole, cap)
        if operation.lost:
            return (hall, whole) if possible and whole != hall else (hall,)
        return (whole,) if possible else ()

    return step


def _together(
    operation: Operation, seats: Sequence[str], before: Hall, after: Hall, cap: int
) -> bool:
    """Say whether what the operation did to the seats fits together."""
    named = [state for seat, state in zip(seats, before, strict=True) if seat in operation.seats]
    match operation.kind, operation.refusal:
        case "lock", "" if operation.lost:
            fresh = sum(not _surely_counts(state, operation) for state in named)
            return sum(_surely_counts(state, operation) for state in before) + fresh <= cap
        case "lock", "":
            return sum(_counts(state, operation.user) for state in after) <= cap
        case "lock", "limit":
            fresh = sum(not _counts(state, operation.user) for state in named)
            return sum(_counts(state, operation.user) for state in before) + fresh > cap
        case "checkout", "" if operation.answer is None and not operation.lost:
            return not all(surely_live(state, operation) for state in named)
        case "book", "taken":
            return any(state.booking not in ("", operation.booking) for state in named)
        case "expire", "":
            return operation.lost or not operation.answer or before != after
    return True


def _counts(state: Seat, user: str) -> bool:
    return state.user == user and state.kind in ("locked", "claimed")


def _surely_counts(state: Seat, operation: Operation) -> bool:
    return _counts(state, operation.user) and not maybe_lapsed(state, operation)


# -- with an answer: the state after it, None when it cannot be ------------------------------------


def _heard(operation: Operation, seat: str, state: Seat) -> Seat | None:
    return _HEARD[operation.kind](operation, seat, state)


def _lock(operation: Operation, seat: str, state: Seat) -> Seat | None:
    wanted = seat in operation.seats
    if operation.refusal == "unavailable":
        return _refused(operation, operation.answer.get(seat), wanted, state)
    if operation.refusal:
        return state if not wanted or lockable(state, operation) else None
    if wanted and (state == FREE or maybe_lapsed(state, operation)):
        return _locked(operation, operation.answer) if seat in operation.answer.seats else None
    return _owned(operation, operation.answer, seat, state)


def _refused(operation: Operation, shown: str | None, wanted: bool, state: Seat) -> Seat | None:
    """Whatever is in the way is named, and nothing else is."""
    if shown == "booked":
        return state if state.kind == "booked" else None
    if shown == "locked":
        others = state.user != operation.user and maybe_live(state, operation)
        return state if state.kind == "claimed" or others else None
    return state if not wanted or lockable(state, operation) else None


def _extend(operation: Operation, seat: str, state: Seat) -> Seat | None:
    if operation.refusal == "lapsed":
        return state if gone(operation, state) else None
    if operation.refusal:
        return state
    if seat in operation.answer.seats and theirs(operation, state):
        return _locked(operation, operation.answer) if maybe_live(state, operation) else None
    return _owned(operation, operation.answer, seat, state)


def _release(operation: Operation, seat: str, state: Seat) -> Seat | None:
    released, rest = operation.answer
    if operation.idle:
        return state if gone(operation, state) else None
    if seat in released:
        live = theirs(operation, state) and maybe_live(state, operation)
        return FREE if live and (seat in operation.seats or not operation.seats) else None
    return _owned(operation, rest, seat, state)


def _mine(operation: Operation, seat: str, state: Seat) -> Seat | None:
    if seat in operation.answer.seats:
        return state if _owned(operation, operation.answer, seat, state) else None
    return state if gone(operation, state) else None


def _map(operation: Operation, seat: str, state: Seat) -> Seat | None:
    match operation.answer.get(seat):
        case "l":
            return state if state.kind in ("locked", "claimed") else None
        case "b":
            return state if state.kind == "booked" else None
    return state if state == FREE or maybe_lapsed(state, operation) else None


def _checkout(operation: Operation, seat: str, state: Seat) -> Seat | None:
    until = operation.answer
    if until is None or operation.refusal or seat not in operation.seats:
        return state
    live = theirs(operation, state) and maybe_live(state, operation)
    if not live or not state.earliest <= until <= state.latest:
        return None
    return Seat("claimed", operation.user, operation.booking)


def _book(operation: Operation, seat: str, state: Seat) -> Seat | None:
    if operation.refusal or seat not in operation.seats:
        return state
    return None if state.booking not in ("", operation.booking) else _booked(operation)


def _unbook(operation: Operation, seat: str, state: Seat) -> Seat | None:
    carries = state.booking == operation.booking
    if seat in operation.answer:
        return FREE if carries and seat in operation.seats else None
    return None if carries and seat in operation.seats else state


def _revoke(operation: Operation, seat: str, state: Seat) -> Seat | None:
    if seat in operation.answer:
        return FREE if state.kind == "locked" and seat in operation.seats else None
    over = state.kind != "locked" or maybe_lapsed(state, operation)
    return state if seat not in operation.seats or over else None


def _expire(operation: Operation, seat: str, state: Seat) -> Seat | None:
    if not operation.answer or not theirs(operation, state):
        return state
    return FREE if maybe_lapsed(state, operation) else None


_HEARD: Mapping[str, Callable[[Operation, str, Seat], Seat | None]] = {
    "lock": _lock,
    "extend": _extend,
    "release": _release,
    "mine": _mine,
    "map": _map,
    "checkout": _checkout,
    "book": _book,
    "unbook": _unbook,
    "revoke": _revoke,
    "expire": _expire,
}


# -- without an answer: the state if it did what it could; None: a seat was in the way -------------


def _unheard(operation: Operation, seat: str, state: Seat) -> Seat | None:
    """What perhaps lapsed on the way stays as it is: it may count as free ever after."""
    named, own = seat in operation.seats, theirs(operation, state)
    match operation.kind:
        case "lock" if named and not lockable(state, operation):
            return None
        case "lock" if named:
            kept = own and not maybe_lapsed(state, operation)
            return state if kept else _locked_some_time(operation)
        case "extend" if own:
            earliest = min(state.earliest, operation.soonest)
            return _locked_some_time(operation)._replace(earliest=earliest)
        case "release":
            return FREE if own and (named or not operation.seats) else state
        case "checkout" if named:
            return Seat("claimed", operation.user, operation.booking) if own else None
        case "book" if named:
            return None if state.booking not in ("", operation.booking) else _booked(operation)
        case "unbook" if named:
            return FREE if state.booking == operation.booking else state
        case "revoke" if named:
            return FREE if state.kind == "locked" else state
        case "expire":
            return FREE if own and maybe_lapsed(state, operation) else state
    return state


def _owned(operation: Operation, mine: Mine, seat: str, state: Seat) -> Seat | None:
    """A seat named in an answer is the user's; one that is not named is not, or no longer."""
    own = theirs(operation, state)
    if seat in mine.seats:
        known = own and state.earliest <= mine.until <= state.latest
        return _locked(operation, mine) if known else None
    if not own:
        return state
    return FREE if maybe_lapsed(state, operation) else None


def _locked(operation: Operation, mine: Mine) -> Seat:
    return Seat("locked", operation.user, "", mine.until, mine.until)


def _locked_some_time(operation: Operation) -> Seat:
    return Seat("locked", operation.user, "", operation.soonest, FOREVER)


def _booked(operation: Operation) -> Seat:
    return Seat("booked", operation.user, operation.booking)
