"""Token buckets in Redis: one clock and one count for all processes."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from server.repo.keys import bucket_key, bucket_partition
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


Taken = tuple[int, list[Level]]
"""How many ms to wait until tokens can be had, 0 when they were; and how each bucket stands now."""


class TokenBuckets:
    """Raises StoreUnavailable."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def take(self, buckets: Sequence[Bucket], tokens: int = 1) -> Taken:
        """Take so many tokens out of each of one to three buckets, or none out of any.

        In a cluster the buckets are asked at the same time, each where it lies; what one of them
        gave for nothing goes back.
        """
        if not self._scripts.apart or len({bucket_partition(each.name) for each in buckets}) == 1:
            return await self._take(buckets, tokens)
        told = dict(zip(buckets, await self._take_apart(buckets, tokens), strict=True))
        given = [
            bucket for bucket, taken in told.items() if isinstance(taken, tuple) and not taken[0]
        ]
        if len(given) < len(buckets):
            told |= zip(given, await self._take_apart(given, -tokens), strict=True)
        wait, levels = 0, []
        for taken in told.values():
            if isinstance(taken, BaseException):
                raise taken
            wait = max(wait, taken[0])
            levels += taken[1]
        return wait, levels

    async def _take_apart(
        self, buckets: Sequence[Bucket], tokens: int
    ) -> list[Taken | BaseException]:
        asked = [self._take([bucket], tokens) for bucket in buckets]
        return await asyncio.gather(*asked, return_exceptions=True)

    async def _take(self, buckets: Sequence[Bucket], tokens: int) -> Taken:
        """Take so many, where one step may do so; below 0 they go back."""
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
