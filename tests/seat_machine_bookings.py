"""What is told of bookings: in time, late, twice, in part, and by people who do not know better."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import rule

from server.repo.seat_answers import Claim
from tests.alike import REFUSED
from tests.seat_chances import (
    PARTITION,
    SEATS,
    TTL_MS,
    bookings,
    ends,
    few,
    late,
    mostly,
    seldom,
    showtimes,
    some,
    told,
    users,
)
from tests.seat_machine_locks import LockRules
from tests.timed_store import TimedStore


class BookingRules(LockRules):
    def __init__(self, store: TimedStore) -> None:
        super().__init__(store)
        self.known: dict[tuple[str, str], Claim] = {}

    @rule(
        showtime=showtimes,
        user=users,
        booking=bookings,
        seats=few,
        mine=mostly,
        then=st.sampled_from([(), (), (False,), (True,), (False, True)]),
        more=st.sampled_from([0, 0, 2, 3]),
        retry=seldom,
    )
    def check_out(
        self,
        showtime: str,
        user: str,
        booking: str,
        seats: Sequence[str],
        mine: bool,
        then: Sequence[bool],
        more: int,
        retry: bool,
    ) -> None:
        """Then perhaps tell of the booking, lock more, or try again when it is over."""
        user = self.holder(showtime, user, seats) if mine else user
        lock = self.showtime(showtime).locks.get(user)
        if lock and mine:
            seats = lock.seats[-len(seats) :]
        answer = self.call("claims", "begin_checkout", showtime, user, booking, seats)
        if answer is None or answer[0] == REFUSED:
            return
        claim = Claim(booking, user, list(seats), False, answer[0])
        self.known[showtime, booking] = claim
        for booked in then:
            self.call("claims", "claim", showtime, replace(claim, booked=booked), "req")
        if free := [s for s in SEATS if s not in self.showtime(showtime).seats][:more]:
            self.call("seats", "lock", showtime, user, free, "req")
        if retry:
            self.pass_time(claim.expires_at - self.store.now)
            self.call("claims", "begin_checkout", showtime, user, booking, seats)

    @rule(
        showtime=showtimes,
        user=users,
        booking=bookings,
        held=st.sampled_from([1_000, TTL_MS // 2, TTL_MS - 1, TTL_MS]),
        part=seldom,
        whole=st.booleans(),
        by_house=seldom,
    )
    def buy_and_give_back(
        self,
        showtime: str,
        user: str,
        booking: str,
        held: int,
        part: bool,
        whole: bool,
        by_house: bool,
    ) -> None:
        """All seats of the lock, or all but one; after a while."""
        if free := [s for s in SEATS if s not in self.showtime(showtime).seats][:2]:
            self.call("seats", "lock", showtime, user, free, "req")
        self.pass_time(held)
        lock = self.showtime(showtime).locks.get(user)
        seats = lock.seats[part:] if lock else []
        answer = seats and self.call("claims", "begin_checkout", showtime, user, booking, seats)
        if not answer or answer[0] == REFUSED:
            return
        claim = self.known[showtime, booking] = Claim(booking, user, list(seats), True, answer[0])
        self.call("claims", "claim", showtime, claim, "req")
        how = {"actor_id": "boss" if by_house else user}
        for _ in range(2):
            if whole:
                self.call("claims", "release", showtime, booking, seats, reason="cancelled", **how)
            else:
                self.call("claims", "give_back", showtime, booking, seats[:1], **how)

    @rule(
        showtime=showtimes,
        claim=st.builds(Claim, bookings, users, some.map(list), st.booleans(), ends),
    )
    def news(self, showtime: str, claim: Claim) -> None:
        """Of any booking, true or not."""
        claim = replace(claim, expires_at=self.store.now + claim.expires_at)
        if self.call("claims", "claim", showtime, claim, "req") is None:
            self.known.setdefault((showtime, claim.booking_id), claim)

    @rule(showtime=showtimes, booking=bookings, booked=st.booleans(), count=st.sampled_from([9, 1]))
    def old_news(self, showtime: str, booking: str, booked: bool, count: int) -> None:
        """Of a booking that is known, perhaps of some of its seats."""
        if claim := self.booking_at(showtime, booking):
            claim = replace(claim, seats=claim.seats[:count], booked=booked)
            self.call("claims", "claim", showtime, claim, "req")

    @rule(
        showtime=showtimes,
        booking=bookings,
        seats=few | st.just(()),
        known=mostly,
        reason=st.sampled_from(["expired", "cancelled", "released"]),
        news=told,
    )
    def end(
        self,
        showtime: str,
        booking: str,
        seats: Sequence[str],
        known: bool,
        reason: str,
        news: bool | None,
    ) -> None:
        claim = self.booking_at(showtime, booking)
        if claim and known:
            booking, seats = claim.booking_id, seats and claim.seats
        self.call("claims", "release", showtime, booking, seats, reason=reason, actor_id="ann")
        self.late_news(showtime, claim, news)

    @rule(showtime=showtimes, booking=bookings, seats=few, known=mostly, news=told)
    def give_back(
        self, showtime: str, booking: str, seats: Sequence[str], known: bool, news: bool | None
    ) -> None:
        claim = self.booking_at(showtime, booking)
        if claim and known:
            booking, seats = claim.booking_id, claim.seats[: len(seats)]
        self.call("claims", "give_back", showtime, booking, seats, request_id="req")
        self.late_news(showtime, claim, news)

    def late_news(self, showtime: str, claim: Claim | None, booked: bool | None) -> None:
        """Of a booking that has ended, from somebody who does not know it."""
        if claim and booked is not None:
            self.call("claims", "claim", showtime, replace(claim, booked=booked), "late")

    @rule(limit=st.sampled_from([100, 1]), late=late)
    def reconcile(self, limit: int, late: int | None) -> None:
        """What the reconciler does with checkouts that never became bookings."""
        self.wait_for_a_deadline(late)
        for showtime, booking in self.look("claims", "due_checkouts", PARTITION, limit):
            self.call("claims", "release", showtime, booking, [], reason="expired")

    def booking_at(self, showtime: str, booking: str) -> Claim | None:
        """Return that booking, or another one of the showtime when it is not known."""
        known = {name: claim for (where, name), claim in self.known.items() if where == showtime}
        return known.get(booking) or next(iter(known.values()), None)
