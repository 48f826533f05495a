"""After Redis has started anew: is all that MongoDB knows of bookings still on the map?

A replica that takes over, or a server that comes back from its file, may lack the last moments. Its
epochs are still there, so nothing asks for a rebuild, and locks that it does have are good. What it
shows of bookings is compared with MongoDB, showtime by showtime, and put right; showtimes that the
house has cancelled are closed again. In a cluster that is so for the partitions of one server.
"""

import logging
from collections.abc import Collection
from contextlib import suppress

from server.booking_image import BookingImage
from server.errors import StoreUnavailable
from server.repo.bookings import BookingRepo
from server.repo.claims import ClaimStore
from server.repo.keys import partition_of
from server.repo.seat_answers import Claim, ShowtimeNotLoaded
from server.repo.showtimes import ShowtimeRepo
from server.repo.store_runs import StoreRunRepo

logger = logging.getLogger("rowlock.image_repair")


class ImageRepair:
    """Any number of copies may run: each step compares the booking's id in Redis."""

    def __init__(
        self,
        showtimes: ShowtimeRepo,
        bookings: BookingRepo,
        claims: ClaimStore,
        image: BookingImage,
        runs: StoreRunRepo,
    ) -> None:
        self._showtimes = showtimes
        self._bookings = bookings
        self._claims = claims
        self._image = image
        self._runs = runs
        self._compared: list[str] = []

    async def run_once(self) -> int:
        """Look which servers of Redis are other runs than were checked, and check what they hold.

        Returns how many seats were not as MongoDB has them; raises when a store does not answer.
        """
        runs = await self._claims.run_ids()
        if runs == self._compared:
            return 0
        known = await self._runs.compared()
        if runs == known:
            self._compared = runs  # another process was quicker
            return 0
        anew = {n for n, run in enumerate(runs) if known[n : n + 1] != [run]}
        await self._showtimes.cancel_again()
        wrong, failed = 0, False
        for showtime_id in await self._showtimes.ids(not_over=True):
            if partition_of(showtime_id) not in anew:
                continue
            try:
                wrong += await self.repair(showtime_id)
                await self._renew(showtime_id)
            except StoreUnavailable:
                raise
            except Exception:
                failed = True
                logger.exception("showtime %s could not be compared", showtime_id)
        if not failed:
            await self._runs.remember(runs)
            self._compared = runs
        if wrong:
            logger.warning("Redis had started anew and %d seats were not as sold", wrong)
        return wrong

    async def _renew(self, showtime_id: str) -> None:
        """What was numbered and lost is numbered again: whoever heard it must not go by numbers."""
        with suppress(ShowtimeNotLoaded):
            await self._claims.renew_epoch(showtime_id)

    async def repair(self, showtime_id: str) -> int:
        """Make the map of one showtime show its bookings; returns how many seats were wrong."""
        try:
            shown = await self._claims.shown(showtime_id)
        except ShowtimeNotLoaded:
            return 0  # whoever needs it loads it from MongoDB
        claims = await self._bookings.claims(showtime_id)
        truth = {seat: (claim.booking_id, claim.booked) for claim in claims for seat in claim.seats}
        wrong = {seat for seat in truth.keys() | shown.keys() if truth.get(seat) != shown.get(seat)}
        await self._free({shown[seat][0] for seat in wrong & shown.keys()})
        await self._claim([claim for claim in claims if wrong & set(claim.seats)])
        return len(wrong)

    async def _free(self, booking_ids: Collection[str]) -> None:
        """Free what MongoDB says those bookings do not own (any more).

        One that MongoDB does not know may be on its way there: the reconciler sees to its end.
        """
        for booking_id in booking_ids:
            booking = await self._bookings.get(booking_id)
            if booking and (booking.cancelled_seats or not booking.claims):
                await self._image.show_soon(booking)

    async def _claim(self, claims: list[Claim]) -> None:
        for claim in claims:
            booking = await self._bookings.get(claim.booking_id)
            if booking:
                await self._image.show_soon(booking)
