"""What the seat scripts answer, as values and errors. Deadlines and "now" are Redis time in ms."""

from dataclasses import dataclass
from math import ceil
from typing import Any, NoReturn, TypeAlias

from server.errors import (
    ExtensionLimitReached,
    LockExpired,
    RateLimited,
    SeatLimitReached,
    SeatsUnavailable,
    ShowtimeClosed,
    StoreUnavailable,
)
from server.events import BLOCKED, BOOKED, LOCKED

MAX_EXTENSIONS = 2

PUBLIC_STATE = {"l": LOCKED, "c": LOCKED, "b": BOOKED, "x": BLOCKED}
"""First letter of a seat's value in Redis -> what the map shows."""


class ShowtimeNotLoaded(Exception):
    """The store has no epoch for this showtime: rebuild it, then try again. Nothing was changed."""


class SeatsTaken(Exception):
    """Seats that a booking should own carry another booking's id. Nothing was changed."""


StoredPosition: TypeAlias = tuple[str, int] | StoreUnavailable | None
"""(epoch, seq) of a showtime in the store; None when it is not loaded there, and the error when the
server that has it does not answer."""


@dataclass(frozen=True, slots=True)
class Lock:
    """One user's lock on a showtime; `remaining_ms` was true when Redis answered."""

    id: str
    showtime_id: str
    user_id: str
    seats: list[str]
    expires_at: int
    remaining_ms: int
    extensions_left: int


@dataclass(frozen=True, slots=True)
class SeatStates:
    """A snapshot: the public state (`l`, `b`, `x`) of every seat that is not available."""

    epoch: str
    seq: int
    now: int
    taken: dict[str, str]


@dataclass(frozen=True, slots=True)
class Claim:
    """What MongoDB knows of one booking that owns seats."""

    booking_id: str
    user_id: str
    seats: list[str]
    booked: bool
    expires_at: int


def refuse(word: str, reply: list[Any]) -> NoReturn:
    """Turn a script's refusal into its error: the one place that does."""
    match word:
        case "rebuild":
            raise ShowtimeNotLoaded
        case "closed":
            raise ShowtimeClosed
        case "lapsed":
            raise LockExpired
        case "seat_limit":
            raise SeatLimitReached(int(reply[0]))
        case "cooling":
            wait = ceil(int(reply[0]) / 1000)
            raise RateLimited(
                "Seats were held here for long and none was bought.", retry_after=wait
            )
        case "crowded":
            wait = ceil(int(reply[0]) / 1000)
            raise RateLimited(
                "From your network as many seats are locked here as may be.", retry_after=wait
            )
        case "extension_limit":
            raise ExtensionLimitReached(limit=MAX_EXTENSIONS)
        case "unavailable":
            raise SeatsUnavailable(_unavailable(reply[1:]))
        case "conflict":
            raise SeatsTaken(", ".join(reply))
    raise AssertionError(f"no error stands for {word!r}")


def read_lock(showtime_id: str, user_id: str, reply: list[Any]) -> Lock | None:
    """Read the answer of includes/lock_reply.lua: logged, now, id, deadline, extensions, seats."""
    return one_lock(showtime_id, user_id, reply) if len(reply) > 2 else None


def one_lock(showtime_id: str, user_id: str, reply: list[Any]) -> Lock:
    """The same where there must be a lock."""
    _, now, lock_id, deadline, extensions, *seats = reply
    return Lock(
        id=lock_id,
        showtime_id=showtime_id,
        user_id=user_id,
        seats=seats,
        expires_at=int(deadline),
        remaining_ms=int(deadline) - int(now),
        extensions_left=MAX_EXTENSIONS - int(extensions),
    )


def _unavailable(flat: list[Any]) -> list[dict[str, Any]]:
    entries = []
    for seat, state, retry_ms in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
        entry = {"seat": seat, "state": state}
        entries.append(entry | {"retry_in_ms": int(retry_ms)} if state == "locked" else entry)
    return entries
