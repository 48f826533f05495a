"""The rules of seats that belong to bookings: the twin of `server.repo.claims.ClaimStore`, in
memory; and of the log that all changes are written to.

Same methods, answers and errors; no method awaits anything. MongoDB is the judge of bookings: what
comes here is news of its verdicts, which may be repeated and may be late.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from server.errors import LockExpired, ShowtimeClosed
from server.models import to_ms
from server.repo.keys import partition_of
from server.repo.seat_answers import Claim, SeatsTaken
from server.repo.seat_log import LogEntry
from tests.seat_model_state import (
    BLOCKED,
    BOOKED,
    CLAIMED,
    LOCKED,
    Checkout,
    Happened,
    Remembered,
    SeatState,
    Showtime,
)

ENDED_KEPT_MS = 3_600_000
"""So long it is remembered what ended of a booking: late news must not take those seats again."""
RIGHT_MS = 10_000
"""So long the right to rebuild holds."""
_ALL = "*"


class ModelClaimStore:
    def __init__(self, state: SeatState) -> None:
        self._state = state

    async def begin_checkout(
        self, showtime_id: str, user_id: str, booking_id: str, seats: Sequence[str]
    ) -> tuple[int, int] | None:
        """All from the user's live lock or none. They keep the lock's deadline and look locked.

        The same booking with the same seats again is the same, while there is time. After it, the
        lock has ended: LockExpired.
        """
        showtime, now = self._state.loaded(showtime_id), self._state.now()
        if now >= showtime.closes_at:
            raise ShowtimeClosed
        if begun := showtime.checkouts.get(booking_id):
            if begun.seats != list(seats):
                return None
            if begun.deadline <= now:
                raise LockExpired
            return begun.deadline, now
        lock = showtime.locks.get(user_id)
        if lock is None or lock.deadline <= now or not set(seats) <= set(lock.seats):
            return None
        self._state.stored.ended.pop((partition_of(showtime_id), booking_id), None)
        self._open_checkout(showtime, booking_id, Checkout(user_id, lock.deadline, list(seats)))
        showtime.mark(seats, f"{CLAIMED}:{booking_id}")
        self._state.take_out(showtime, lock, seats)
        return lock.deadline, now

    async def claim(self, showtime_id: str, claim: Claim, request_id: str = "") -> None:
        """A seat that is free, blocked or in somebody's lock goes to the booking; if another
        booking has one of them, none does. Nothing is said of seats that leave a lock: on the map
        they stay taken.
        """
        showtime = self._state.loaded(showtime_id)
        if claim.booked:
            self._book(showtime, claim, request_id)
        else:
            self._claim(showtime, claim, request_id)

    def _claim(self, showtime: Showtime, claim: Claim, request_id: str) -> None:
        """Late when anything of the booking has ended: then nothing changes. A booking that is
        booked already stays so."""
        if self._state.ended(showtime.id, claim.booking_id):
            return
        seats = self._take(showtime, claim, claim.seats)
        if not seats:
            return
        showtime.mark(seats, f"{CLAIMED}:{claim.booking_id}")
        checkout = Checkout(claim.user_id, claim.expires_at, list(claim.seats))
        self._open_checkout(showtime, claim.booking_id, checkout)
        event = Happened(
            "seat.locked",
            seats,
            expires_at=claim.expires_at,
            owner=claim.user_id,
            booking=claim.booking_id,
        )
        self._state.announce(showtime, [event], request_id)

    def _book(self, showtime: Showtime, claim: Claim, request_id: str) -> None:
        """Late when the booking was cancelled, and for each seat that was given back. That it
        expired says nothing: MongoDB confirmed it. What is booked counts towards no cap, and the
        time that its seats were held before is set aside.
        """
        ended = self._state.ended(showtime.id, claim.booking_id)
        if ended.get(_ALL) == "cancelled":
            return
        booked = f"{BOOKED}:{claim.booking_id}"
        unsold = [s for s in claim.seats if showtime.seats.get(s) != booked and s not in ended]
        self._take(showtime, claim, unsold)
        begun = showtime.checkouts.get(claim.booking_id)
        self._close_checkout(showtime, claim.booking_id)
        if not unsold:
            return
        if begun:
            self._set_aside(showtime, claim, min(begun.deadline, self._state.now()))
        showtime.mark(unsold, booked)
        event = Happened(
            "seat.booked",
            unsold,
            actor=claim.user_id,
            owner=claim.user_id,
            booking=claim.booking_id,
        )
        self._state.announce(showtime, [event], request_id)

    async def release(
        self,
        showtime_id: str,
        booking_id: str,
        seats: Sequence[str],
        *,
        reason: str,
        actor_id: str = "",
        request_id: str = "",
    ) -> list[str]:
        """Only seats that still carry this booking's id. None named: those of its checkout, unless
        it has time left, then nothing changes. From now on the booking has ended; the time of the
        seats in its checkout was spent for nothing.
        """
        showtime = self._state.loaded(showtime_id)
        begun = showtime.checkouts.get(booking_id)
        if not seats and begun and begun.deadline > self._state.now():
            return []
        self._end(showtime_id, booking_id, [_ALL], reason)
        self._close_checkout(showtime, booking_id)
        if begun:
            self._state.spend(showtime, begun.user, min(begun.deadline, self._state.now()))
        freed = showtime.of_booking(booking_id, seats or (begun.seats if begun else []))
        self._count_after_all(showtime, booking_id, freed, actor_id)
        self._free(showtime, booking_id, freed, reason, actor_id, request_id)
        return freed

    async def give_back(
        self,
        showtime_id: str,
        booking_id: str,
        seats: Sequence[str],
        *,
        actor_id: str = "",
        request_id: str = "",
    ) -> list[str]:
        """Only seats that still carry this booking's id; of all of them it is remembered."""
        showtime = self._state.loaded(showtime_id)
        self._end(showtime_id, booking_id, seats, "cancelled")
        freed = showtime.of_booking(booking_id, seats)
        self._count_after_all(showtime, booking_id, freed, actor_id)
        self._free(showtime, booking_id, freed, "cancelled", actor_id, request_id)
        return freed

    async def due_checkouts(self, partition: int, limit: int) -> list[tuple[str, str]]:
        """Checkouts past their deadline, oldest first."""
        return self._state.due(self._state.checkouts(partition), limit)

    async def shown(self, showtime_id: str) -> dict[str, tuple[str, bool]]:
        """Every seat of a booking, and whether it is booked."""
        showtime = self._state.loaded(showtime_id)
        states = {seat: showtime.state(seat) for seat in showtime.seats}
        return {
            seat: (holder, kind == BOOKED)
            for seat, (kind, holder) in states.items()
            if kind in (CLAIMED, BOOKED)
        }

    async def begin_rebuild(self, showtime_id: str, token: str, stale_epoch: str) -> str:
        """One at a time, and only where the epoch is missing or the stale one, which ends here."""
        showtime = self._state.showtime(showtime_id)
        if showtime.epoch and showtime.epoch != stale_epoch:
            return "loaded"
        if self._right(showtime_id) not in ("", token):
            return "busy"
        until = self._state.now() + RIGHT_MS
        self._state.stored.rights[showtime_id] = Remembered(until, {"token": token})
        showtime.epoch, showtime.seq = "", 0
        return "ok"

    async def renew_epoch(self, showtime_id: str) -> None:
        """The numbers begin anew; nothing else changes."""
        showtime = self._state.loaded(showtime_id)
        epoch = self._state.new_id("epoch")
        if showtime.epoch != epoch:
            showtime.epoch, showtime.seq = epoch, 0
            self._state.announce(showtime, [])

    async def rebuild(
        self,
        showtime_id: str,
        token: str,
        *,
        closes_at: datetime,
        blocked: Iterable[str],
        claims: Iterable[Claim],
    ) -> bool:
        """Locks are gone; claimed and booked is what MongoDB says. What stands in the queues stays
        until its turn comes, and so does what is remembered of ended bookings.
        """
        epoch = self._state.new_id("epoch")
        if self._right(showtime_id) != token:
            return False
        del self._state.stored.rights[showtime_id]
        showtime = Showtime(showtime_id, epoch, closes_at=to_ms(closes_at))
        self._state.stored.showtimes[showtime_id] = showtime
        showtime.mark(blocked, BLOCKED)
        for claim in claims:
            kind = BOOKED if claim.booked else CLAIMED
            showtime.mark(claim.seats, f"{kind}:{claim.booking_id}")
            if not claim.booked:
                checkout = Checkout(claim.user_id, claim.expires_at, list(claim.seats))
                self._open_checkout(showtime, claim.booking_id, checkout)
        self._state.announce(showtime, [])
        return True

    def _take(self, showtime: Showtime, claim: Claim, seats: Sequence[str]) -> list[str]:
        """Take seats out of the locks they are in; returns those that are not the booking's yet."""
        taken = [
            seat
            for seat in seats
            if showtime.state(seat)[0] in (CLAIMED, BOOKED)
            and showtime.state(seat)[1] != claim.booking_id
        ]
        if taken:
            raise SeatsTaken(", ".join(taken))
        take = [seat for seat in seats if not showtime.of_booking(claim.booking_id, [seat])]
        locked = {showtime.state(seat)[1] for seat in take if showtime.state(seat)[0] == LOCKED}
        for user in locked:
            self._state.take_out(showtime, showtime.locks[user], take)
        return take

    def _set_aside(self, showtime: Showtime, claim: Claim, ended: int) -> None:
        """The time until `ended` counts if the buyer gives seats back; and it counts with what else
        the buyer has in the showtime, as long as there is something."""
        user, conduct = claim.user_id, self._state.conduct(showtime.id)
        if user in showtime.locks or showtime.in_checkouts(user) or user not in conduct.spent:
            return
        spent, counted = conduct.spent[user]
        if ended > counted:
            conduct.spent[user] = (spent, ended)
            conduct.bought[claim.booking_id] = (user, ended - counted)

    def _count_after_all(
        self, showtime: Showtime, booking_id: str, freed: Sequence[str], actor_id: str
    ) -> None:
        """Once, when it is the buyer who gives back what was bought."""
        conduct = self._state.conduct(showtime.id)
        user, held = conduct.bought.get(booking_id, ("", 0))
        if freed and user and user == actor_id:
            del conduct.bought[booking_id]
            spent, counted = conduct.spent[user]
            conduct.spent[user] = (spent + held, counted)

    def _open_checkout(self, showtime: Showtime, booking_id: str, checkout: Checkout) -> None:
        """Once: a second time changes neither its seats nor its deadline."""
        if booking_id not in showtime.checkouts:
            showtime.checkouts[booking_id] = checkout
            queue = self._state.checkouts(partition_of(showtime.id))
            queue[showtime.id, booking_id] = checkout.deadline

    def _close_checkout(self, showtime: Showtime, booking_id: str) -> None:
        showtime.checkouts.pop(booking_id, None)
        self._state.checkouts(partition_of(showtime.id)).pop((showtime.id, booking_id), None)

    def _end(self, showtime_id: str, booking_id: str, what: Sequence[str], reason: str) -> None:
        marks = self._state.ended(showtime_id, booking_id) | dict.fromkeys(what, reason)
        until = self._state.now() + ENDED_KEPT_MS
        key = (partition_of(showtime_id), booking_id)
        self._state.stored.ended[key] = Remembered(until, marks)

    def _free(
        self,
        showtime: Showtime,
        booking_id: str,
        seats: Sequence[str],
        reason: str,
        actor_id: str,
        request_id: str,
    ) -> None:
        if seats:
            showtime.free(seats)
            event = Happened("seat.released", seats, reason, actor=actor_id, booking=booking_id)
            self._state.announce(showtime, [event], request_id)

    def _right(self, showtime_id: str) -> str:
        right = self._state.stored.rights.get(showtime_id)
        return right.values["token"] if right and right.until > self._state.now() else ""


class ModelSeatLog:
    """The twin of `server.repo.seat_log.SeatLog`."""

    def __init__(self, state: SeatState) -> None:
        self._state = state

    async def read(self, partition: int, limit: int) -> list[LogEntry]:
        """Entries that were not forgotten yet, oldest first."""
        return self._state.stored.logs.get(partition, [])[:limit]

    async def forget(self, partition: int, positions: list[str]) -> None:
        log = self._state.stored.logs.get(partition, [])
        log[:] = [entry for entry in log if entry.position not in positions]
