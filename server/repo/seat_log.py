"""The logs of the seat scripts: one Redis stream per partition, every event with who and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.models import from_ms
from server.repo.keys import partition_keys
from server.repo.mongo import Document
from server.repo.redis import Redis, answer

Logged = list[Any]
"""One event as a script has logged it: names and values in turn."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One event. `position` orders a partition's entries; `id` names the event for ever."""

    position: str
    id: str
    at: int
    showtime_id: str
    type: str
    seats: list[str]
    reason: str
    actor_id: str
    owner_id: str
    lock_id: str
    booking_id: str
    request_id: str

    def as_row(self) -> Document:
        """Return it as an entry of the audit log."""
        target = {
            "showtime_id": self.showtime_id,
            "lock_id": self.lock_id,
            "booking_id": self.booking_id,
            "user_id": self.owner_id,
        }
        return {
            "_id": self.id,
            "at": from_ms(self.at),
            "actor": self.actor_id,
            "action": self.type,
            "outcome": "ok",
            "target": {name: value for name, value in target.items() if value},
            "detail": {"seats": self.seats} | ({"reason": self.reason} if self.reason else {}),
            "request_id": self.request_id,
        }


class SeatLog:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def read(self, partition: int, limit: int) -> list[LogEntry]:
        """Return up to `limit` entries that were not forgotten yet, oldest first."""
        rows = await answer(self._redis.xrange(partition_keys(partition)["log_key"], count=limit))
        return [log_entry(fields, position) for position, fields in rows]

    async def forget(self, partition: int, positions: list[str]) -> None:
        """Drop entries that are safe elsewhere."""
        if positions:
            await answer(self._redis.xdel(partition_keys(partition)["log_key"], *positions))


def read_logged(logged: Logged) -> LogEntry:
    return log_entry(dict(zip(logged[::2], logged[1::2], strict=True)))


def log_entry(fields: Mapping[str, Any], position: str = "") -> LogEntry:
    """Read what includes/announce.lua has logged."""
    return LogEntry(
        position=position,
        id=fields["id"],
        at=int(fields["at"]),
        showtime_id=fields["showtime"],
        type=fields["type"],
        seats=fields["seats"].split(","),
        reason=fields["reason"],
        actor_id=fields["actor"],
        owner_id=fields["owner"],
        lock_id=fields["lock"],
        booking_id=fields["booking"],
        request_id=fields["request_id"],
    )
