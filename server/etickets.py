"""E-tickets: the code that proves a booking at the door, its QR, the entry for a calendar.

A code is `RL1.<booking>.<signature>`. The signature is an HMAC-SHA256 of what stands before it,
cut to 128 bits, under a key that follows from JWT_SECRET (and is another one, so that neither can
stand in for the other). It speaks for the booking, whatever became of it: seats that were given
back and cancellations are looked up when it is checked.
"""

import hmac
import io
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from typing import Literal

import segno

from server.booking import Booking
from server.catalogue import Showtime
from server.errors import BookingState, NotFound
from server.models import Caller
from server.repo.bookings import BookingRepo
from server.showtimes import Showtimes
from server.ticket_calendar import calendar_of

_CODE = re.compile(r"(RL1\.([A-Za-z0-9_-]{1,64}))\.([A-Za-z0-9_-]{22})", re.ASCII)
_SIGNATURE_BYTES = 16

Refusal = Literal["malformed", "forged", "unknown", "not_confirmed"]


class TicketCodes:
    """Signs and reads codes."""

    def __init__(self, secret: str, *previous: str) -> None:
        """What was signed under one of the `previous` secrets is good as well."""
        secrets = (secret, *previous)
        self._keys = [hmac.digest(each.encode(), b"rowlock e-ticket", "sha256") for each in secrets]

    def code_of(self, booking_id: str) -> str:
        signed = f"RL1.{booking_id}"
        return f"{signed}.{_signature(self._keys[0], signed)}"

    def booking_in(self, code: str) -> str:
        """Return the id of the booking; raises ValueError ("malformed" or "forged")."""
        parts = _CODE.fullmatch(code)
        if parts is None:
            raise ValueError("malformed")
        signed, booking_id, signature = parts.groups()
        if not any(hmac.compare_digest(signature, _signature(key, signed)) for key in self._keys):
            raise ValueError("forged")
        return booking_id


def _signature(key: bytes, signed: str) -> str:
    digest = hmac.digest(key, signed.encode(), "sha256")[:_SIGNATURE_BYTES]
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def qr_svg(code: str) -> bytes:
    """Draw a code, dark on light with its quiet zone, as an SVG that fits any size."""
    out = io.BytesIO()
    segno.make_qr(code).save(out, kind="svg", light="#fff", xmldecl=False, omitsize=True)
    return out.getvalue()


def qr_png(code: str) -> bytes:
    """The same as a PNG, about 330 pixels wide, for mail programs."""
    out = io.BytesIO()
    segno.make_qr(code).save(out, kind="png", scale=8)
    return out.getvalue()


@dataclass(frozen=True, slots=True)
class Checked:
    """What a code turned out to be: a ticket to be let in with when `refusal` is None.

    `booking` and `showtime` are known whenever the code is one of ours.
    """

    refusal: Refusal | None
    booking: Booking | None = None
    showtime: Showtime | None = None


class Etickets:
    def __init__(
        self, bookings: BookingRepo, showtimes: Showtimes, codes: TicketCodes, origin: str
    ) -> None:
        """`origin` is where browsers reach Rowlock."""
        self._bookings = bookings
        self._showtimes = showtimes
        self._codes = codes
        self._origin = origin

    async def qr(self, caller: Caller, booking_id: str) -> bytes:
        """Return the ticket's QR as SVG; raises NotFound (another's too), BookingState."""
        return qr_svg(self._codes.code_of((await self._confirmed(caller, booking_id)).id))

    async def calendar(self, caller: Caller, booking_id: str) -> str:
        """Return the showtime as iCalendar; raises NotFound (another's too), BookingState."""
        booking = await self._confirmed(caller, booking_id)
        return calendar_of(booking, await self._showtimes.get(booking.showtime_id), self._origin)

    async def check(self, code: str) -> Checked:
        """Say what a code stands for now."""
        try:
            booking_id = self._codes.booking_in(code)
        except ValueError as error:
            return Checked("malformed" if str(error) == "malformed" else "forged")
        booking = await self._bookings.get(booking_id)
        if booking is None:
            return Checked("unknown")
        showtime = await self._showtimes.get(booking.showtime_id)
        refusal: Refusal | None = None if booking.status == "confirmed" else "not_confirmed"
        return Checked(refusal, booking, showtime)

    async def _confirmed(self, caller: Caller, booking_id: str) -> Booking:
        booking = await self._bookings.get(booking_id)
        if booking is None or booking.user_id != caller.user_id:
            raise NotFound
        if booking.status != "confirmed":
            raise BookingState(f"The booking is {booking.status}.", booking_status=booking.status)
        return booking
