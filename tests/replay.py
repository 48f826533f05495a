"""Who had which seat, replayed from the audit log alone: did anybody lose a seat to a stranger?

Less than `tests.history` knows, but it needs no ear at Redis: what the log says of one showtime, in
the order of its numbers. A checkout is silent; the seats of a lock become those of its owner's
booking, and so a booking may do with them what their lock might.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

Entry = Mapping[str, Any]

UNKNOWN = "?"


def strangers(entries: Iterable[Entry], owners: Mapping[str, str]) -> list[str]:
    """Return the changes that took a seat from somebody, a line each.

    `entries`: the `seat.*` rows of one showtime, whose store was never set back; `owners`: booking
    -> user. Of an epoch that is not the first one it is not known who had what when it began.
    """
    epochs: dict[str, list[tuple[int, int, Entry]]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry["at"]):
        epoch, _, seq, place = entry["_id"].rsplit("-", 3)
        epochs[epoch].append((int(seq), int(place), entry))
    found = []
    for number, changes in enumerate(epochs.values()):
        holders: dict[str, str] = defaultdict(lambda: UNKNOWN) if number else defaultdict(str)
        for _, _, entry in sorted(changes, key=lambda change: change[:2]):
            found += _wrong(entry, holders, owners)
            _apply(entry, holders)
    return found


def _apply(entry: Entry, holders: dict[str, str]) -> None:
    """A holder is `user lock`, or `user booking` once that is known; "" stands for nobody."""
    taken = entry["action"] in ("seat.locked", "seat.booked")
    blocked = "the house" if entry["action"] == "seat.blocked" else ""
    for seat in entry["detail"]["seats"]:
        holders[seat] = _who(entry) if taken else blocked


def _wrong(entry: Entry, holders: Mapping[str, str], owners: Mapping[str, str]) -> list[str]:
    target = entry["target"]
    booking, user = target.get("booking_id", ""), target.get("user_id", "")
    user = user or owners.get(booking, "")
    free_will_do = entry["action"] != "seat.released"
    found = []
    for seat in entry["detail"]["seats"]:
        had_by, _, had_as = holders[seat].partition(" ")
        theirs = had_by == user and (booking or had_as == target.get("lock_id"))
        other_booking = had_as.startswith("bk_") and had_as != booking
        if holders[seat] == UNKNOWN or (not had_by and free_will_do):
            continue
        if booking and booking not in owners:
            continue  # a checkout that never came to be a booking: nobody knows whose
        if not theirs or other_booking:
            found.append(f"{entry['_id']} {entry['action']} {seat} of {holders[seat]!r}: {target}")
    return found


def _who(entry: Entry) -> str:
    target = entry["target"]
    return f"{target.get('user_id', '')} {target.get('booking_id') or target.get('lock_id', '')}"
