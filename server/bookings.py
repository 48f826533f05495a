"""The booking saga: from locked seats to a sale, in an order that survives a crash at any point.

1. `begin_checkout` hands the locked seats to the booking in Redis.
2. The booking is inserted with its claims: from here MongoDB owns the seats.
3. A payment intent is opened, its id stored (pending -> paying), and only then confirmed.
4. Captured: paying -> confirmed. Declined: back to pending. No answer: it stays paying, which is
   told as such, and the reconciler settles it.
5. Redis shows the result.

Whatever is left undone in between is flagged in the booking itself; the reconciler does it.
"""

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from datetime import datetime

from server.booking import Booking, BookingStatus, TimelineEntry, entry_of
from server.booking_image import BookingImage
from server.catalogue import Showtime
from server.errors import (
    BookingState,
    IdempotencyKeyReused,
    InvalidRequest,
    LockExpired,
    NotFound,
    PaymentDeclined,
    ShowtimeClosed,
    StoreUnavailable,
)
from server.models import Caller, from_ms
from server.payments import PaymentImpossible, PaymentProvider
from server.rebuild import Rebuilder
from server.repo.bookings import BookingRepo, SeatsClaimed
from server.repo.claims import ClaimStore
from server.seats import SeatLocks, known_seats
from server.settlement import CONFIRM_SECONDS, Settlement
from server.showtimes import Showtimes

logger = logging.getLogger("rowlock.bookings")

MAX_PAYMENTS = 20
"""How often one booking may be paid for in vain: cards are not to be tried out here."""


class BookingSaga:
    def __init__(
        self,
        bookings: BookingRepo,
        claims: ClaimStore,
        locks: SeatLocks,
        showtimes: Showtimes,
        rebuilder: Rebuilder,
        image: BookingImage,
        settlement: Settlement,
        provider: PaymentProvider,
    ) -> None:
        self._bookings = bookings
        self._claims = claims
        self._locks = locks
        self._showtimes = showtimes
        self._rebuilder = rebuilder
        self._image = image
        self._settlement = settlement
        self._provider = provider

    async def create(
        self, caller: Caller, showtime_id: str, seats: Sequence[str], key: str
    ) -> Booking:
        """Book seats, unpaid; locks them first where the caller has not.

        The booking's id follows from (user, key): a repeat finds the first one. Raises
        UnknownSeats, SeatsUnavailable, SeatLimitReached, ShowtimeClosed, IdempotencyKeyReused.
        """
        showtime = await self._showtimes.get(showtime_id)
        known_seats(showtime.layout, seats)
        booking_id = booking_id_for(caller.user_id, key)
        booking = await self._bookings.get(booking_id)
        if booking:
            return _same(booking, showtime_id, seats)
        if showtime.status == "cancelled":
            raise ShowtimeClosed
        deadline, now = await self._checkout(caller, showtime_id, booking_id, seats)
        booking = Booking(
            id=booking_id,
            showtime_id=showtime_id,
            user_id=caller.user_id,
            seats=list(seats),
            status="pending",
            amount=showtime.price_of(seats),
            prices={seat: showtime.price_of([seat]).minor for seat in seats},
            created_at=from_ms(now),
            expires_at=from_ms(deadline),
            remaining_ms=max(0, deadline - now),
            claims=True,
        )
        try:
            inserted = await self._bookings.insert(booking, entry_of("booking.created", caller))
        except SeatsClaimed:
            raise await self._image.lost_race(booking) from None
        if not inserted:
            return await self.get(caller, booking_id)
        await self._image.show_soon(booking, caller)  # Redis may have been lost since the checkout
        return booking

    async def pay(self, caller: Caller, booking_id: str, method: str, key: str) -> Booking:
        """Pay a pending booking; answers it confirmed, or paying while the outcome is unknown.

        The payment follows from (booking, key, method): a repeat finds what the first one did.
        Raises PaymentDeclined, LockExpired, BookingState, NotFound, InvalidRequest,
        ShowtimeClosed (the house has cancelled it).
        """
        if not self._provider.accepts(method):
            raise InvalidRequest(f"payment_method: {method[:64]!r} is not known")
        booking = await self.get(caller, booking_id)
        payment = payment_key_for(booking_id, key, method)
        if booking.status == "pending":
            if (await self.showtime_of(booking)).status == "cancelled":
                raise ShowtimeClosed
            started = await self._start_payment(caller, booking, payment, method)
            if started:
                return _settled(await self._settlement.confirm(caller, started))
            booking = await self.get(caller, booking_id)
        paid = booking.status == "confirmed" and _payment_of(booking) == payment
        if paid or booking.status == "paying":
            return booking
        raise _not_payable(booking)

    async def get(self, caller: Caller, booking_id: str) -> Booking:
        """Return the caller's booking; raises NotFound, for another's too."""
        booking = await self._bookings.get(booking_id)
        if booking is None or booking.user_id != caller.user_id:
            raise NotFound
        return booking

    async def list(
        self,
        caller: Caller,
        status: BookingStatus | None,
        before: tuple[datetime, str] | None,
        limit: int,
    ) -> list[tuple[Booking, Showtime]]:
        """Return the caller's bookings, newest first, each with its showtime."""
        bookings = await self._bookings.of_user(caller.user_id, status, before, limit)
        return [(booking, await self.showtime_of(booking)) for booking in bookings]

    async def showtime_of(self, booking: Booking) -> Showtime:
        return await self._showtimes.get(booking.showtime_id)

    async def _checkout(
        self, caller: Caller, showtime_id: str, booking_id: str, seats: Sequence[str]
    ) -> tuple[int, int]:
        """Hand the seats to the booking, locking them first when need be; returns deadline, now."""
        for _ in range(3):
            checkout = await self._rebuilder.loaded(
                showtime_id,
                lambda: self._claims.begin_checkout(showtime_id, caller.user_id, booking_id, seats),
            )
            if checkout:
                return checkout
            await self._locks.lock(caller, showtime_id, seats)
        raise LockExpired

    async def _start_payment(
        self, caller: Caller, booking: Booking, payment: str, method: str
    ) -> Booking | None:
        """Open an intent and store it before any money can move; None when it is too late.

        Raises StoreUnavailable when the provider does not answer, PaymentDeclined when it refuses.
        """
        if len(_payments_of(booking)) >= MAX_PAYMENTS:
            raise PaymentDeclined("There were too many attempts to pay for this booking.")
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                intent_id = await self._provider.create_intent(payment, booking.amount, method)
        except PaymentImpossible as error:
            logger.warning("no payment of %s can be opened: %r", booking.id, error)
            entry = entry_of("payment.declined", caller, "refused", payment=payment, method=method)
            await self._bookings.note(booking, [entry])
            raise PaymentDeclined("The payment provider does not take this payment.") from error
        except Exception as error:
            logger.warning("no payment of %s could be opened: %r", booking.id, error)
            raise StoreUnavailable(
                "The payment provider does not answer. Nothing was charged."
            ) from error
        amount = booking.amount.as_json()
        entry = entry_of("payment.started", caller, payment=payment, method=method, amount=amount)
        return await self._bookings.start_payment(booking, intent_id, [entry])


