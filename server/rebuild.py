"""Loading a showtime into Redis from MongoDB: when it is first watched, and after Redis lost it.

Until that is done every seat script refuses to act, so nothing is sold on an empty map. What
MongoDB says is claimed or sold is so again; locks without a booking are gone.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import TypeVar

from server.catalogue import Showtime
from server.errors import StoreUnavailable
from server.repo.bookings import BookingRepo
from server.repo.claims import ClaimStore
from server.repo.seat_answers import ShowtimeNotLoaded
from server.showtimes import Showtimes

logger = logging.getLogger("rowlock.rebuild")

T = TypeVar("T")

_POLL_SECONDS = 0.05
_PATIENCE_SECONDS = 15.0
"""Longer than the lease on the right to rebuild, so that a dead holder is outlived."""

_LONG_AGO = datetime.fromtimestamp(0, UTC)


class Rebuilder:
    def __init__(self, claims: ClaimStore, bookings: BookingRepo, showtimes: Showtimes) -> None:
        self._claims = claims
        self._bookings = bookings
        self._showtimes = showtimes
        self._running: dict[str, asyncio.Task[None]] = {}

    async def loaded(self, showtime_id: str, call: Callable[[], Awaitable[T]]) -> T:
        """Await `call()`; when the store does not know the showtime, load it and call again."""
        try:
            return await call()
        except ShowtimeNotLoaded:
            await self.rebuild(showtime_id)
        try:
            return await call()
        except ShowtimeNotLoaded:  # lost again at once: not our day
            raise StoreUnavailable from None

    async def rebuild(self, showtime_id: str, stale_epoch: str = "") -> None:
        """Load the showtime, unless its epoch is neither missing nor `stale_epoch`.

        However many ask at once, one process does it. Raises NotFound, StoreUnavailable.
        """
        task = self._running.get(showtime_id)
        if task is None:
            task = asyncio.create_task(self._rebuild(showtime_id, stale_epoch))
            self._running[showtime_id] = task
            task.add_done_callback(lambda _: self._running.pop(showtime_id, None))
        await asyncio.shield(task)

    async def _rebuild(self, showtime_id: str, stale_epoch: str) -> None:
        await self._showtimes.get(showtime_id)
        token = secrets.token_hex(8)
        for _ in range(int(_PATIENCE_SECONDS / _POLL_SECONDS)):
            word = await self._claims.begin_rebuild(showtime_id, token, stale_epoch)
            if word == "loaded" or (word == "ok" and await self._load(showtime_id, token)):
                return
            await asyncio.sleep(_POLL_SECONDS)
        raise StoreUnavailable(f"Showtime {showtime_id} could not be loaded.")

    async def _load(self, showtime_id: str, token: str) -> bool:
        """Read the truth, which nobody else may load meanwhile, and put it in."""
        showtime = await self._showtimes.fresh(showtime_id)
        claims = await self._bookings.claims(showtime.id)
        done = await self._claims.rebuild(
            showtime.id,
            token,
            closes_at=showtime.closes_at if showtime.status == "open" else _LONG_AGO,
            blocked=_not_for_sale(showtime),
            claims=claims,
        )
        if done:
            logger.info("loaded showtime %s with %d bookings", showtime.id, len(claims))
        return done


def _not_for_sale(showtime: Showtime) -> Iterable[str]:
    return showtime.layout.seat_ids if showtime.status == "cancelled" else showtime.blocked
