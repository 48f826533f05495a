"""The end of the audit log, for those who follow it as it grows.

Any process may be the one that relays, so the log itself is asked whether it has grown: about four
times a second, once for all followers of this process, and only while there are any. What is new is
not handed out to them: each reads on from its own place, in pages, as fast as it takes them. One
that lags keeps a page in memory, holds up nobody and misses nothing.

While MongoDB is away, followers wait.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.audit import AuditEntry, entry_of
from server.detached import end
from server.repo.audit_logs import AuditLogRepo
from server.repo.mongo import PyMongoError

logger = logging.getLogger("rowlock.audit_tail")

LOOK_SECONDS = 0.25
PAGE = 100


class AuditTail:
    """A place in the log is the number of the last entry that was read; 0 is its beginning."""

    def __init__(self, logs: AuditLogRepo, *, look_seconds: float = LOOK_SECONDS) -> None:
        self._logs = logs
        self._look_seconds = look_seconds
        self._followers = 0
        self._looking: asyncio.Task[None] | None = None
        self._head = 0
        self._looked = asyncio.Event()

    async def place(self, entry_id: str | None) -> int | None:
        """Return the place of an entry, or the end; None when there is no such entry."""
        return await (self._logs.number_of(entry_id) if entry_id else self._logs.head())

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Keep an eye on the log for as long as the context lasts; `after` works in it alone."""
        self._followers += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="audit tail")
        try:
            yield
        finally:
            self._followers -= 1
            if not self._followers:
                looking, self._looking = self._looking, None
                await end(looking)

    async def after(self, place: int) -> list[AuditEntry]:
        """Return the entries that follow `place`, in order, PAGE at most; wait until there are."""
        while True:
            while self._head <= place:
                await self._looked.wait()
            try:
                if rows := await self._logs.after(place, PAGE):
                    return [entry_of(row) for row in rows]
            except PyMongoError as error:
                logger.info("cannot read the audit log yet: %r", error)
            await asyncio.sleep(self._look_seconds)

    async def _look(self) -> None:
        failing = False
        while True:
            try:
                self._head = await self._logs.head()
                failing = False
            except Exception as error:
                if not failing:
                    logger.warning("cannot see the end of the audit log: %r", error)
                failing = True
            self._looked.set()
            self._looked = asyncio.Event()
            await asyncio.sleep(self._look_seconds)
