"""A seat store on a real server, with one showtime loaded, for tests of the scripts."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from redis.asyncio import Redis as OneRedis

from server.repo.claims import ClaimStore
from server.repo.keys import partition_of, showtime_keys
from server.repo.redis import Redis, Scripts, connect
from server.repo.redis_cluster import Cluster
from server.repo.seat_answers import Claim
from server.repo.seat_log import LogEntry, SeatLog
from server.repo.seats import SeatStore

SHOWTIME = "sho_test"


class Stores:
    """All sides of the seat store, and the log of what its scripts announced."""

    def __init__(self, redis: Redis, *, ttl_seconds: float) -> None:
        self.redis = redis
        self.scripts = Scripts(redis)
        self.seats = SeatStore(redis, self.scripts, ttl_seconds=ttl_seconds, max_seats_per_user=10)
        self.claims = ClaimStore(self.scripts)
        self._log = SeatLog(redis)

    async def server(self) -> OneRedis:
        """Return a client of the very server that has the showtime."""
        if isinstance(self.redis, Cluster):
            return await self.redis.server_of(showtime_keys(SHOWTIME)["meta_key"])
        return self.redis

    async def load(
        self,
        *,
        closes_in: timedelta = timedelta(hours=1),
        blocked: Sequence[str] = (),
        claims: Sequence[Claim] = (),
        stale_epoch: str = "",
    ) -> None:
        assert await self.claims.begin_rebuild(SHOWTIME, "token", stale_epoch) == "ok"
        assert await self.claims.rebuild(
            SHOWTIME,
            "token",
            closes_at=datetime.now(UTC) + closes_in,
            blocked=blocked,
            claims=claims,
        )

    async def taken(self) -> dict[str, str]:
        """Return seat -> public state of every seat that is not available."""
        states = await self.seats.read(SHOWTIME)
        assert states is not None
        return states.taken

    async def seq(self) -> int:
        (position,) = await self.seats.positions([SHOWTIME])
        assert isinstance(position, tuple)
        return position[1]

    async def log(self) -> list[LogEntry]:
        return await self._log.read(partition_of(SHOWTIME), 1000)

    async def events(self) -> list[tuple[str, list[str], str]]:
        """Return (type, seats, reason) of all that was announced."""
        return [(entry.type, entry.seats, entry.reason) for entry in await self.log()]


@asynccontextmanager
async def opened(url: str, *, ttl_seconds: float = 300) -> AsyncIterator[Stores]:
    redis = connect(url)
    try:
        yield Stores(redis, ttl_seconds=ttl_seconds)
    finally:
        await redis.aclose()
