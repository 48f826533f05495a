"""Token buckets in Redis: one clock and one count for all processes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from server.repo.keys import bucket_key, partition_of
from server.repo.redis import Scripts


@dataclass(frozen=True, slots=True)
class Bucket:
    """Holds `holds` tokens; one comes back every `pace_ms`. `name` says whose, and for what."""

    name: str
    holds: int
    pace_ms: float


@dataclass(frozen=True, slots=True)
class Level:
    """What is in a bucket now, and how long until it is full if nobody takes more."""

    left: int
    full_in_ms: int


class TokenBuckets:
    """Raises StoreUnavailable."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def by_place(self, buckets: Iterable[Bucket]) -> dict[int, list[Bucket]]:
        """Group buckets by what `take` can take from in one step, in their order.

        One server is one place; in a cluster each partition is one.
        """
        places: dict[int, list[Bucket]] = {}
        for bucket in buckets:
            place = partition_of(bucket.name) if self._scripts.apart else 0
            places.setdefault(place, []).append(bucket)
        return places

    async def take(self, buckets: Sequence[Bucket], tokens: int = 1) -> tuple[int, list[Level]]:
        """Take so many tokens out of each of one to three buckets of a place, or none out of any.

        Returns how many ms to wait until that can be done, 0 when it was; and how each stands now.
        """
        first, second, third = (bucket_key(bucket.name) for bucket in _filled_up(buckets))
        word, reply = await self._scripts.run(
            "take_tokens",
            {"first_key": first, "second_key": second, "third_key": third},
            [str(figure) for bucket in buckets for figure in (bucket.holds, bucket.pace_ms)],
            wanted=tokens,
        )
        wait = int(reply.pop(0)) if word == "limited" else 0
        pairs = zip(reply[::2], reply[1::2], strict=True)
        return wait, [Level(int(left), int(full_in_ms)) for left, full_in_ms in pairs]

    async def refill(self, name: str) -> None:
        await self._scripts.run("refill_tokens", {"bucket_key": bucket_key(name)})


def _filled_up(buckets: Sequence[Bucket]) -> Sequence[Bucket]:
    """Return three: the script names so many keys, and uses as many as it has figures."""
    return [*buckets, *[buckets[-1]] * (3 - len(buckets))]
