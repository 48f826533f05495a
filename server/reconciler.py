"""Finishes what a crash, a lost answer or a silent store left undone.

Any number of copies may run: every step is a compare-and-set in MongoDB or a script in Redis that
compares the booking's id, so the same step done twice is done once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from server.booking import Booking
from server.booking_image import BookingImage
from server.errors import NotFound
from server.repo.bookings import BookingRepo
from server.repo.claims import ClaimStore
from server.repo.keys import PARTITIONS
from server.settlement import Settlement

logger = logging.getLogger("rowlock.reconciler")

_BATCH = 100
_AT_ONCE = 20
"""So many bookings at a time: one that waits for the provider does not hold up the others."""
_CHECKOUTS = 1000
"""Those of payments under way stay in the queue, so more are read than are ever due at once."""


class Reconciler:
    def __init__(
        self,
        settlement: Settlement,
        image: BookingImage,
        bookings: BookingRepo,
        claims: ClaimStore,
    ) -> None:
        self._settlement = settlement
        self._image = image
        self._bookings = bookings
        self._claims = claims

    async def run_once(self) -> None:
        """Do what needs no payment provider; raises when a store does not answer."""
        await self._each(await self._bookings.overdue("pending", _BATCH), self._settlement.expire)
        await self._each(await self._bookings.seats_due(_BATCH), self._image.show)
        for partition in PARTITIONS:
            await self._checkouts(partition)

    async def settle_once(self) -> None:
        """Do what needs the payment provider, which may be away; raises when MongoDB is."""
        await self._each(await self._bookings.overdue("paying", _BATCH), self._settlement.settle)
        await self._each(await self._bookings.refund_due(_BATCH), self._settlement.refund)

    async def _each(
        self, bookings: list[Booking], step: Callable[[Booking], Awaitable[object]]
    ) -> None:
        """One booking that cannot be helped does not keep the others waiting."""
        turn = asyncio.Semaphore(_AT_ONCE)

        async def take(booking: Booking) -> None:
            async with turn:
                try:
                    await step(booking)
                except Exception:
                    logger.exception("booking %s: %s failed", booking.id, step.__name__)

        async with asyncio.TaskGroup() as group:
            for booking in bookings:
                group.create_task(take(booking))

    async def _checkouts(self, partition: int) -> None:
        """Free seats whose booking never came to be, or is open no longer."""
        for showtime_id, booking_id in await self._claims.due_checkouts(partition, _CHECKOUTS):
            try:
                booking = await self._bookings.get(booking_id)
                if booking is None:
                    await self._image.abandon(showtime_id, booking_id)
                elif booking.status not in ("pending", "paying"):
                    await self._image.show(booking)
            except NotFound:
                logger.warning("checkout %s belongs to no showtime", booking_id)
