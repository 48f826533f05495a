"""Every Redis key and channel, in one place.

Showtimes are spread over 16 fixed partitions. All keys and the channel of a partition carry the
same hash tag, so that every script touches one slot. Each tag hashes into the middle of another
sixteenth of the 16,384 slots: however a cluster shares its slots out, the partitions spread too.
"""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from zlib import crc32

TAGS = (
    *("u0", "qp", "dj", "arf", "d2", "azk", "uh", "acd"),
    *("ly", "h9", "uv", "q6", "9s", "qn", "dt", "ha"),
)
PARTITIONS = range(len(TAGS))


def partition_of(name: str) -> int:
    """Return the partition (0..15) of a showtime, or of a bucket of tokens; fixed for ever."""
    return crc32(name.encode()) % len(TAGS)


@lru_cache(maxsize=len(TAGS))
def partition_keys(partition: int) -> Mapping[str, str]:
    """Return what the showtimes of one partition share, by the names the scripts use.

    deadlines_key  ZSET    `<showtime>:<user>` -> deadline of that user's lock, ms
    checkouts_key  ZSET    `<showtime>:<booking>` -> deadline of that booking, ms
    log_key        STREAM  every event with its private fields, for the audit relay
    """
    prefix = f"rowlock:{{{TAGS[partition]}}}"
    return MappingProxyType(
        {
            "deadlines_key": f"{prefix}:deadlines",
            "checkouts_key": f"{prefix}:checkouts",
            "log_key": f"{prefix}:log",
        }
    )


@lru_cache(maxsize=16_384)
def showtime_keys(showtime_id: str) -> Mapping[str, str]:
    """Return the keys of one showtime and of its partition, by the names the scripts use.

    seats_key    HASH    seat -> `l:<user>` locked, `c:<booking>` claimed, `b:<booking>` booked,
                         `x` blocked; a free seat has no field
    meta_key     HASH    `epoch`, `seq`, `closes_at` (ms)
    locks_key    HASH    `u:<user>` -> lock, `b:<booking>` -> checkout, `n:<user>` -> how many
                         seats that user has in checkouts
    conduct_key  HASH    `u:<user>` -> for how many ms that user has held seats and bought none, and
                         until when that is counted; `a:<address>` -> the users who lock from it;
                         `b:<booking>` -> who bought it and for how many ms its seats were held
    rebuild_key  STRING  token of the process that has the right to rebuild, with a lease
    channel      Pub/Sub (sharded): one JSON change set per message
    """
    partition = partition_of(showtime_id)
    prefix = f"rowlock:{{{TAGS[partition]}}}:{showtime_id}"
    return MappingProxyType(
        {
            "seats_key": f"{prefix}:seats",
            "meta_key": f"{prefix}:meta",
            "locks_key": f"{prefix}:locks",
            "conduct_key": f"{prefix}:conduct",
            "rebuild_key": f"{prefix}:rebuild",
            "channel": f"{prefix}:events",
            **partition_keys(partition),
        }
    )


def operation_key(showtime_id: str, operation: str) -> str:
    """Answer of one finished release, kept a minute so that a repeated run says the same."""
    return f"rowlock:{{{TAGS[partition_of(showtime_id)]}}}:operation:{operation}"


def ended_key(showtime_id: str, booking_id: str) -> str:
    """What ended of a booking: `*` all of it, or seats given back; each with the reason.

    Kept as long as late news of it may come.
    """
    return f"rowlock:{{{TAGS[partition_of(showtime_id)]}}}:ended:{booking_id}"


def bucket_key(name: str) -> str:
    """STRING: when a bucket of tokens will be full again, ms; gone when it is."""
    return f"rowlock:{{{TAGS[partition_of(name)]}}}:limits:{name}"


def showtime_of_channel(channel: str) -> str:
    """Return the showtime that a channel name belongs to."""
    return channel.split(":")[2]
