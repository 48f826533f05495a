"""Finishes what a crash, a lost answer or a silent store left undone.

Any number of copies may run: every step is a compare-and-set in MongoDB or a script in Redis that
compares the booking's id, so the same step done twice is done once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from server.booking import Booking
from server.booking_image import BookingImage
from server.errors import NotFound, StoreUnavailable
from server.repo.bookings import BookingRepo
from server.repo.claims import ClaimStore
from server.repo.keys import PARTITIONS
from server.repo.seat_answers import SeatsTaken
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
        while await self._each(
            await self._bookings.overdue("pending", _BATCH), self._settlement.expire
        ):
            continue  # many may lapse together
        await self._each(await self._bookings.seats_due(_BATCH), self._show)
        for partition in PARTITIONS:
            await self._checkouts(partition)

    async def settle_once(self) -> None:
        """Do what needs the payment provider, which may be away; raises when MongoDB is."""
        await self._each(await self._bookings.overdue("paying", _BATCH), self._settlement.settle)
        await self._each(await self._bookings.refund_due(_BATCH), self._settlement.refund)

    async def _show(self, booking: Booking) -> None:
        """Raises StoreUnavailable; what stands in the way has to end first, and may not."""
        try:
            await self._image.show(booking)
        except (SeatsTaken, NotFound) as error:
            await self._settlement.later(booking, "seats_at", error)

    async def _each(
        self, bookings: list[Booking], step: Callable[[Booking], Awaitable[object]]
    ) -> bool:
        """Take so many steps at a time; one that fails does not keep the others waiting.

        Says whether there may be more: the batch was full, and something came of it.
        """
        turn, came_of_it = asyncio.Semaphore(_AT_ONCE), 0

        async def take(booking: Booking) -> None:
            nonlocal came_of_it
            async with turn:
                try:
                    came_of_it += bool(await step(booking))
                except StoreUnavailable as error:
                    logger.warning("booking %s goes on later: %r", booking.id, error)
                except Exception:
                    logger.exception("booking %s: %s failed", booking.id, step.__name__)

        async with asyncio.TaskGroup() as group:
            for booking in bookings:
                group.create_task(take(booking))
        return len(bookings) == _BATCH and came_of_it > 0

    async def _checkouts(self, partition: int) -> None:
        """Free seats whose booking never came to be, or is open no longer."""
        due = await self._claims.due_checkouts(partition, _CHECKOUTS)
        if not due:
            return
        bookings = await self._bookings.get_many([booking_id for _, booking_id in due])
        for showtime_id, booking_id in due:
            try:
                await self._checkout(showtime_id, booking_id, bookings.get(booking_id))
            except (NotFound, SeatsTaken, StoreUnavailable) as error:
                logger.warning("checkout %s of %s: %r", booking_id, showtime_id, error)
            except Exception:
                logger.exception("checkout %s of %s failed", booking_id, showtime_id)

    async def _checkout(self, showtime_id: str, booking_id: str, booking: Booking | None) -> None:
        if booking is None:
            await self._image.abandon(showtime_id, booking_id)
        elif booking.status not in ("pending", "paying"):
            await self._image.show(booking)
