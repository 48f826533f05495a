"""Cancelling bookings: by the buyer under the refund policy, or by an administrator.

What is cancelled goes back on sale at once; what was paid for it becomes due in the same update and
is given back right after, by the reconciler if not here.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from server.booking import Booking, CancelledBy, entry_of
from server.booking_image import BookingImage
from server.catalogue import Showtime
from server.errors import BookingState, NotFound, UnknownSeats
from server.models import Caller
from server.repo.bookings import BookingRepo
from server.settlement import Settlement
from server.showtimes import Showtimes

_TRIES = 5
"""How often a booking may move on under a cancellation before that gives up."""


class Cancellations:
    def __init__(
        self,
        bookings: BookingRepo,
        showtimes: Showtimes,
        image: BookingImage,
        settlement: Settlement,
        refund_hours: int,
    ) -> None:
        """A buyer may give seats back up to `refund_hours` before the showtime starts."""
        self._bookings = bookings
        self._showtimes = showtimes
        self._image = image
        self._settlement = settlement
        self._before_start = timedelta(hours=refund_hours)

    async def by_buyer(self, caller: Caller, booking_id: str, seats: Sequence[str] = ()) -> Booking:
        """Cancel the caller's booking, or some `seats` of a paid one.

        Repeated, it answers what the first one led to. Raises NotFound (another's too),
        UnknownSeats, BookingState.
        """
        booking = await self._bookings.get(booking_id)
        if booking is None or booking.user_id != caller.user_id:
            raise NotFound
        return await self._refunded(caller, await self._cancel(caller, booking, seats, "buyer"))

    async def by_admin(
        self, caller: Caller, booking_id: str, seats: Sequence[str] = (), why: str = ""
    ) -> Booking:
        """Cancel anybody's booking, whenever it is. Raises NotFound, UnknownSeats, BookingState."""
        booking = await self._bookings.get(booking_id)
        if booking is None:
            raise NotFound
        return await self._refunded(
            caller, await self._cancel(caller, booking, seats, "admin", why)
        )

    async def by_house(self, caller: Caller, booking: Booking) -> Booking:
        """Cancel a booking of a showtime that will not be. Raises BookingState.

        There may be many: the reconciler gives the money back, so many at a time.
        """
        return await self._cancel(caller, booking, (), "house")

    def refundable_until(self, showtime: Showtime) -> datetime:
        return showtime.starts_at - self._before_start

    async def _cancel(
        self,
        caller: Caller,
        booking: Booking,
        seats: Sequence[str],
        reason: CancelledBy,
        why: str = "",
    ) -> Booking:
        """Try until the booking is as wanted, or in a state that cannot be cancelled."""
        for _ in range(_TRIES):
            left = _left_of(booking, seats)
            if not left or booking.status == "cancelled":
                return booking
            cancelled = await self._step(caller, booking, left, reason, why)
            if cancelled:
                await self._image.show_soon(cancelled, caller)
                return cancelled
            booking = await self._bookings.get(booking.id) or booking
        raise _in_state(booking)

    async def _refunded(self, caller: Caller, booking: Booking) -> Booking:
        """Give back at once what can be; what was due before is the reconciler's."""
        return await self._settlement.refund(booking, caller)

    async def _in_time(self, booking: Booking) -> None:
        until = self.refundable_until(await self._showtimes.get(booking.showtime_id))
        if until <= datetime.now(UTC):
            raise BookingState(
                "It is too late to give these seats back.", booking_status=booking.status
            )

    async def _step(
        self, caller: Caller, booking: Booking, left: list[str], reason: CancelledBy, why: str
    ) -> Booking | None:
        """Take `left` out of the booking; None when it has moved on meanwhile."""
        detail: dict[str, Any] = {"by": reason} | ({"why": why} if why else {})
        if booking.status not in ("pending", "confirmed"):
            raise _in_state(booking)
        if reason == "buyer" and booking.status == "confirmed":
            await self._in_time(booking)
        if len(left) == len(booking.seats):
            entry = entry_of("booking.cancelled", caller, "ok", **detail)
            return await self._bookings.cancel(booking, reason, [entry])
        if booking.status == "pending":
            raise BookingState(
                "An unpaid booking can only be cancelled whole.", booking_status=booking.status
            )
        entry = entry_of("booking.cancelled", caller, "ok", seats=left, **detail)
        return await self._bookings.give_back(booking, left, reason, [entry])


def _left_of(booking: Booking, seats: Sequence[str]) -> list[str]:
    """Return which of `seats` (none named: all) are still to be cancelled. Raises UnknownSeats."""
    unknown = [seat for seat in seats if seat not in booking.seats + booking.cancelled_seats]
    if unknown:
        raise UnknownSeats(unknown)
    return [seat for seat in booking.seats if not seats or seat in seats]


def _in_state(booking: Booking) -> BookingState:
    return BookingState(f"The booking is {booking.status}.", booking_status=booking.status)
