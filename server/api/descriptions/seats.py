"""Seat maps and seat locks."""

from typing import Annotated

from pydantic import Field

from server import errors
from server.api.descriptions.values import Page, Price, Remaining, Shape, Time
from server.api.openapi import Answer, Operation
from server.api.seats import LockRequest, LocksQuery, ReleaseQuery, RevokeQuery
from server.models import Id, SeatId


class DrawnSeat(Shape):
    id: SeatId
    x: Annotated[float, Field(description="Its column, in seat widths.")]
    category: Annotated[str, Field(examples=["standard"])]
    accessible: bool


class DrawnRow(Shape):
    label: Annotated[str, Field(examples=["A"])]
    seats: list[DrawnSeat]


class Drawing(Shape):
    rows: list[DrawnRow]


class SeatMap(Shape):
    showtime_id: Id
    layout: Drawing
    prices: dict[str, Price]
    epoch: str
    seq: int
    states: Annotated[
        str,
        Field(
            description="A character per seat in layout order: available, locked, booked, "
            "not for sale.",
            pattern="^[.lbx]*$",
            examples=["..lb."],
        ),
    ]


class Lock(Shape):
    id: Id
    showtime_id: Id
    seats: list[SeatId]
    expires_at: Time
    expires_in_ms: Remaining
    extensions_left: int


class HeldLock(Lock):
    user_id: Id


class LockAnswer(Shape):
    lock: Lock


class MaybeLockAnswer(Shape):
    lock: Lock | None


class ReleaseAnswer(Shape):
    released: Annotated[list[SeatId], Field(description="Only what was mine.")]
    lock: Lock | None


class RevokeAnswer(Shape):
    released: list[SeatId]


_SHOWTIME = "/api/showtimes/{id}"
_LOCK, _LOCKS = f"{_SHOWTIME}/seats/lock", f"{_SHOWTIME}/seats/locks"

OPERATIONS = [
    Operation(
        "GET",
        f"{_SHOWTIME}/seat-map",
        "showSeatMap",
        "The drawing, the prices, and the state of every seat",
        {
            200: Answer("The map.", SeatMap, headers=("ETag",)),
            304: Answer("It is as you know it.", headers=("ETag",)),
        },
        reads=("If-None-Match",),
    ),
    Operation(
        "POST",
        _LOCK,
        "lockSeats",
        "Lock seats for me: all or none",
        {200: Answer("The lock with all seats that are now mine.", LockAnswer)},
        who="signed in",
        about="More seats join the same lock and do not move its deadline; seats that are mine "
        "already change nothing.",
        body=LockRequest,
        example={"seats": ["A1", "A2"]},
        refusals=(
            *(errors.UnknownSeats, errors.SeatsUnavailable),
            *(errors.SeatLimitReached, errors.ShowtimeClosed),
        ),
    ),
    Operation(
        "GET",
        _LOCK,
        "showLock",
        "My lock",
        {200: Answer("It, or null.", MaybeLockAnswer)},
        who="signed in",
    ),
    Operation(
        "DELETE",
        _LOCK,
        "releaseSeats",
        "Give seats of my lock back; without `seats` all of them",
        {200: Answer("What was released, and what is left of the lock.", ReleaseAnswer)},
        who="signed in",
        query=ReleaseQuery,
        refusals=(errors.UnknownSeats, errors.ShowtimeClosed),
    ),
    Operation(
        "POST",
        f"{_LOCK}/extend",
        "extendLock",
        "Begin the time of my lock anew, twice at most",
        {200: Answer("The lock.", LockAnswer)},
        who="signed in",
        refusals=(errors.LockExpired, errors.ExtensionLimitReached, errors.ShowtimeClosed),
    ),
    Operation(
        "GET",
        _LOCKS,
        "listLocks",
        "Who holds what, newest lock first",
        {200: Answer("A page of locks.", Page[HeldLock])},
        who="staff",
        query=LocksQuery,
    ),
    Operation(
        "DELETE",
        _LOCKS,
        "revokeSeats",
        "Take seats out of other people's locks",
        {200: Answer("Those that were locked.", RevokeAnswer)},
        who="administrator",
        query=RevokeQuery,
        refusals=(errors.UnknownSeats, errors.ShowtimeClosed),
    ),
]
