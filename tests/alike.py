"""Answers, announcements and log entries of two seat stores, put so that they can be compared."""

from collections.abc import Callable, Coroutine
from itertools import groupby
from typing import Any

from server.errors import RowlockError
from server.events import ChangeSet
from server.repo.seat_answers import Lock, SeatsTaken, ShowtimeNotLoaded
from server.repo.seat_log import LogEntry

REFUSED = "refused"


def at_once(call: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never waits."""
    try:
        call.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waited")


def outcome(call: Callable[[], Any]) -> Any:
    """Return the answer, or the refusal with all that it says."""
    try:
        answer = call()
    except RowlockError as refusal:
        return (REFUSED, type(refusal).__name__, refusal.fields, refusal.headers)
    except (SeatsTaken, ShowtimeNotLoaded) as refusal:
        return (REFUSED, type(refusal).__name__, str(refusal))
    if isinstance(answer, list) and answer and isinstance(answer[0], Lock):
        return sorted(answer, key=lambda lock: lock.user_id)
    return answer


def unordered(heard: tuple[str, ChangeSet]) -> tuple[Any, ...]:
    """Releases that follow each other come in any order: of several locks, none is the first."""
    showtime, change = heard
    runs = groupby(change.events, key=lambda event: event["type"])
    events = [sorted(run, key=lambda event: event["seats"]) for _, run in runs]
    return showtime, change.epoch, change.seq, change.at, events


def in_any_order(rows: list[dict[str, str]]) -> list[Any]:
    """The same for rows of the log, whose ids end with their number in the change set."""

    def change(row: dict[str, str]) -> tuple[str, str]:
        return row["id"].rpartition("-")[0], row["type"]

    found = []
    for _, run in groupby(rows, key=change):
        listed = list(run)
        found.append(([row["id"] for row in listed], sorted(map(unnumbered, listed))))
    return found


def unnumbered(row: dict[str, str]) -> tuple[str, ...]:
    """The row with the id of its change set alone."""
    return (row["id"].rpartition("-")[0], *(row[name] for name in sorted(row) if name != "id"))


def as_row(entry: LogEntry) -> dict[str, str]:
    """Return the entry as it stands in the log."""
    return {
        "id": entry.id,
        "at": str(entry.at),
        "showtime": entry.showtime_id,
        "request_id": entry.request_id,
        "type": entry.type,
        "seats": ",".join(entry.seats),
        "reason": entry.reason,
        "actor": entry.actor_id,
        "owner": entry.owner_id,
        "lock": entry.lock_id,
        "booking": entry.booking_id,
    }
