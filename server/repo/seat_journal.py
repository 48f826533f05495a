"""What people do with seats, stored in MongoDB before they are told that it is done.

Redis logs it in the step that does it, but a wiped or failed-over Redis forgets the last moments.
"""

import asyncio
from collections.abc import Sequence

from server.repo.mongo import UNAVAILABLE
from server.repo.outbox import Outbox
from server.repo.seat_log import Logged

_AT_ONCE = 100
"""So many acts a document: it stays far from the size that MongoDB refuses."""
_APART_SECONDS = 0.001
"""A write costs the same however much is in it; so when there is much to do, it is gathered."""


_Act = tuple[Sequence[Logged], asyncio.Future[None]]


class SeatJournal:
    """Group commit: what comes while a write is under way, or right after one, goes together into
    the next."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._waiting: list[_Act] = []
        self._writer: asyncio.Task[None] | None = None
        self._next_at = 0.0

    async def write(self, logged: Sequence[Logged]) -> None:
        """Return once a majority has them; raises what MongoDB raises."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((logged, done))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())
        await done

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            if (wait := self._next_at - loop.time()) > 0:
                await asyncio.sleep(wait)
            self._next_at = loop.time() + _APART_SECONDS
            batch, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
            error = await self._write(batch)
            if isinstance(error, UNAVAILABLE):  # whoever came meanwhile would wait as long again
                batch, self._waiting = batch + self._waiting, []
            for _, done in batch:
                if done.done():
                    continue
                if error:
                    done.set_exception(error)
                else:
                    done.set_result(None)
        self._writer = None

    async def _write(self, batch: Sequence[_Act]) -> Exception | None:
        try:
            await self._outbox.add_logged([each for logged, _ in batch for each in logged])
        except Exception as error:
            return error
        return None
