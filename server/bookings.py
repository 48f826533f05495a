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
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from server.booking import Booking, BookingStatus, TimelineEntry
from server.catalogue import Showtime
from server.errors import (
    BookingState,
    IdempotencyKeyReused,
    InvalidRequest,
    LockExpired,
    NotFound,
    PaymentDeclined,
    SeatsUnavailable,
    StoreUnavailable,
)
from server.models import Caller, from_ms, to_ms
from server.payments import Outcome, PaymentProvider
from server.rebuild import Rebuilder
from server.repo.bookings import BookingRepo, SeatsClaimed, claim_of
from server.repo.claims import ClaimStore
from server.repo.seat_answers import Claim, SeatsTaken
from server.seats import SeatLocks, known_seats
from server.showtimes import Showtimes

logger = logging.getLogger("rowlock.bookings")

CONFIRM_SECONDS = 10.0
"""How long a buyer waits for the provider before the outcome counts as unknown."""

SYSTEM = Caller(user_id="", request_id="")


class BookingSaga:
    def __init__(
        self,
        bookings: BookingRepo,
        claims: ClaimStore,
        locks: SeatLocks,
        showtimes: Showtimes,
        rebuilder: Rebuilder,
        provider: PaymentProvider,
    ) -> None:
        self._bookings = bookings
        self._claims = claims
        self._locks = locks
        self._showtimes = showtimes
        self._rebuilder = rebuilder
        self._provider = provider

    # -- what a buyer asks for ----------------------------------------------------------------

    async def create(
        self, caller: Caller, showtime_id: str, seats: Sequence[str], key: str
    ) -> Booking:
        """Book seats, unpaid; locks them first where the caller has not.

        The booking's id follows from (user, key): a repeat finds the first one. Raises
        UnknownSeats, SeatsUnavailable, SeatLimitReached, ShowtimeClosed, IdempotencyKeyReused.
        """
        showtime = await self._showtimes.get(showtime_id)
        known_seats(showtime, seats)
        booking_id = booking_id_for(caller.user_id, key)
        booking = await self._bookings.get(booking_id)
        if booking:
            return _same(booking, showtime_id, seats)
        deadline, now = await self._checkout(caller, showtime_id, booking_id, seats)
        booking = Booking(
            id=booking_id,
            showtime_id=showtime_id,
            user_id=caller.user_id,
            seats=list(seats),
            status="pending",
            amount=showtime.price_of(seats),
            created_at=from_ms(now),
            expires_at=from_ms(deadline),
            remaining_ms=max(0, deadline - now),
            claims=True,
        )
        try:
            inserted = await self._bookings.insert(booking, _entry("booking.created", caller))
        except SeatsClaimed:
            raise await self._lost_race(booking) from None
        if not inserted:
            return await self.get(caller, booking_id)
        await self._show_soon(booking, caller)  # Redis may have been lost since the checkout
        return booking

    async def pay(self, caller: Caller, booking_id: str, method: str, key: str) -> Booking:
        """Pay a pending booking; answers it confirmed, or paying while the outcome is unknown.

        The payment follows from (booking, key, method): a repeat finds what the first one did.
        Raises PaymentDeclined, LockExpired, BookingState, NotFound, InvalidRequest.
        """
        if not self._provider.accepts(method):
            raise InvalidRequest(f"payment_method: {method[:64]!r} is not known")
        booking = await self.get(caller, booking_id)
        payment = payment_key_for(booking_id, key, method)
        if booking.status == "pending":
            started = await self._start_payment(caller, booking, payment, method)
            if started:
                return await self._confirm(caller, started)
            booking = await self.get(caller, booking_id)
        paid = booking.status == "confirmed" and _payment_of(booking) == payment
        if paid or booking.status == "paying":
            return booking
        raise _not_payable(booking)

    async def cancel(self, caller: Caller, booking_id: str) -> Booking:
        """Cancel a pending booking, or a confirmed one whose showtime has not begun (refunded).

        Raises BookingState, NotFound.
        """
        booking = await self.get(caller, booking_id)
        if booking.status == "confirmed" and _begun(await self.showtime_of(booking)):
            raise _in_state(booking)
        if booking.status in ("pending", "confirmed"):
            cancelled = await self._bookings.cancel(booking, [_entry("booking.cancelled", caller)])
            if cancelled:
                await self._show_soon(cancelled, caller)
                return await self.refund(cancelled, caller) if cancelled.refund else cancelled
            booking = await self.get(caller, booking_id)
        if booking.status == "cancelled":
            return booking
        raise _in_state(booking)

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

    # -- what time and the reconciler ask for --------------------------------------------------

    async def expire(self, booking: Booking) -> bool:
        """End a pending booking whose time is over; says whether this call did."""
        expired = await self._bookings.expire(booking, [_entry("booking.expired", SYSTEM)])
        if expired:
            await self._show_soon(expired, SYSTEM)
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
        entries = [_entry("payment.cancelled", SYSTEM), _entry("booking.expired", SYSTEM)]
        expired = await self._bookings.expire_unpaid(booking, entries)
        if expired is None:
            return booking
        await self._show_soon(expired, SYSTEM)
        return expired

    async def refund(self, booking: Booking, caller: Caller = SYSTEM) -> Booking:
        """Give the money of a cancelled booking back, once; the reconciler repeats what fails."""
        assert booking.intent_id is not None
        try:
            await self._provider.refund(booking.intent_id, f"refund:{booking.id}")
        except Exception:
            logger.warning("refund of %s goes on later", booking.id, exc_info=True)
            return booking
        entry = _entry("payment.refunded", caller, amount=booking.amount.as_json())
        return await self._bookings.refunded(booking, [entry]) or booking

    async def abandon(self, showtime_id: str, booking_id: str) -> None:
        """Free the seats of a checkout that is past its deadline and never became a booking."""
        await self._rebuilder.loaded(
            showtime_id,
            lambda: self._claims.release(showtime_id, booking_id, [], reason="expired"),
        )

    async def show(self, booking: Booking, caller: Caller = SYSTEM) -> None:
        """Make Redis show the booking as it is. Raises StoreUnavailable, SeatsTaken."""
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
        await self._bookings.seats_shown(booking)

    # -- inside -------------------------------------------------------------------------------

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

    async def _lost_race(self, booking: Booking) -> SeatsUnavailable:
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

    async def _start_payment(
        self, caller: Caller, booking: Booking, payment: str, method: str
    ) -> Booking | None:
        """Open an intent and store it before any money can move; None when it is too late."""
        intent_id = await self._provider.create_intent(payment, booking.amount, method)
        amount = booking.amount.as_json()
        entry = _entry("payment.started", caller, payment=payment, method=method, amount=amount)
        return await self._bookings.start_payment(booking, intent_id, [entry])

    async def _confirm(self, caller: Caller, booking: Booking) -> Booking:
        outcome = await self._outcome(booking)
        if outcome is None:
            return booking
        if outcome == "captured":
            return await self._captured(caller, booking)
        await self._declined(caller, booking)
        raise PaymentDeclined

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
            _entry("payment.captured", caller, amount=amount),
            _entry("booking.confirmed", caller, seats=booking.seats),
        ]
        confirmed = await self._bookings.confirm(booking, entries)
        if confirmed is None:  # the reconciler was quicker
            return await self._bookings.get(booking.id) or booking
        await self._show_soon(confirmed, caller)
        return confirmed

    async def _declined(self, caller: Caller, booking: Booking) -> Booking | None:
        entry = _entry("payment.declined", caller, outcome="refused")
        return await self._bookings.decline(booking, [entry])

    async def _show_soon(self, booking: Booking, caller: Caller) -> None:
        """Show it now if Redis can; `seats_due` keeps it due until it is shown."""
        try:
            await self.show(booking, caller)
        except (StoreUnavailable, SeatsTaken) as error:
            logger.warning("seats of %s are shown later: %r", booking.id, error)


