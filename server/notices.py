"""What people are to be told: taken over from the bookings, and seen for oneself.

A booking flags what its buyer is to be told in the update that makes it so. From there it becomes
a row of `notifications` before the flag is taken down, so that nothing is lost in between, and the
row's id makes it one, however often it is taken over. Any number of copies may run.
"""

import logging

from cachetools import LRUCache

from server.booking import Booking
from server.catalogue import Showtime
from server.errors import NotFound
from server.repo.bookings import BookingRepo
from server.repo.notifications import NotificationRepo
from server.repo.outbox import AuditRecord, Outbox
from server.repo.users import Users
from server.showtimes import Showtimes

logger = logging.getLogger("rowlock.notices")

ALMOST_SOLD_OUT = "almost-sold-out"

_BATCH = 100
_REMEMBERED = 4096


class Notices:
    def __init__(
        self,
        notifications: NotificationRepo,
        bookings: BookingRepo,
        showtimes: Showtimes,
        users: Users,
        outbox: Outbox,
        percent: int,
    ) -> None:
        """From `percent` of the seats for sale on a showtime counts as almost sold out."""
        self._notifications = notifications
        self._bookings = bookings
        self._showtimes = showtimes
        self._users = users
        self._outbox = outbox
        self._percent = percent
        self._told: LRUCache[str, bool] = LRUCache(_REMEMBERED)

    async def run_once(self) -> int:
        """Take over what bookings have flagged; returns how many notices that were."""
        due = await self._bookings.notices_due(_BATCH)
        sold = {booking.showtime_id for booking in due if "confirmed" in booking.notices}
        for showtime_id in sorted(sold - self._told.keys()):
            await self._watch(showtime_id)
        return sum([await self._take(booking) for booking in due])

    async def _take(self, booking: Booking) -> int:
        for notice in booking.notices:
            await self._notifications.add(booking.id, notice)
            await self._bookings.noticed(booking.id, notice)
        return len(booking.notices)

    async def _watch(self, showtime_id: str) -> None:
        """Tell the administrators, once, that a showtime is almost sold out."""
        if await self._notifications.knows(showtime_id, ALMOST_SOLD_OUT):
            self._told[showtime_id] = True
            return
        try:
            showtime = await self._showtimes.get(showtime_id)
        except NotFound:
            logger.warning("showtime %s has bookings and is not there", showtime_id)
            return
        booked, for_sale = await taken(self._bookings, showtime)
        if for_sale and booked * 100 >= for_sale * self._percent:
            await self._tell(showtime_id, booked, for_sale)

    async def _tell(self, showtime_id: str, booked: int, for_sale: int) -> None:
        """The row under the showtime's own id comes last: before it, everything is repeated."""
        record = AuditRecord(
            action="admin.alerted",
            outcome="ok",
            target={"showtime_id": showtime_id},
            detail={"about": ALMOST_SOLD_OUT, "booked": booked, "for_sale": for_sale},
        )
        await self._outbox.add(record, f"{showtime_id}-{ALMOST_SOLD_OUT}")
        for admin in await self._users.administrators():
            await self._notifications.add(showtime_id, f"{ALMOST_SOLD_OUT}:{admin.id}")
        await self._notifications.record(showtime_id, ALMOST_SOLD_OUT)
        self._told[showtime_id] = True


async def taken(bookings: BookingRepo, showtime: Showtime) -> tuple[int, int]:
    """Return how many seats of a showtime are booked, and how many are for sale at all."""
    claims = await bookings.claims(showtime.id)
    booked = sum(len(claim.seats) for claim in claims if claim.booked)
    return booked, len(showtime.layout.seat_ids) - len(showtime.blocked)