def booking_id_for(user_id: str, key: str) -> str:
    """Return the id of the booking that this user makes under this Idempotency-Key."""
    return "bk_" + hashlib.sha256(f"{user_id}\0{key}".encode()).hexdigest()[:32]


def payment_key_for(booking_id: str, key: str, method: str) -> str:
    """Return what makes a payment one: with another method it is another, not the first again."""
    return f"{booking_id}-" + hashlib.sha256(f"{method}\0{key}".encode()).hexdigest()[:16]


def _payment_of(booking: Booking) -> str | None:
    """Return the key of the last payment that was started."""
    started = _payments_of(booking)
    return started[-1].detail.get("payment") if started else None


def _payments_of(booking: Booking) -> list[TimelineEntry]:
    return [entry for entry in booking.timeline if entry.action == "payment.started"]


def _same(booking: Booking, showtime_id: str, seats: Sequence[str]) -> Booking:
    """Return `booking` if it is what was asked for; raises IdempotencyKeyReused."""
    asked = sorted(booking.seats + booking.cancelled_seats)
    if (booking.showtime_id, asked) != (showtime_id, sorted(seats)):
        raise IdempotencyKeyReused
    return booking


def _settled(booking: Booking) -> Booking:
    """Return a booking that was just paid for, or is about to be; raises BookingState for one that
    somebody has cancelled since."""
    if booking.status in ("paying", "confirmed"):
        return booking
    raise _in_state(booking)


def _in_state(booking: Booking) -> BookingState:
    return BookingState(f"The booking is {booking.status}.", booking_status=booking.status)


def _not_payable(booking: Booking) -> BookingState | LockExpired:
    if booking.status in ("pending", "expired"):
        return LockExpired("The time to pay for these seats is over.")
    return _in_state(booking)
