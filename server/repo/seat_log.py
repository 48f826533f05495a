"""The logs of the seat scripts: one Redis stream per partition, every event with who and why."""

from dataclasses import dataclass

from server.repo.keys import partition_keys
from server.repo.redis import Redis, answer


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


class SeatLog:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def read(self, partition: int, limit: int) -> list[LogEntry]:
        """Return up to `limit` entries that were not forgotten yet, oldest first."""
        rows = await answer(self._redis.xrange(partition_keys(partition)["log_key"], count=limit))
        return [_entry(position, fields) for position, fields in rows]

    async def forget(self, partition: int, positions: list[str]) -> None:
        """Drop entries that are safe elsewhere."""
        if positions:
            await answer(self._redis.xdel(partition_keys(partition)["log_key"], *positions))


def _entry(position: str, fields: dict[str, str]) -> LogEntry:
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
