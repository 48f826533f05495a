"""Partitions: fixed, even, and one slot each."""

from collections import Counter

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from server.models import new_id
from server.repo.keys import (
    PARTITIONS,
    TAGS,
    operation_key,
    partition_keys,
    partition_of,
    showtime_keys,
    showtime_of_channel,
)


def test_each_tag_lies_in_another_sixteenth_of_the_slots() -> None:
    share = REDIS_CLUSTER_HASH_SLOTS // len(TAGS)
    assert [key_slot(tag.encode()) // share for tag in TAGS] == list(PARTITIONS)


def test_all_keys_of_a_showtime_share_one_slot() -> None:
    for _ in range(100):
        showtime = new_id("sho")
        keys = [*showtime_keys(showtime).values(), operation_key(showtime, "op")]
        assert len({key_slot(key.encode()) for key in keys}) == 1
        assert set(partition_keys(partition_of(showtime)).values()) <= set(keys)


def test_showtimes_spread_evenly() -> None:
    counts = Counter(partition_of(new_id("sho")) for _ in range(16_000))
    assert set(counts) == set(PARTITIONS)
    assert max(counts.values()) < 2 * min(counts.values())


def test_a_showtime_stays_in_its_partition_for_ever() -> None:
    assert [partition_of(name) for name in ("a", "st1", "sho_lantern")] == [3, 3, 12]


def test_a_channel_names_its_showtime() -> None:
    assert showtime_of_channel(showtime_keys("sho_1")["channel"]) == "sho_1"
