"""Paying for a booking, from the confirmed intent to the sale, the decline or the refund.

The outcome of a payment is what the provider says. Until it has said so nothing is released, and
what it says is written by compare-and-set, so that whoever is late changes nothing.
"""

import asyncio
import logging

from server.booking import SYSTEM, Booking, entry_of
from server.booking_image import BookingImage
from server.errors import PaymentDeclined
from server.models import Caller
from server.payments import Outcome, PaymentProvider
from server.repo.bookings import BookingRepo

logger = logging.getLogger("rowlock.bookings")

CONFIRM_SECONDS = 10.0
"""How long a buyer waits for the provider before the outcome counts as unknown."""


class Settlement:
    def __init__(
        self, bookings: BookingRepo, image: BookingImage, provider: PaymentProvider
    ) -> None:
        self._bookings = bookings
        self._image = image
        self._provider = provider

    async def confirm(self, caller: Caller, booking: Booking) -> Booking:
        """Have the money captured: confirmed, or still paying when nobody knows yet.

        Raises PaymentDeclined.
        """
        outcome = await self._outcome(booking)
        if outcome is None:
            return booking
        if outcome == "captured":
            return await self._captured(caller, booking)
        await self._declined(caller, booking)
        raise PaymentDeclined

    async def expire(self, booking: Booking) -> bool:
        """End a pending booking whose time is over; says whether this call did."""
        expired = await self._bookings.expire(booking, [entry_of("booking.expired", SYSTEM)])
        if expired:
            await self._image.show_soon(expired, SYSTEM)
        return expired is not None

    async def settle(self, booking: Booking) -> Booking:
        """End an unknown payment: cancelling the intent is the fence behind which nothing moves.

        Captured before the fence: the sale stands. Declined: it may be paid again while there is
        time. Otherwise the booking expires. Raises what the provider raises when it cannot be
        reached; then nothing is released.
        """
        assert booking.intent_id is not None
        outcome = await self._provider.cancel(booking.intent_id)
        if outcome == "captured":
            return await self._captured(SYSTEM, booking)
        if outcome == "declined":
            return await self._declined(SYSTEM, booking) or booking
        entries = [entry_of("payment.cancelled", SYSTEM), entry_of("booking.expired", SYSTEM)]
        expired = await self._bookings.expire_unpaid(booking, entries)
        if expired is None:
            return booking
        await self._image.show_soon(expired, SYSTEM)
        return expired

    async def refund(self, booking: Booking, caller: Caller = SYSTEM) -> Booking:
        """Give the money of a cancelled booking back, once; the reconciler repeats what fails."""
        assert booking.intent_id is not None
        try:
            await self._provider.refund(booking.intent_id, f"refund:{booking.id}")
        except Exception:
            logger.warning("refund of %s goes on later", booking.id, exc_info=True)
            return booking
        entry = entry_of("payment.refunded", caller, amount=booking.amount.as_json())
        return await self._bookings.refunded(booking, [entry]) or booking

    async def _outcome(self, booking: Booking) -> Outcome | None:
        """Return what the provider says, None when it does not say in time."""
        assert booking.intent_id is not None
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                return await self._provider.confirm(booking.intent_id)
        except Exception as error:
            logger.warning("outcome of %s is unknown: %r", booking.intent_id, error)
            return None

    async def _captured(self, caller: Caller, booking: Booking) -> Booking:
        """The money has moved: the sale stands."""
        amount = booking.amount.as_json()
        entries = [
            entry_of("payment.captured", caller, amount=amount),
            entry_of("booking.confirmed", caller, seats=booking.seats),
        ]
        confirmed = await self._bookings.confirm(booking, entries)
        if confirmed is None:  # the reconciler was quicker
            return await self._bookings.get(booking.id) or booking
        await self._image.show_soon(confirmed, caller)
        return confirmed

    async def _declined(self, caller: Caller, booking: Booking) -> Booking | None:
        entry = entry_of("payment.declined", caller, outcome="refused")
        return await self._bookings.decline(booking, [entry])
