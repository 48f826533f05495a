"""Paying for a booking, from the confirmed intent to the sale, the decline or the refund.

The outcome of a payment is what the provider says. Until it has said so nothing is released, and
what it says is written by compare-and-set, so that whoever is late changes nothing. While the
provider does not answer it is asked again and again; a person is told when that does not help.
"""

import asyncio
import logging
from collections.abc import Awaitable
from typing import TypeVar

from server.booking import SYSTEM, Booking, entry_of
from server.booking_image import BookingImage
from server.errors import LockExpired, PaymentDeclined
from server.metrics import Metrics
from server.models import Caller
from server.payments import PaymentImpossible, PaymentProvider
from server.repo.bookings import BookingRepo, Postponed

logger = logging.getLogger("rowlock.bookings")

CONFIRM_SECONDS = 10.0
"""How long a buyer waits for the provider before the outcome counts as unknown."""
ASK_SECONDS = 4.0
"""How long the background work waits for one answer of the provider."""
AGAIN_SECONDS = (1, 2, 4)
"""After how long the provider is asked again; the last one from then on."""
ALERT_AFTER = 5
"""So many questions in vain, and a person is told."""
HOPELESS_SECONDS = 30
_WHAT: dict[Postponed, str] = {"pay_by": "payment", "refund_at": "refund", "seats_at": "seats"}

T = TypeVar("T")


class Settlement:
    def __init__(
        self,
        bookings: BookingRepo,
        image: BookingImage,
        provider: PaymentProvider,
        metrics: Metrics,
    ) -> None:
        self._bookings = bookings
        self._image = image
        self._provider = provider
        self._metrics = metrics

    async def confirm(self, caller: Caller, booking: Booking) -> Booking:
        """Have the money captured: confirmed, or still paying when nobody knows yet.

        Raises PaymentDeclined, LockExpired (the reconciler had ended the payment before).
        """
        intent_id = _intent_of(booking)
        try:
            outcome = await _within(CONFIRM_SECONDS, self._provider.confirm(intent_id))
        except Exception as error:
            self._metrics.payments.labels("unknown").inc()
            logger.warning("outcome of %s is unknown: %r", intent_id, error)
            return booking
        if outcome == "captured":
            return await self._captured(caller, booking)
        if outcome == "cancelled":
            raise LockExpired("The time to pay was over; nothing was charged.")
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
        time. Otherwise the booking expires. No answer: nothing is released, and it is asked later.
        """
        try:
            outcome = await _within(ASK_SECONDS, self._provider.cancel(_intent_of(booking)))
        except Exception as error:
            return await self.later(booking, "pay_by", error)
        if outcome == "captured":
            return await self._captured(SYSTEM, booking)
        if outcome == "declined":
            return await self._declined(SYSTEM, booking) or booking
        entries = [entry_of("payment.cancelled", SYSTEM), entry_of("booking.expired", SYSTEM)]
        expired = await self._bookings.expire_unpaid(booking, entries)
        if expired is None:
            return booking
        self._metrics.payments.labels("cancelled").inc()
        await self._image.show_soon(expired, SYSTEM)
        return expired

    async def hear(self, intent_id: str) -> None:
        """The provider says that there is news of an intent: ask it what stands, and write that.

        Raises what the provider raises when it does not answer.
        """
        booking = await self._bookings.of_intent(intent_id)
        if booking is None or booking.status != "paying":
            return
        outcome = await _within(ASK_SECONDS, self._provider.get(intent_id))
        if outcome == "captured":
            await self._captured(SYSTEM, booking)
        elif outcome == "declined":
            await self._declined(SYSTEM, booking)

    async def refund(self, booking: Booking, caller: Caller = SYSTEM) -> Booking:
        """Give back the money that is due, each sum once; the reconciler repeats what fails."""
        for number in range(len(booking.refunds)):
            if booking.refunds[number].status == "due":
                booking = await self._give_back(booking, number, caller)
        return booking

    async def _give_back(self, booking: Booking, number: int, caller: Caller) -> Booking:
        refund = booking.refunds[number]
        intent_id, amount = _intent_of(booking), refund.amount
        try:
            if amount.minor:  # else the seats were free of charge
                await _within(ASK_SECONDS, self._provider.refund(intent_id, refund.key, amount))
        except Exception as error:
            return await self.later(booking, "refund_at", error)
        entry = entry_of("payment.refunded", caller, amount=amount.as_json())
        refunded = await self._bookings.refunded(booking, number, [entry])
        if refunded is None:  # another copy was quicker
            return await self._bookings.get(booking.id) or booking
        self._metrics.payments.labels("refunded").inc()
        return refunded

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
        self._metrics.payments.labels("captured").inc()
        await self._image.show_soon(confirmed, caller)
        return confirmed

    async def _declined(self, caller: Caller, booking: Booking) -> Booking | None:
        entry = entry_of("payment.declined", caller, outcome="refused")
        declined = await self._bookings.decline(booking, [entry])
        if declined:
            self._metrics.payments.labels("declined").inc()
        return declined

    async def later(self, booking: Booking, deadline: Postponed, error: Exception) -> Booking:
        """Try again later; tell a person when it has been in vain for long, or always will be."""
        hopeless = isinstance(error, PaymentImpossible)
        tries = max(booking.attempts + 1, ALERT_AFTER if hopeless else 0)
        alert = booking.attempts < ALERT_AFTER <= tries
        what = _WHAT[deadline]
        entry = entry_of("system.error", SYSTEM, "error", about=what, error=type(error).__name__)
        wait = AGAIN_SECONDS[min(booking.attempts, len(AGAIN_SECONDS) - 1)]
        postponed = await self._bookings.postpone(
            booking,
            deadline,
            HOPELESS_SECONDS if hopeless else wait,
            tries,
            [entry] if alert else [],
        )
        if postponed is None:
            return booking
        say = logger.error if alert else logger.warning
        say("%s of booking %s goes on later: %r", what, booking.id, error)
        if alert:
            self._metrics.alerts.labels(what).inc()
        return postponed


def _intent_of(booking: Booking) -> str:
    assert booking.intent_id is not None, f"booking {booking.id} was never paid for"
    return booking.intent_id


async def _within(seconds: float, answer: Awaitable[T]) -> T:
    async with asyncio.timeout(seconds):
        return await answer
