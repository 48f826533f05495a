"""Every Redis key and channel, in one place.

Showtimes are spread over 16 fixed partitions. All keys and the channel of a partition carry the
same hash tag, so that every script touches one slot. Each tag hashes into the middle of another
sixteenth of the 16,384 slots: however a cluster shares its slots out, the partitions spread too.
"""

from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

TAGS = (
    *("u0", "qp", "dj", "arf", "d2", "azk", "uh", "acd"),
    *("ly", "h9", "uv", "q6", "9s", "qn", "dt", "ha"),
)


@dataclass(frozen=True, slots=True)
class PartitionKeys:
    """What the showtimes of one partition share."""

    deadlines: str
    """ZSET: `<showtime>:<user>` -> deadline of that lock, ms."""
    checkouts: str
    """ZSET: `<showtime>:<booking>` -> deadline of that booking, ms."""
    log: str
    """STREAM: everything that happened to seats, for the audit relay."""


@dataclass(frozen=True, slots=True)
class ShowtimeKeys:
    """The keys of one showtime, and of its partition."""

    seats: str
    """HASH: seat -> `l:<user>`, `c:<booking>` (claimed), `b:<booking>` (booked) or `x` (blocked);
    a free seat has no field."""
    meta: str
    """HASH: `epoch`, `seq`, `closes_at` (ms)."""
    locks: str
    """HASH: `u:<user>` -> lock, `b:<booking>` -> checkout, `n:<user>` -> how many seats that user
    has in checkouts."""
    channel: str
    partition: PartitionKeys


def partition_of(showtime_id: str) -> int:
    """Return the partition (0..15) of a showtime; fixed for ever."""
    return crc32(showtime_id.encode()) % len(TAGS)


@lru_cache(maxsize=len(TAGS))
def partition_keys(partition: int) -> PartitionKeys:
    prefix = f"rowlock:{{{TAGS[partition]}}}"
    return PartitionKeys(f"{prefix}:deadlines", f"{prefix}:checkouts", f"{prefix}:log")


@lru_cache(maxsize=16_384)
def showtime_keys(showtime_id: str) -> ShowtimeKeys:
    partition = partition_of(showtime_id)
    prefix = f"rowlock:{{{TAGS[partition]}}}:{showtime_id}"
    return ShowtimeKeys(
        seats=f"{prefix}:seats",
        meta=f"{prefix}:meta",
        locks=f"{prefix}:locks",
        channel=f"{prefix}:events",
        partition=partition_keys(partition),
    )


def operation_key(showtime_id: str, operation: str) -> str:
    """Answer of one finished release, kept a minute so that a repeated run says the same."""
    return f"rowlock:{{{TAGS[partition_of(showtime_id)]}}}:op:{operation}"


def showtime_of_channel(channel: str) -> str:
    """Return the showtime that a channel name belongs to."""
    return channel.split(":")[2]


PROBE_CHANNEL = "rowlock:probe"
"""Prefix of the channels on which a listener hears itself."""
