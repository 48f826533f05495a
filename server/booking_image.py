"""What Redis shows of bookings: an image of what MongoDB says, mended wherever it is not."""

import logging
from contextlib import suppress
from datetime import datetime
from typing import Any

from server.booking import SYSTEM, Booking
from server.errors import NotFound, SeatsUnavailable, StoreUnavailable
from server.models import Caller, to_ms
from server.rebuild import Rebuilder
from server.repo.booking_rows import claim_of
from server.repo.bookings import BookingRepo
from server.repo.claims import ClaimStore
from server.repo.seat_answers import Claim, SeatsTaken

logger = logging.getLogger("rowlock.bookings")


class BookingImage:
    def __init__(self, bookings: BookingRepo, claims: ClaimStore, rebuilder: Rebuilder) -> None:
        self._bookings = bookings
        self._claims = claims
        self._rebuilder = rebuilder

    async def show(self, booking: Booking, caller: Caller = SYSTEM) -> None:
        """Make Redis show the booking as it is. Raises StoreUnavailable, SeatsTaken.

        If it has moved on meanwhile, what was shown came too late: then it is shown once more.
        """
        await self._show(booking, caller)
        if await self._bookings.seats_shown(booking):
            return
        if moved_on := await self._bookings.get(booking.id):
            await self.show(moved_on)

    async def show_soon(self, booking: Booking, caller: Caller = SYSTEM) -> None:
        """Show it now if Redis can; `seats_due` keeps it due until it is shown."""
        try:
            await self.show(booking, caller)
        except (StoreUnavailable, SeatsTaken, NotFound) as error:
            logger.warning("seats of %s are shown later: %r", booking.id, error)

    async def _show(self, booking: Booking, caller: Caller) -> None:
        if booking.cancelled_seats:
            await self._rebuilder.loaded(
                booking.showtime_id,
                lambda: self._claims.give_back(
                    booking.showtime_id,
                    booking.id,
                    booking.cancelled_seats,
                    actor_id=caller.user_id,
                    request_id=caller.request_id,
                ),
            )
        if booking.claims:
            await self._rebuilder.loaded(
                booking.showtime_id,
                lambda: self._claims.claim(
                    booking.showtime_id, claim_of(booking), caller.request_id
                ),
            )
        else:
            await self._rebuilder.loaded(
                booking.showtime_id,
                lambda: self._claims.release(
                    booking.showtime_id,
                    booking.id,
                    booking.seats,
                    reason="expired" if booking.status == "expired" else "cancelled",
                    actor_id=caller.user_id,
                    request_id=caller.request_id,
                ),
            )

    async def abandon(self, showtime_id: str, booking_id: str) -> None:
        """Free the seats of a checkout that is past its deadline and never became a booking."""
        await self._rebuilder.loaded(
            showtime_id,
            lambda: self._claims.release(showtime_id, booking_id, [], reason="expired"),
        )

    async def lost_race(self, booking: Booking) -> SeatsUnavailable:
        """Redis granted what MongoDB says is another's: mend Redis; returns what to answer."""
        await self._rebuilder.loaded(
            booking.showtime_id,
            lambda: self._claims.release(
                booking.showtime_id, booking.id, booking.seats, reason="released"
            ),
        )
        unavailable: list[dict[str, Any]] = []
        for claim in await self._bookings.claims(booking.showtime_id, booking.seats):
            await self._mend(booking.showtime_id, claim)
            unavailable += [
                _refusal(seat, claim, booking.created_at)
                for seat in claim.seats
                if seat in booking.seats
            ]
        if not unavailable:  # whoever claimed them has let go meanwhile
            raise StoreUnavailable("These seats changed hands just now. Try again.")
        return SeatsUnavailable(unavailable)

    async def _mend(self, showtime_id: str, claim: Claim) -> None:
        """Make Redis show a claim, unless a third booking is in its way: that has to end first."""
        with suppress(SeatsTaken):
            await self._rebuilder.loaded(
                showtime_id, lambda: self._claims.claim(showtime_id, claim)
            )


def _refusal(seat: str, claim: Claim, now: datetime) -> dict[str, Any]:
    if claim.booked:
        return {"seat": seat, "state": "booked"}
    remaining = max(0, claim.expires_at - to_ms(now))
    return {"seat": seat, "state": "locked", "retry_in_ms": remaining}
