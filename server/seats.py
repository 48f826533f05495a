"""Locks: what a person may do with seats before booking them."""

from collections.abc import Sequence

from server.catalogue import Layout
from server.errors import UnknownSeats
from server.models import Caller
from server.rebuild import Rebuilder
from server.repo.seat_answers import Lock
from server.repo.seats import SeatStore
from server.showtimes import Showtimes

__all__ = ["Lock", "SeatLocks", "known_seats"]


def known_seats(layout: Layout, seats: Sequence[str]) -> Sequence[str]:
    """Return `seats`; raises UnknownSeats unless all are in the layout."""
    unknown = [seat for seat in seats if seat not in layout.index]
    if unknown:
        raise UnknownSeats(unknown)
    return seats


class SeatLocks:
    """Every method raises NotFound for a showtime that is not, and StoreUnavailable."""

    def __init__(self, store: SeatStore, showtimes: Showtimes, rebuilder: Rebuilder) -> None:
        self._store = store
        self._showtimes = showtimes
        self._rebuilder = rebuilder

    async def lock(self, caller: Caller, showtime_id: str, seats: Sequence[str]) -> Lock:
        """Lock all of `seats` for the caller, or none.

        Raises UnknownSeats, SeatsUnavailable, SeatLimitReached, RateLimited, ShowtimeClosed.
        """
        known_seats(await self._showtimes.layout(showtime_id), seats)
        return await self._rebuilder.loaded(
            showtime_id,
            lambda: self._store.lock(
                showtime_id, caller.user_id, seats, caller.request_id, address=caller.address
            ),
        )

    async def lock_for(
        self, clerk: Caller, customer_id: str, showtime_id: str, seats: Sequence[str]
    ) -> Lock:
        """Lock `seats` for a customer as if they had done it, but by the hand of `clerk`."""
        known_seats(await self._showtimes.layout(showtime_id), seats)
        return await self._rebuilder.loaded(
            showtime_id,
            lambda: self._store.lock(
                showtime_id, customer_id, seats, clerk.request_id, clerk.user_id
            ),
        )

    async def extend(self, caller: Caller, showtime_id: str) -> Lock:
        """Raises LockExpired, ExtensionLimitReached, ShowtimeClosed."""
        await self._showtimes.layout(showtime_id)
        return await self._rebuilder.loaded(
            showtime_id, lambda: self._store.extend(showtime_id, caller.user_id, caller.request_id)
        )

    async def release(
        self, caller: Caller, showtime_id: str, seats: Sequence[str]
    ) -> tuple[list[str], Lock | None]:
        """Release `seats` (none named: all) from the caller's lock; returns those, and the rest."""
        known_seats(await self._showtimes.layout(showtime_id), seats)
        return await self._rebuilder.loaded(
            showtime_id,
            lambda: self._store.release(showtime_id, caller.user_id, seats, caller.request_id),
        )

    async def mine(self, caller: Caller, showtime_id: str) -> Lock | None:
        """Return the caller's live lock."""
        await self._showtimes.layout(showtime_id)
        return await self._rebuilder.loaded(
            showtime_id, lambda: self._store.lock_of(showtime_id, caller.user_id)
        )

    async def all(self, showtime_id: str) -> list[Lock]:
        """Return every live lock, newest first."""
        await self._showtimes.layout(showtime_id)
        locks = await self._rebuilder.loaded(showtime_id, lambda: self._store.locks(showtime_id))
        return sorted(locks, key=lambda lock: lock.id, reverse=True)

    async def revoke(self, caller: Caller, showtime_id: str, seats: Sequence[str]) -> list[str]:
        """Take seats out of other people's locks; returns those that were locked."""
        known_seats(await self._showtimes.layout(showtime_id), seats)
        return await self._rebuilder.loaded(
            showtime_id,
            lambda: self._store.revoke(showtime_id, caller.user_id, seats, caller.request_id),
        )
