"""What to write about a notice: finds the people and things that it is about."""

from server.booking import Booking
from server.letters import Letters
from server.mail import Mail, MailRefused
from server.notices import ALMOST_SOLD_OUT, taken
from server.repo.bookings import BookingRepo
from server.repo.notifications import Notification
from server.repo.users import User, Users
from server.showtimes import Showtimes


class Correspondence:
    """Finds what a notice is about, and has the letter written."""

    def __init__(
        self, letters: Letters, bookings: BookingRepo, showtimes: Showtimes, users: Users
    ) -> None:
        self._letters = letters
        self._bookings = bookings
        self._showtimes = showtimes
        self._users = users

    async def mail_for(self, notification: Notification) -> Mail | None:
        """Return the mail; None when there is nothing to be told any more. Raises MailRefused."""
        kind, _, rest = notification.notice.partition(":")
        if kind == ALMOST_SOLD_OUT:
            return await self._almost_sold_out(notification, rest)
        booking = await self._bookings.get(notification.about)
        if booking is None:
            return None
        to = await self._users.get(booking.user_id)
        if to is None:
            raise MailRefused("no such user")
        return await self._to_buyer(notification, booking, to)

    async def _to_buyer(
        self, notification: Notification, booking: Booking, to: User
    ) -> Mail | None:
        showtime = await self._showtimes.get(booking.showtime_id)
        if notification.notice == "confirmed":
            if booking.status != "confirmed":  # cancelled meanwhile: the refund has its own letter
                return None
            return await self._letters.ticket(notification.id, to, booking, showtime)
        refund = booking.refunds[int(notification.notice.removeprefix("refund-"))]
        return await self._letters.refund(notification.id, to, booking, showtime, refund)

    async def _almost_sold_out(self, notification: Notification, user_id: str) -> Mail | None:
        to = await self._users.get(user_id)
        if to is None or to.role != "ADMIN":
            return None
        showtime = await self._showtimes.get(notification.about)
        booked, for_sale = await taken(self._bookings, showtime)
        return await self._letters.almost_sold_out(notification.id, to, showtime, booked, for_sale)
