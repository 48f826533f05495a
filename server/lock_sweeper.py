"""Releases locks whose time is over, so that watchers hear of it within a second.

Any number of copies may run: the script compares the deadline again and announces a release once.
"""

import asyncio
import logging

from server.repo.keys import PARTITIONS
from server.repo.seats import SeatStore

logger = logging.getLogger("rowlock.sweeper")

INTERVAL_SECONDS = 0.2
_BATCH = 500


class LockSweeper:
    def __init__(self, store: SeatStore) -> None:
        self._store = store

    async def run_once(self) -> int:
        """Release every lock that is due; returns how many. Raises StoreUnavailable."""
        return sum(await asyncio.gather(*(self._sweep(partition) for partition in PARTITIONS)))

    async def _sweep(self, partition: int) -> int:
        released = 0
        while due := await self._store.due_locks(partition, _BATCH):
            ended = sum(await asyncio.gather(*(self._store.expire(*lock) for lock in due)))
            released += ended
            if ended < len(due):  # another sweeper is at it, or a showtime is being rebuilt
                break
        return released
