"""`rowlock check`: do the stores keep the promises? Every broken one is said in a line.

The stores are read one after the other while work goes on, so what looks broken is looked at again
a little later and counts only if it is still so.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

from server.repo.audit_logs import GENESIS, AuditLogRepo, digest
from server.repo.bookings import BookingRepo
from server.repo.claims import ClaimStore
from server.repo.demo_payments import DemoPaymentRepo
from server.repo.seat_answers import ShowtimeNotLoaded
from server.repo.showtimes import ShowtimeRepo

SECOND_LOOK_SECONDS = 3.0


class InvariantCheck:
    def __init__(
        self,
        showtimes: ShowtimeRepo,
        bookings: BookingRepo,
        claims: ClaimStore,
        logs: AuditLogRepo,
        ledger: DemoPaymentRepo | None,
    ) -> None:
        self._showtimes = showtimes
        self._bookings = bookings
        self._claims = claims
        self._logs = logs
        self._ledger = ledger

    async def run(self) -> list[str]:
        """Return every violation that was there twice."""
        first = [violation async for violation in self._look()]
        if not first:
            return []
        await asyncio.sleep(SECOND_LOOK_SECONDS)
        again = {violation async for violation in self._look()}
        return [violation for violation in first if violation in again]

    async def _look(self) -> AsyncIterator[str]:
        for look in (self._seats, self._bookings_whole, self._money, self._audit):
            async for violation in look():
                yield violation

    async def _seats(self) -> AsyncIterator[str]:
        """Each claimed seat has one owner, in MongoDB and in Redis the same."""
        for showtime_id in await self._showtimes.ids():
            claims = await self._bookings.claims(showtime_id)
            owners = Counter(seat for claim in claims for seat in claim.seats)
            for seat, count in owners.items():
                if count > 1:
                    yield f"{showtime_id} {seat}: claimed by {count} bookings"
            try:
                shown = await self._claims.shown(showtime_id)
            except ShowtimeNotLoaded:
                continue
            expected = {
                seat: (claim.booking_id, claim.booked) for claim in claims for seat in claim.seats
            }
            begun = {seat for seat, (_, booked) in shown.items() if not booked} - expected.keys()
            for seat in sorted((expected.keys() | shown.keys()) - begun):  # checkouts under way
                if expected.get(seat) != shown.get(seat):
                    yield (
                        f"{showtime_id} {seat}: MongoDB says {_said(expected.get(seat))}, "
                        f"Redis says {_said(shown.get(seat))}"
                    )

    async def _bookings_whole(self) -> AsyncIterator[str]:
        """A booking that is alive claims exactly its seats, one that has ended claims none."""
        async for booking_id in self._bookings.with_wrong_claims():
            yield f"booking {booking_id}: its claims do not fit its status"

    async def _money(self) -> AsyncIterator[str]:
        """Captured minus refunded is the sum of the confirmed bookings, per currency.

        What is due to be given back is still kept. Only a ledger that can be read can be checked.
        """
        if self._ledger is None:
            return
        under_way = await self._bookings.intents_under_way()
        sold, due = await self._bookings.sold(), await self._bookings.to_give_back()
        kept = await self._ledger.kept(but=under_way)
        for currency in sorted(sold.keys() | due.keys() | kept.keys()):
            if sold[currency] + due[currency] != kept[currency]:
                owed = f" and {due[currency]} to be given back" if due[currency] else ""
                yield (
                    f"{currency}: {sold[currency]} sold{owed}, {kept[currency]} kept by the "
                    "provider"
                )

    async def _audit(self) -> AsyncIterator[str]:
        """The chain has no hole and no entry was changed, and it has its end."""
        number, previous = 0, GENESIS
        anchor, anchored_hash = await self._logs.anchor()
        async for row in self._logs.chain():
            number += 1
            if row["n"] != number:
                yield f"audit: entry {number} is missing"
                number = row["n"]
            elif row["previous"] != previous:
                yield f"audit: entry {number} ({row['_id']}) does not follow the one before it"
            if number == anchor and row["hash"] != anchored_hash:
                yield f"audit: entry {number} ({row['_id']}) is not the one that was written"
            if digest(row) != row["hash"]:
                yield f"audit: entry {number} ({row['_id']}) was changed"
            previous = row["hash"]
        if number < anchor:
            yield f"audit: the entries after {number} are missing, up to {anchor}"


def _said(owner: tuple[str, bool] | None) -> str:
    if owner is None:
        return "nobody's"
    booking_id, booked = owner
    return f"{'booked' if booked else 'claimed'} by {booking_id}"
