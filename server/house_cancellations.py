"""The house cancels a showtime: it closes, every booking is cancelled and refunded, all are told.

The order is kept in the showtime itself, so that any process can go on where another one died:
1. MongoDB says that the showtime is cancelled, and by whom.
2. The act goes to the audit log, once however often this is repeated.
3. Redis closes the sale and takes the locks back.
4. Bookings are cancelled one by one, and every seat that has become free is blocked. A booking that
   slipped through the closing door, or whose payment was under way, is found by a later round.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from server.cancellations import Cancellations
from server.errors import BookingState, NotFound, StoreUnavailable
from server.events import BLOCKED
from server.models import Caller
from server.rebuild import Rebuilder
from server.repo.bookings import BookingRepo
from server.repo.outbox import AuditRecord, Outbox
from server.repo.seats import SeatStore
from server.repo.showtimes import HouseCancellation, ShowtimeRepo
from server.showtimes import Showtimes

logger = logging.getLogger("rowlock.house")

_BATCH = 100
_SEATS = 500
"""So many seats a script: a change set stays small."""

SeatAct = Callable[[str, str, Sequence[str], str], Awaitable[list[str]]]
"""Does something to seats: showtime, who, which, in which request."""


class HouseCancellations:
    def __init__(
        self,
        orders: ShowtimeRepo,
        showtimes: Showtimes,
        bookings: BookingRepo,
        seats: SeatStore,
        rebuilder: Rebuilder,
        cancellations: Cancellations,
        outbox: Outbox,
    ) -> None:
        self._orders = orders
        self._showtimes = showtimes
        self._bookings = bookings
        self._seats = seats
        self._rebuilder = rebuilder
        self._cancellations = cancellations
        self._outbox = outbox

    async def order(self, caller: Caller, showtime_id: str, why: str = "") -> int:
        """Cancel a showtime for good; returns how many bookings are still to be cancelled.

        The sale is closed when this returns; the background work cancels the bookings, and a
        repeat tells how far that has come. Raises NotFound, StoreUnavailable.
        """
        wanted = HouseCancellation(showtime_id, caller.user_id, caller.request_id, why)
        stands = await self._orders.cancel(wanted)
        if stands is None:
            raise NotFound
        await self._showtimes.fresh(showtime_id)
        await self._record(stands)
        await self._close(stands)
        return await self._bookings.count_claiming(showtime_id)

    async def run_once(self) -> None:
        """Bring every cancellation one round on; raises when a store does not answer."""
        for ordered in await self._orders.house_cancellations():
            try:
                await self._round(ordered)
            except StoreUnavailable:
                raise
            except Exception:  # the other showtimes do not wait for this one
                logger.exception("showtime %s could not be cancelled", ordered.showtime_id)

    async def _round(self, ordered: HouseCancellation) -> None:
        standing = await self._bookings.count_claiming(ordered.showtime_id)
        if not ordered.due and not standing:
            return
        await self._record(ordered)
        await self._close(ordered)
        await self._cancel_bookings(ordered)
        if await self._block(ordered) and not standing:
            await self._orders.cancelled_whole(ordered.showtime_id)

    async def _record(self, ordered: HouseCancellation) -> None:
        if ordered.recorded:
            return
        record = AuditRecord(
            "admin.showtime_cancelled",
            "ok",
            actor=ordered.actor_id,
            target={"showtime_id": ordered.showtime_id},
            detail={"why": ordered.why} if ordered.why else {},
            request_id=ordered.request_id,
        )
        await self._outbox.add(record, f"cancelled-{ordered.showtime_id}")
        await self._orders.recorded(ordered.showtime_id)

    async def _close(self, ordered: HouseCancellation) -> None:
        """End the sale, then take all locks back, lapsed ones too: none can follow."""
        showtime_id = ordered.showtime_id
        await self._rebuilder.loaded(showtime_id, lambda: self._seats.close(showtime_id))
        await self._for_all_seats(ordered, self._seats.revoke)

    async def _cancel_bookings(self, ordered: HouseCancellation) -> None:
        caller = Caller(ordered.actor_id, ordered.request_id)
        for booking in await self._bookings.standing(ordered.showtime_id, _BATCH):
            try:
                await self._cancellations.by_house(caller, booking)
            except BookingState:
                continue  # being paid just now: a later round finds how that ended

    async def _block(self, ordered: HouseCancellation) -> bool:
        """Block what is free; says whether that is every seat by now."""
        showtime_id = ordered.showtime_id
        await self._for_all_seats(ordered, self._seats.block)
        states = await self._rebuilder.loaded(showtime_id, lambda: self._seats.read(showtime_id))
        assert states is not None
        seats = (await self._showtimes.get(showtime_id)).layout.seat_ids
        return all(states.taken.get(seat) == BLOCKED for seat in seats)

    async def _for_all_seats(self, ordered: HouseCancellation, act: SeatAct) -> None:
        """Run a script of the seat store over the whole hall, in the name of the house."""
        showtime = await self._showtimes.get(ordered.showtime_id)
        seats = showtime.layout.seat_ids
        for first in range(0, len(seats), _SEATS):
            some = seats[first : first + _SEATS]
            call = partial(act, showtime.id, ordered.actor_id, some, ordered.request_id)
            await self._rebuilder.loaded(showtime.id, call)
