"""How often one may do what: token buckets per person, per address and per account.

    limits = RateLimits(TokenBuckets(scripts), CLASSES)
    standing = await limits.count("read", user=user_id, address="192.0.2.7")  # one token of each
    await limits.admit("password", account=name)    # or RateLimited, before the password is seen
    await limits.forgive("password", account=name)  # after it was right

Every process draws on the same buckets. A person in a hurry is not asked for at each step: whoever
used up what was drawn within a second gets twice as much drawn the next time, and this process
spends that by itself. What is drawn counts as taken, so never more is admitted than the buckets
allow; what is not spent within a second is lost.

In a cluster buckets lie apart and are asked one after the other, so that a try which the address's
bucket refuses has cost a token of the person's.
"""

import asyncio
import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from server.errors import RateLimited, StoreUnavailable
from server.repo.rate_limits import Bucket, Level, TokenBuckets
from server.settings import Settings

ClassName = Literal["read", "write", "sign_in", "password", "lock", "pay", "admin", "house"]

PATIENCE_SECONDS = 0.5
"""So long the store may take, and so long it is left alone after it did not answer."""
_SITE = 8
"""A site, which is a /48 of IPv6, may do as much as so many of its 65,536 addresses."""
_DRAWN_SECONDS = 1.0
_MOST_DRAWN = 16
_MOST_REMEMBERED = 50_000


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `burst` at once, and `per_second` in the long run."""

    burst: int
    per_second: float

    def times(self, factor: int) -> "Limit":
        return Limit(self.burst * factor, self.per_second * factor)


@dataclass(frozen=True, slots=True)
class RouteClass:
    """What is limited alike: so much for one person, for one address, for one account.

    `closed`: nobody is let through while the limits cannot be asked.
    """

    user: Limit | None = None
    address: Limit | None = None
    account: Limit | None = None
    closed: bool = False

    @property
    def site(self) -> Limit | None:
        return self.address and self.address.times(_SITE)


CLASSES: Mapping[ClassName, RouteClass] = {
    "read": RouteClass(user=Limit(200, 20), address=Limit(1000, 100)),
    "write": RouteClass(user=Limit(60, 5), address=Limit(600, 50)),
    "sign_in": RouteClass(user=Limit(20, 0.2), address=Limit(60, 1), closed=True),
    "password": RouteClass(account=Limit(10, 1 / 300), closed=True),
    "lock": RouteClass(user=Limit(60, 4), address=Limit(600, 40), closed=True),
    "pay": RouteClass(user=Limit(20, 0.5), address=Limit(200, 10), closed=True),
    "admin": RouteClass(user=Limit(200, 20), address=Limit(1000, 100)),
    "house": RouteClass(user=Limit(200, 20), address=Limit(1000, 100), closed=True),
}
"""An address may be that of a whole office or of a mobile network's customers. `house` is what the
house locks and cancels for others."""


CROWD = 5
"""Seats of one showtime that are locked from one address: as many as so many people may lock."""


def seats_per_address(settings: Settings) -> int:
    """Return the cap; 0 where limits are off."""
    return CROWD * settings.max_seats_per_user if settings.rate_limits == "on" else 0


@dataclass(frozen=True, slots=True)
class Standing:
    """How the tightest of the buckets stands: what the headers of an answer say."""

    policy: str
    quota: int
    window_seconds: int
    left: int
    full_in_seconds: int
    retry_after: int
    """In seconds; 0 for who was admitted."""


_Levels = Sequence[tuple[Bucket, Level]]
"""How those buckets stand that were asked."""


@dataclass(slots=True)
class _Drawn:
    """Tokens that were drawn for later, of the buckets of one caller."""

    until: float
    size: int
    count: int
    levels: _Levels

    @property
    def shown(self) -> _Levels:
        """How the buckets stand if what was drawn were still in them."""
        return [
            (bucket, replace(level, left=level.left + self.count)) for bucket, level in self.levels
        ]


class RateLimits:
    def __init__(
        self,
        buckets: TokenBuckets | None,
        classes: Mapping[ClassName, RouteClass] = CLASSES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Without `buckets` nothing is limited."""
        self._buckets = buckets
        self._classes = classes
        self._clock = clock
        self._drawn: dict[str, _Drawn] = {}
        self._away_until: dict[int, float] = {}

    async def admit(self, name: ClassName, *, user: str = "", account: str = "") -> None:
        """Count one step of the class `name` against all who are named.

        Raises RateLimited; and StoreUnavailable, if the class is closed.
        """
        standing = await self.count(name, user=user, account=account)
        if standing and standing.retry_after:
            raise RateLimited(retry_after=standing.retry_after)

    async def forgive(self, name: ClassName, *, account: str) -> None:
        """Fill the bucket of an account again: it was its owner. Raises StoreUnavailable."""
        if self._buckets:
            await self._buckets.refill(_name(name, "account", account))

    async def count(
        self,
        name: ClassName,
        *,
        user: str = "",
        address: str = "",
        site: str = "",
        account: str = "",
        lenience: int = 1,
    ) -> Standing | None:
        """The same, but says whether it was refused; None when nothing limits this.

        `lenience` times as much is allowed as usual. Raises StoreUnavailable for a closed class.
        """
        if self._buckets is None:
            return None
        rules = self._classes[name]
        whose = {"user": user, "address": address, "site": site, "account": account}
        buckets = [
            _bucket(_name(name, kind, who), limit.times(lenience))
            for kind, who in whose.items()
            if who and (limit := getattr(rules, kind)) is not None
        ]
        if not buckets:
            return None
        try:
            wait, levels = await self._take(self._buckets, buckets, closed=rules.closed)
        except StoreUnavailable:
            if rules.closed:
                raise
            return None
        return _tightest(name, levels, wait)

    async def _take(
        self, store: TokenBuckets, buckets: Sequence[Bucket], *, closed: bool
    ) -> tuple[int, _Levels]:
        """Take one token of each: out of what was drawn, else out of the store."""
        key, size = " ".join(bucket.name for bucket in buckets), 1
        if drawn := self._still_drawn(key):
            if drawn.count:
                drawn.count -= 1
                return 0, drawn.shown
            most = min(_MOST_DRAWN, *(bucket.holds // 8 for bucket in buckets))
            size = max(1, min(2 * drawn.size, most))
        wait, levels = await self._ask(store, buckets, size, closed=closed)
        if wait and size > 1:  # so much is not there; perhaps one is
            size = 1
            wait, levels = await self._ask(store, buckets, size, closed=closed)
        if wait:
            if drawn:
                drawn.size = 0  # the next time one is asked for
            return wait, levels
        return 0, self._draw(key, size, levels).shown

    def _still_drawn(self, key: str) -> _Drawn | None:
        drawn = self._drawn.get(key)
        return drawn if drawn and self._clock() < drawn.until else None

    def _draw(self, key: str, tokens: int, levels: _Levels) -> _Drawn:
        """Remember what is left of `tokens`, and of what others of this caller have drawn."""
        before = self._still_drawn(key)
        if len(self._drawn) >= _MOST_REMEMBERED:
            self._drawn.clear()
        count = tokens - 1 + (before.count if before else 0)
        drawn = _Drawn(self._clock() + _DRAWN_SECONDS, tokens, count, levels)
        self._drawn[key] = drawn
        return drawn

    async def _ask(
        self, store: TokenBuckets, buckets: Sequence[Bucket], tokens: int, *, closed: bool
    ) -> tuple[int, _Levels]:
        """Ask the store, place by place, the narrowest bucket first: who is refused by his own
        takes nothing from what he shares with others. An open class does without what is away."""
        wait, levels = 0, list[tuple[Bucket, Level]]()
        for place, some in store.by_place(buckets).items():
            try:
                if closed:
                    wait, told = await store.take(some, tokens)
                else:
                    wait, told = await self._ask_briefly(store, place, some, tokens)
            except StoreUnavailable:
                if closed:
                    raise
                continue
            levels += zip(some, told, strict=True)
            if wait:
                break
        if not levels:
            raise StoreUnavailable
        return wait, levels

    async def _ask_briefly(
        self, store: TokenBuckets, place: int, buckets: Sequence[Bucket], tokens: int
    ) -> tuple[int, list[Level]]:
        """Ask with little patience; a place that did not answer is left alone for a while."""
        if self._clock() < self._away_until.get(place, -math.inf):
            raise StoreUnavailable
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await store.take(buckets, tokens)
        except (TimeoutError, StoreUnavailable):
            self._away_until[place] = self._clock() + PATIENCE_SECONDS
            raise StoreUnavailable from None


def _name(name: str, kind: str, who: str) -> str:
    """Name a bucket; who it belongs to cannot be read from it, be it a mail address."""
    return f"{name}:{kind}:{hashlib.blake2b(who.encode(), digest_size=12).hexdigest()}"


def _bucket(name: str, limit: Limit) -> Bucket:
    return Bucket(name, limit.burst, 1000 / limit.per_second)


def _tightest(name: str, levels: _Levels, wait_ms: int) -> Standing:
    bucket, level = min(levels, key=lambda pair: pair[1].left / pair[0].holds)
    return Standing(
        policy=name,
        quota=bucket.holds,
        window_seconds=math.ceil(bucket.holds * bucket.pace_ms / 1000),
        left=level.left,
        full_in_seconds=math.ceil(level.full_in_ms / 1000),
        retry_after=math.ceil(wait_ms / 1000),
    )
