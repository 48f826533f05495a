"""How Redis must hold what the model remembers: every key with its value, and nothing else."""

from typing import Any

from server.repo.keys import TAGS, showtime_keys
from tests.seat_model_state import Conduct, Queue, Showtime, Stored


def image(stored: Stored, now: int) -> tuple[dict[str, Any], dict[str, int]]:
    """Return key -> value (of a log: its length), and when those keys end that end by themselves.

    Redis holds no empty hash and no empty queue; of an empty log, it may.
    """
    values: dict[str, Any] = {}
    for showtime in stored.showtimes.values():
        values |= _of_showtime(showtime)
    for name, queues in (("deadlines", stored.deadlines), ("checkouts", stored.checkouts)):
        values |= {_key(partition, name): _scores(queue) for partition, queue in queues.items()}
    ending: dict[str, int] = {}
    for (partition, booking), marks in stored.ended.items():
        values[_key(partition, f"ended:{booking}")] = dict(marks.values)
        ending[_key(partition, f"ended:{booking}")] = marks.until
    for (partition, operation), seats in stored.released.items():
        values[_key(partition, f"operation:{operation}")] = ",".join(seats.values)
        ending[_key(partition, f"operation:{operation}")] = seats.until
    for showtime_id, conduct in stored.conduct.items():
        if fields := _conduct(conduct):
            key = showtime_keys(showtime_id)["conduct_key"]
            values[key], ending[key] = fields, conduct.until
    for showtime_id, right in stored.rights.items():
        key = showtime_keys(showtime_id)["rebuild_key"]
        values[key], ending[key] = right.values["token"], right.until
    values |= {_key(partition, "log"): len(log) for partition, log in stored.logs.items()}
    over = {key for key, until in ending.items() if until <= now}
    values = {key: value for key, value in values.items() if value not in ({}, 0)}
    return {key: value for key, value in values.items() if key not in over}, {
        key: until for key, until in ending.items() if key not in over
    }


def _of_showtime(showtime: Showtime) -> dict[str, Any]:
    keys = showtime_keys(showtime.id)
    position = {"epoch": showtime.epoch, "seq": str(showtime.seq)}
    return {
        keys["seats_key"]: dict(showtime.seats),
        keys["meta_key"]: position | {"closes_at": str(showtime.closes_at)}
        if showtime.epoch
        else {},
        keys["locks_key"]: _locks(showtime),
    }


def _locks(showtime: Showtime) -> dict[str, str]:
    """Locks, checkouts, and how many seats each user has in checkouts."""
    fields = {}
    for lock in showtime.locks.values():
        numbers = f"{lock.deadline} {lock.extensions}"
        fields[f"u:{lock.user}"] = f"{lock.id} {numbers} {lock.operation} {','.join(lock.seats)}"
    for booking, checkout in showtime.checkouts.items():
        seats = ",".join(checkout.seats)
        fields[f"b:{booking}"] = f"{checkout.user} {checkout.deadline} {seats}"
        fields[f"n:{checkout.user}"] = str(showtime.in_checkouts(checkout.user))
    return fields


def _conduct(conduct: Conduct) -> dict[str, str]:
    spent = {f"u:{user}": f"{ms} {counted}" for user, (ms, counted) in conduct.spent.items()}
    crowds = {f"a:{address}": " ".join(users) for address, users in conduct.crowds.items()}
    bought = {f"b:{booking}": f"{user} {ms}" for booking, (user, ms) in conduct.bought.items()}
    return spent | crowds | bought


def _scores(queue: Queue) -> dict[str, str]:
    return {":".join(member): str(deadline) for member, deadline in queue.items()}


def _key(partition: int, name: str) -> str:
    return f"rowlock:{{{TAGS[partition]}}}:{name}"
