"""The letters that people get: their words (templates), their tickets, their headers.

Whatever people chose themselves, names above all, is escaped in HTML and put on one line in
headers, so that it can be neither markup nor another header.
"""

import asyncio
import unicodedata
from datetime import datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import localtime, parseaddr
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from server.booking import Booking, Refund
from server.catalogue import Showtime
from server.etickets import TicketCodes, qr_png
from server.mail import Mail, MailRefused
from server.models import Money
from server.repo.users import User
from server.ticket_calendar import calendar_of

TEMPLATES = Path(__file__).parent / "templates"

NOBODY = "Rowlock <tickets@rowlock.example>"
"""The sender where none is set: of mails that go nowhere but into development's files."""

_MINOR_DIGITS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"), 0),
    **dict.fromkeys(("RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}
"""ISO 4217: how many digits the minor unit of a currency has, where it is not two."""


class Letters:
    def __init__(self, codes: TicketCodes, sender: str, origin: str) -> None:
        """`sender` is what stands behind From, `origin` where browsers reach Rowlock."""
        self._codes = codes
        self._sender = sender or NOBODY
        self._domain = parseaddr(self._sender)[1].rpartition("@")[2]
        self._origin = origin
        self._templates = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )

    async def ticket(self, notice_id: str, to: User, booking: Booking, showtime: Showtime) -> Mail:
        """The e-ticket: QR inline, calendar entry attached."""
        return await asyncio.to_thread(self._ticket, notice_id, to, booking, showtime)

    async def refund(
        self, notice_id: str, to: User, booking: Booking, showtime: Showtime, refund: Refund
    ) -> Mail:
        """Money was given back: for some seats, for all, or because the showtime will not be."""
        facts = _facts(showtime) | {
            "seats": refund.seats,
            "whole": booking.status == "cancelled" and refund == booking.refunds[-1],
            "kept": booking.seats if booking.status == "confirmed" else [],
            "amount": amount_of(refund.amount),
            "reason": refund.reason,
            "booking": booking.id,
        }
        subject = f"Refund of {facts['amount']}: {showtime.movie.title}"
        return await asyncio.to_thread(self._plain, notice_id, to, subject, "refund", facts)

    async def almost_sold_out(
        self, notice_id: str, to: User, showtime: Showtime, booked: int, for_sale: int
    ) -> Mail:
        """For administrators: a hall that is nearly full."""
        facts = _facts(showtime) | {
            "booked": booked,
            "for_sale": for_sale,
            "link": f"{self._origin}/showtimes/{showtime.id}",
        }
        subject = f"Almost sold out: {showtime.movie.title}, {facts['when']}"
        name = "almost_sold_out"
        return await asyncio.to_thread(self._plain, notice_id, to, subject, name, facts)

    def _ticket(self, notice_id: str, to: User, booking: Booking, showtime: Showtime) -> Mail:
        code = self._codes.code_of(booking.id)
        facts = _facts(showtime) | {
            "seats": booking.seats,
            "amount": amount_of(booking.amount),
            "code": code,
            "booking": booking.id,
        }
        subject = f"Your ticket: {showtime.movie.title}, {facts['when']}"
        mail = self._plain(notice_id, to, subject, "ticket", facts)
        html = mail.message.get_body(("html",))
        assert html is not None
        html.add_related(
            qr_png(code), "image", "png", cid="<qr>", disposition="inline", filename="ticket.png"
        )
        mail.message.add_attachment(
            calendar_of(booking, showtime, self._origin),
            subtype="calendar",
            filename="showtime.ics",
            params={"method": "PUBLISH"},
        )
        return mail

    def _plain(
        self, notice_id: str, to: User, subject: str, template: str, facts: dict[str, Any]
    ) -> Mail:
        """A message of two parts that say the same; raises MailRefused for a bad address."""
        name = notice_id.replace(":", ".")
        known = facts | {"name": one_line(to.name), "home": self._origin, "title": subject}
        message = EmailMessage(policy=SMTP)
        message["From"] = self._sender
        message["To"] = _mailbox(to)
        message["Subject"] = one_line(subject)
        message["Date"] = localtime()
        message["Message-ID"] = f"<{name}@{self._domain}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no "out of office", please
        message.set_content(self._templates.get_template(f"{template}.txt").render(known))
        html = self._templates.get_template(f"{template}.html").render(known)
        message.add_alternative(html, subtype="html")
        return Mail(name, to.id, to.email, message)


def amount_of(money: Money) -> str:
    """Return "EUR 12.50"; each currency has its own number of minor digits."""
    digits = _MINOR_DIGITS.get(money.currency, 2)
    whole, minor = divmod(money.minor, 10**digits)
    return f"{money.currency} {whole}" + (f".{minor:0{digits}d}" if digits else "")


def one_line(text: str) -> str:
    """Return `text` without line breaks and other control characters."""
    kept = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text)
    return " ".join(kept.split())


def when_of(showtime: Showtime) -> str:
    """Return "Friday 21 November 2026, 20:15" by the clock on the cinema's wall."""
    local: datetime = showtime.starts_at.astimezone(ZoneInfo(showtime.cinema.time_zone))
    return f"{local:%A} {local.day} {local:%B %Y}, {local:%H:%M}"


def _facts(showtime: Showtime) -> dict[str, Any]:
    cinema = showtime.cinema
    return {
        "movie": one_line(showtime.movie.title),
        "when": when_of(showtime),
        "zone": cinema.time_zone,
        "cinema": one_line(cinema.name),
        "address": one_line(f"{cinema.address}, {cinema.city}"),
        "auditorium": one_line(showtime.auditorium.name),
    }


def _mailbox(to: User) -> Address:
    try:
        return Address(display_name=one_line(to.name), addr_spec=to.email)
    except (MessageError, ValueError, IndexError) as error:  # the parser has many ways to say no
        raise MailRefused(f"not an address: {type(error).__name__}") from None
