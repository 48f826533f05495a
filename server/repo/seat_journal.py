"""What people do with seats, stored in MongoDB before they are told that it is done.

Redis logs it in the step that does it, but a wiped or failed-over Redis forgets the last moments.
"""

import asyncio

from server.repo.mongo import Document
from server.repo.outbox import Outbox
from server.repo.seat_log import LogEntry

_AT_ONCE = 100
"""So many acts a document: it stays far from the size that MongoDB refuses."""


class SeatJournal:
    """Group commit: what comes while a write is under way goes together into the next one."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._waiting: list[tuple[list[Document], asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def write(self, entries: list[LogEntry]) -> None:
        """Return once a majority has them; raises what MongoDB raises."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(([entry.as_row() for entry in entries], done))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())
        await done

    async def _write_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
            try:
                await self._outbox.add_all([row for rows, _ in batch for row in rows])
            except Exception as error:
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
            else:
                for _, done in batch:
                    if not done.done():
                        done.set_result(None)
        self._writer = None
