"""What waits for the background work: how much, and since when. Read only, to be looked at.

Ages come from this process's clock, so they are as good as it is.
"""

import time
from dataclasses import dataclass
from datetime import datetime

from server.models import from_ms
from server.repo.keys import PARTITIONS, partition_keys
from server.repo.mongo import Collection, Database, Document
from server.repo.outbox import Outbox
from server.repo.redis import Redis, answer


@dataclass(frozen=True, slots=True)
class Backlog:
    """`since` is the time of what waits longest; None when nothing does."""

    waiting: int
    since: datetime | None

    def __add__(self, other: "Backlog") -> "Backlog":
        times = [each.since for each in (self, other) if each.since]
        return Backlog(self.waiting + other.waiting, min(times, default=None))


class Backlogs:
    def __init__(self, redis: Redis, database: Database) -> None:
        self._redis = redis
        self._outbox = Outbox(database)
        self._bookings = database["bookings"]
        self._notifications = database["notifications"]

    async def of_audit_relay(self) -> Backlog:
        """What the audit log does not have yet: acts, timelines of bookings, seat events."""
        bookings = await _waiting(self._bookings, {"audit_due": True}, "updated_at")
        return await self._acts() + bookings + await self._events()

    async def of_notices(self) -> Backlog:
        """What people are to be told and no mail was sent for."""
        bookings = await _waiting(self._bookings, {"notices": {"$gt": ""}}, "created_at")
        mails = await _waiting(self._notifications, {"status": "due"}, "created_at")
        return bookings + mails

    async def of_reconciler(self) -> Backlog:
        """Bookings past their deadline: the time to pay is over, or the provider's to answer."""
        pending = {"status": "pending", "$expr": {"$lte": ["$expires_at", "$$NOW"]}}
        paying = {"status": "paying", "$expr": {"$lte": ["$pay_by", "$$NOW"]}}
        unpaid = await _waiting(self._bookings, pending, "expires_at")
        return unpaid + await _waiting(self._bookings, paying, "pay_by")

    async def of_lock_sweeper(self) -> Backlog:
        """Locks past their deadline."""
        now, pipeline = round(time.time() * 1000), self._redis.pipeline(transaction=False)
        for partition in PARTITIONS:
            key = partition_keys(partition)["deadlines_key"]
            pipeline.zcount(key, "-inf", now)
            pipeline.zrangebyscore(key, "-inf", now, 0, 1, withscores=True)
        rows = await answer(pipeline.execute())
        oldest = [first[0][1] for first in rows[1::2] if first]
        return Backlog(sum(rows[::2]), from_ms(int(min(oldest))) if oldest else None)

    async def _acts(self) -> Backlog:
        oldest = await self._outbox.oldest(1)
        waiting = await self._outbox.count() if oldest else 0
        return Backlog(waiting, oldest[0].rows[0]["at"] if oldest else None)

    async def _events(self) -> Backlog:
        """An entry's position begins with its time, in ms."""
        pipeline = self._redis.pipeline(transaction=False)
        for partition in PARTITIONS:
            key = partition_keys(partition)["log_key"]
            pipeline.xlen(key)
            pipeline.xrange(key, count=1)
        rows = await answer(pipeline.execute())
        oldest = [int(first[0][0].partition("-")[0]) for first in rows[1::2] if first]
        return Backlog(sum(rows[::2]), from_ms(min(oldest)) if oldest else None)


async def _waiting(rows: Collection, where: Document, since: str) -> Backlog:
    """Count what fits; `since` is the field with the time."""
    waiting = await rows.count_documents(where)
    first = await rows.find_one(where, sort=[(since, 1)]) if waiting else None
    return Backlog(waiting, first[since]) if first else Backlog(0, None)
