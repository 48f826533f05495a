"""Random life of two showtimes, lived by the real scripts and by the model, step by step alike."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from server.models import from_ms
from server.repo.seat_answers import Claim
from tests.alike import at_once
from tests.seat_chances import (
    HOUR_MS,
    PARTITION,
    SEATS,
    SHOWTIMES,
    TTL_MS,
    few,
    leaps,
    mostly,
    seldom,
    showtimes,
    users,
)
from tests.seat_machine_bookings import BookingRules
from tests.seat_model_claims import RIGHT_MS


class SeatMachine(BookingRules):
    """Locks and bookings, and what happens to everybody: time, repeats, wipes, rebuilding."""

    @initialize(closes=st.sampled_from([[HOUR_MS * 99, HOUR_MS * 99], [HOUR_MS * 99, TTL_MS * 9]]))
    def open(self, closes: list[int]) -> None:
        for showtime, closes_in in zip(SHOWTIMES, closes, strict=True):
            self.load(showtime, closes_in, [], False)

    @rule(milliseconds=leaps)
    def wait(self, milliseconds: int) -> None:
        self.pass_time(milliseconds)

    @rule(back=st.sampled_from([1, 1, 1, 2, 5]))
    def once_more(self, back: int) -> None:
        self.repeat(back)

    @rule(showtime=showtimes, user=users, ahead=st.sampled_from([0, 1, -1]))
    def read(self, showtime: str, user: str, ahead: int) -> None:
        self.look("seats", "lock_of", showtime, user)
        self.look("seats", "locks", showtime)
        self.look("seats", "read", showtime)
        now = self.showtime(showtime)
        self.look("seats", "read", showtime, now.epoch, now.seq + ahead)
        self.look("claims", "shown", showtime)
        self.look("seats", "positions", [*SHOWTIMES, "sho_never_loaded"])

    @rule(count=st.sampled_from([1, 5]))
    def take_log(self, count: int) -> None:
        """What the audit relay does."""
        taken = self.store.answer(self.store.log.read(PARTITION, count))
        known = at_once(self.model.log.read(PARTITION, count))
        assert len(taken) == len(known)
        self.store.answer(self.store.log.forget(PARTITION, [entry.position for entry in taken]))
        at_once(self.model.log.forget(PARTITION, [entry.position for entry in known]))
        self.agree()

    @rule(reload=mostly)
    @precondition(lambda self: self.calls % 11 == 0)
    def wipe(self, reload: bool) -> None:
        self.wipe_both()
        if reload:
            for showtime in SHOWTIMES:
                self.load(showtime, HOUR_MS * 99, [], True)

    @rule(
        showtime=showtimes,
        closes_in=st.sampled_from([HOUR_MS * 99, HOUR_MS * 99, HOUR_MS * 99, TTL_MS, 0]),
        blocked=few,
        bookings_too=mostly,
        stale=mostly,
    )
    @precondition(lambda self: self.calls % 7 == 0)
    def rebuild(
        self, showtime: str, closes_in: int, blocked: Sequence[str], bookings_too: bool, stale: bool
    ) -> None:
        epoch = self.showtime(showtime).epoch if stale else "another"
        self.load(showtime, closes_in, blocked[:1], bookings_too, epoch)

    @rule(showtime=showtimes)
    @precondition(lambda self: self.calls % 11 == 0)
    def renew(self, showtime: str) -> None:
        self.call("claims", "renew_epoch", showtime)

    @rule(showtime=showtimes, user=users, stale=seldom, in_time=mostly)
    def two_rebuilders(self, showtime: str, user: str, stale: bool, in_time: bool) -> None:
        """One has the right and does not use it; another comes, in time or when it is over."""
        epoch = self.showtime(showtime).epoch if stale else ""
        if self.call("claims", "begin_rebuild", showtime, "other", epoch) == "ok":
            self.nobody_is_served(showtime, user)
            self.pass_time(RIGHT_MS - in_time)
            self.load(showtime, HOUR_MS * 99, [], True, epoch)

    def nobody_is_served(self, showtime: str, user: str) -> None:
        """Without its epoch nothing of a showtime is changed, whoever wants it."""
        claim, seats = Claim("bk1", user, SEATS[:1], False, self.store.now), SEATS[:1]
        self.call("seats", "lock", showtime, user, seats, "req")
        self.call("seats", "extend", showtime, user, "req")
        self.call("seats", "release", showtime, user, seats, "req")
        self.call("seats", "revoke", showtime, "boss", seats, "req")
        self.call("seats", "block", showtime, "boss", seats, "req")
        self.call("seats", "close", showtime)
        self.call("seats", "expire", showtime, user)
        self.call("claims", "begin_checkout", showtime, user, "bk1", seats)
        self.call("claims", "claim", showtime, claim)
        self.call("claims", "claim", showtime, replace(claim, booked=True))
        self.call("claims", "release", showtime, "bk1", seats, reason="expired")
        self.call("claims", "give_back", showtime, "bk1", seats)
        self.call("claims", "renew_epoch", showtime)
        self.read(showtime, user, 0)

    def load(
        self,
        showtime: str,
        closes_in: int,
        blocked: Sequence[str],
        bookings_too: bool,
        epoch: str = "",
    ) -> None:
        """Rebuild with what is known of bookings, each seat given to one at most."""
        claims, given = [], set(blocked)
        for (where, _), claim in self.known.items():
            if bookings_too and where == showtime and not given & set(claim.seats):
                given |= set(claim.seats)
                claims.append(claim)
        closes_at = from_ms(self.store.now) + timedelta(milliseconds=closes_in)
        self.call("claims", "begin_rebuild", showtime, "tok", epoch)
        self.call(
            "claims",
            "rebuild",
            showtime,
            "tok",
            closes_at=closes_at,
            blocked=list(blocked),
            claims=claims,
        )