def booking_id_for(user_id: str, key: str) -> str:
    """Return the id of the booking that this user makes under this Idempotency-Key."""
    return "bk_" + hashlib.sha256(f"{user_id}\0{key}".encode()).hexdigest()[:32]


def payment_key_for(booking_id: str, key: str, method: str) -> str:
    """Return what makes a payment one: with another method it is another, not the first again."""
    return f"{booking_id}-" + hashlib.sha256(f"{method}\0{key}".encode()).hexdigest()[:16]


def _payment_of(booking: Booking) -> str | None:
    """Return the key of the last payment that was started."""
    started = [entry for entry in booking.timeline if entry.action == "payment.started"]
    return started[-1].detail.get("payment") if started else None


def _same(booking: Booking, showtime_id: str, seats: Sequence[str]) -> Booking:
    """Return `booking` if it is what was asked for; raises IdempotencyKeyReused."""
    if (booking.showtime_id, booking.seats) != (showtime_id, list(seats)):
        raise IdempotencyKeyReused
    return booking


def _refusal(seat: str, claim: Claim, now: datetime) -> dict[str, Any]:
    if claim.booked:
        return {"seat": seat, "state": "booked"}
    remaining = max(0, claim.expires_at - to_ms(now))
    return {"seat": seat, "state": "locked", "retry_in_ms": remaining}


def _entry(action: str, caller: Caller, outcome: str = "ok", **detail: object) -> TimelineEntry:
    return TimelineEntry(
        action=action,
        outcome=outcome,
        actor_id=caller.user_id or None,
        request_id=caller.request_id,
        detail=detail,
    )


def _begun(showtime: Showtime) -> bool:
    return showtime.closes_at <= datetime.now(UTC)


def _in_state(booking: Booking) -> BookingState:
    return BookingState(f"The booking is {booking.status}.", booking_status=booking.status)


def _not_payable(booking: Booking) -> BookingState | LockExpired:
    if booking.status in ("pending", "expired"):
        return LockExpired("The time to pay for these seats is over.")
    return _in_state(booking)
