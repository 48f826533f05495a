"""What people, an administrator and the sweeper do with locks."""

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.seat_chances import (
    ADDRESSES,
    PARTITION,
    SEATS,
    USERS,
    addresses,
    beside,
    few,
    late,
    mostly,
    seldom,
    showtimes,
    some,
    times,
    users,
)
from tests.seat_twins import Twins


class LockRules(Twins):
    @rule(showtime=showtimes, user=users, seats=some, late=late, address=addresses)
    def lock(
        self, showtime: str, user: str, seats: Sequence[str], late: int | None, address: str
    ) -> None:
        self.wait_for_a_deadline(late)
        self.call("seats", "lock", showtime, user, seats, "req", address=address)

    @rule(showtime=showtimes, users=st.permutations(USERS), seats=st.permutations(SEATS))
    def crowd(self, showtime: str, users: Sequence[str], seats: Sequence[str]) -> None:
        """Everybody at one place locks something."""
        for number, user in enumerate(users):
            two = seats[2 * number : 2 * number + 2]
            self.call("seats", "lock", showtime, user, two, "req", address=ADDRESSES[0])

    @rule(showtime=showtimes, user=users, seats=few, times=times, again=beside)
    def spin(self, showtime: str, user: str, seats: Sequence[str], times: int, again: int) -> None:
        """Lock, let it lapse or release it at the last moment, lock again."""
        for _ in range(times):
            self.call("seats", "lock", showtime, user, seats, "req")
            if lock := self.showtime(showtime).locks.get(user):
                self.pass_time(max(0, lock.deadline + again - self.store.now))
                self.call("seats", "release", showtime, user, (), "req")

    @rule(showtime=showtimes, user=users, seats=few, twice=seldom)
    def lock_more(self, showtime: str, user: str, seats: Sequence[str], twice: bool) -> None:
        user = self.holder(showtime, user)
        for _ in range(1 + twice):
            self.call("seats", "lock", showtime, user, seats, "req")

    @rule(user=users, count=st.sampled_from([1, 9]), extend=seldom, beside=beside)
    def lock_theirs(self, user: str, count: int, extend: bool, beside: int) -> None:
        """Lock seats of the lock that ends next, around the moment in which it does."""
        if first := self.next_lock():
            self.wait_for_a_deadline(beside)
            if extend:
                self.call("seats", "extend", *first, "req")
            seats = self.showtime(first[0]).locks[first[1]].seats
            self.call("seats", "lock", first[0], user, seats[:count], "req")

    @rule(showtime=showtimes, user=users, aimed=mostly, times=times)
    def extend(self, showtime: str, user: str, aimed: bool, times: int) -> None:
        for _ in range(times):
            user = self.holder(showtime, user) if aimed else user
            self.call("seats", "extend", showtime, user, "req")

    @rule(showtime=showtimes, user=users, aimed=mostly, seats=few | st.just(()), late=late)
    def release(
        self, showtime: str, user: str, aimed: bool, seats: Sequence[str], late: int | None
    ) -> None:
        user = self.holder(showtime, user) if aimed else user
        self.wait_for_a_deadline(late)
        self.call("seats", "release", showtime, user, seats, "req")

    @rule(showtime=showtimes, seats=some)
    def revoke(self, showtime: str, seats: Sequence[str]) -> None:
        self.call("seats", "revoke", showtime, "boss", seats, "req")

    @rule(showtime=showtimes, seats=few, close=seldom, end=seldom)
    def withdraw(self, showtime: str, seats: Sequence[str], close: bool, end: bool) -> None:
        self.call("seats", "block", showtime, "boss", seats[:1], "req")
        if close and end:
            self.call("seats", "close", showtime)

    @rule(showtime=showtimes, user=users, aimed=mostly, beside=beside)
    def expire(self, showtime: str, user: str, aimed: bool, beside: int) -> None:
        first = self.next_lock()
        if first and aimed:
            showtime, user = first
            self.wait_for_a_deadline(beside)
        self.call("seats", "expire", showtime, user)

    @rule(limit=st.sampled_from([100, 1]), late=late)
    def sweep(self, limit: int, late: int | None) -> None:
        """What the lock sweeper does."""
        self.wait_for_a_deadline(late)
        for showtime, user in self.look("seats", "due_locks", PARTITION, limit):
            self.call("seats", "expire", showtime, user)

    def next_lock(self) -> tuple[str, str] | None:
        """Return showtime and user of the lock that ends next, lapsed ones not counted."""
        ends = [
            (lock.deadline, showtime.id, lock.user)
            for showtime in self.model.state.stored.showtimes.values()
            for lock in showtime.locks.values()
            if lock.deadline > self.store.now
        ]
        return min(ends)[1:] if ends else None

    def holder(self, showtime: str, user: str, seats: Sequence[str] = SEATS[:2]) -> str:
        """Return somebody with a lock: the user, if nobody else; who then locks `seats` first."""
        locks = self.showtime(showtime).locks
        if not locks:
            self.call("seats", "lock", showtime, user, seats, "req")
            self.pass_time(10)
        return user if user in locks or not locks else next(iter(locks))
