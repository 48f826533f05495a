"""What the model of the seat store remembers, and how it announces a change.

The rules are in `tests.seat_model_locks` and `tests.seat_model_claims`; `tests.seat_model` puts the
three together. Times are ms of the model's own clock.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from server.events import ChangeSet, Event
from server.repo.keys import partition_of
from server.repo.seat_answers import ShowtimeNotLoaded
from server.repo.seat_log import LogEntry

FREE, LOCKED, CLAIMED, BOOKED, BLOCKED = "", "l", "c", "b", "x"

Queue = dict[tuple[str, str], int]
"""(showtime, user or booking) -> deadline."""


@dataclass(slots=True)
class HeldLock:
    """What one user has locked of a showtime; `operation` is the last one that extended it."""

    id: str
    user: str
    deadline: int
    extensions: int = 0
    operation: str = "-"
    seats: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Checkout:
    """The seats that a booking has of a user while it is not paid for, and until when."""

    user: str
    deadline: int
    seats: list[str]


@dataclass(slots=True)
class Remembered:
    """Something small that is forgotten by itself at `until`."""

    until: int
    values: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Conduct:
    """How people behave at one showtime; forgotten by itself at `until`.

    `spent`: for how many ms a user has held seats and bought none, and until when that is counted.
    `crowds`: who has seats that were locked from an address.
    `bought`: of a booking, who bought it and for how many ms its seats were held before.
    """

    until: int = 0
    spent: dict[str, tuple[int, int]] = field(default_factory=dict)
    crowds: dict[str, list[str]] = field(default_factory=dict)
    bought: dict[str, tuple[str, int]] = field(default_factory=dict)


@dataclass(slots=True)
class Showtime:
    """One showtime; without an `epoch` it is not loaded, and nothing may be decided from it.

    `seats` holds `l:<user>` (locked), `c:<booking>` (claimed), `b:<booking>` (booked) or `x`
    (blocked); a free seat is not in it.
    """

    id: str
    epoch: str = ""
    seq: int = 0
    closes_at: int = 0
    seats: dict[str, str] = field(default_factory=dict)
    locks: dict[str, HeldLock] = field(default_factory=dict)
    checkouts: dict[str, Checkout] = field(default_factory=dict)

    def state(self, seat: str) -> tuple[str, str]:
        """Return what the seat is, and whose."""
        kind, _, holder = self.seats.get(seat, FREE).partition(":")
        return kind, holder

    def mark(self, seats: Iterable[str], state: str) -> None:
        for seat in seats:
            self.seats[seat] = state

    def free(self, seats: Iterable[str]) -> None:
        for seat in seats:
            self.seats.pop(seat, None)

    def of_booking(self, booking_id: str, seats: Iterable[str]) -> list[str]:
        """Return those of `seats` that carry this booking's id."""
        mine = (f"{CLAIMED}:{booking_id}", f"{BOOKED}:{booking_id}")
        return [seat for seat in seats if self.seats.get(seat) in mine]

    def in_checkouts(self, user_id: str) -> int:
        """Return how many seats the user has in bookings that are not paid for."""
        return sum(len(c.seats) for c in self.checkouts.values() if c.user == user_id)


@dataclass(slots=True)
class Stored:
    """All that a wipe loses."""

    showtimes: dict[str, Showtime] = field(default_factory=dict)
    deadlines: dict[int, Queue] = field(default_factory=dict)
    checkouts: dict[int, Queue] = field(default_factory=dict)
    logs: dict[int, list[LogEntry]] = field(default_factory=dict)
    ended: dict[tuple[int, str], Remembered] = field(default_factory=dict)
    """(partition, booking) -> seat given back, or `*` for all of it -> reason."""
    released: dict[tuple[int, str], Remembered] = field(default_factory=dict)
    """(partition, operation) -> the seats that a release freed, under `seats`."""
    conduct: dict[str, Conduct] = field(default_factory=dict)
    rights: dict[str, Remembered] = field(default_factory=dict)
    """Showtime -> who may rebuild it, under `token`."""


@dataclass(frozen=True, slots=True)
class Happened:
    """One event with its public half (down to `expires_at`) and its private one."""

    type: str
    seats: Sequence[str]
    reason: str = ""
    expires_at: int | None = None
    actor: str = ""
    owner: str = ""
    lock: str = ""
    booking: str = ""

    def public(self) -> Event:
        event: Event = {"type": self.type, "seats": list(self.seats)}
        if self.reason:
            event["reason"] = self.reason
        if self.expires_at is not None:
            event["expires_at"] = self.expires_at
        return event


class SeatState:
    """The one state behind all views."""

    def __init__(self, now: Callable[[], int], new_id: Callable[[str], str]) -> None:
        self.now = now
        self.new_id = new_id
        self.stored = Stored()
        self.published: list[tuple[str, ChangeSet]] = []
        self._logged = 0

    def showtime(self, showtime_id: str) -> Showtime:
        """Return it, loaded or not."""
        return self.stored.showtimes.setdefault(showtime_id, Showtime(showtime_id))

    def loaded(self, showtime_id: str) -> Showtime:
        """Return it; raises ShowtimeNotLoaded."""
        showtime = self.showtime(showtime_id)
        if not showtime.epoch:
            raise ShowtimeNotLoaded
        return showtime

    def deadlines(self, partition: int) -> Queue:
        return self.stored.deadlines.setdefault(partition, {})

    def checkouts(self, partition: int) -> Queue:
        return self.stored.checkouts.setdefault(partition, {})

    def due(self, queue: Queue, limit: int) -> list[tuple[str, str]]:
        """Return the members of a queue whose time has come, oldest first, then by name."""
        rows = sorted((deadline, ":".join(member), member) for member, deadline in queue.items())
        return [member for deadline, _, member in rows if deadline <= self.now()][:limit]

    def ended(self, showtime_id: str, booking_id: str) -> dict[str, str]:
        """Return what is remembered to have ended of a booking: nothing, seats, or all (`*`)."""
        found = self.stored.ended.get((partition_of(showtime_id), booking_id))
        return found.values if found and found.until > self.now() else {}

    def conduct(self, showtime_id: str) -> Conduct:
        """Return what is remembered of how people behave there."""
        found = self.stored.conduct.get(showtime_id)
        if found is None or found.until <= self.now():
            found = self.stored.conduct[showtime_id] = Conduct()
        return found

    def spend(self, showtime: Showtime, user_id: str, ended: int) -> None:
        """Somebody held seats until `ended` and has not bought them. What is counted is counted
        once, however many locks and bookings they were in."""
        known = self.conduct(showtime.id).spent
        if user_id in known and ended > known[user_id][1]:
            spent, counted = known[user_id]
            known[user_id] = (spent + ended - counted, ended)

    def save_lock(self, showtime: Showtime, lock: HeldLock) -> None:
        """A lock stands in the queue with its deadline; one without seats ceases to be."""
        queue, member = self.deadlines(partition_of(showtime.id)), (showtime.id, lock.user)
        if lock.seats:
            showtime.locks[lock.user] = lock
            queue[member] = lock.deadline
        else:
            showtime.locks.pop(lock.user, None)
            queue.pop(member, None)

    def take_out(self, showtime: Showtime, lock: HeldLock, seats: Iterable[str]) -> list[str]:
        """Take those of `seats` that are in the lock out of it; returns them in its order."""
        dropped = set(seats)
        taken = [seat for seat in lock.seats if seat in dropped]
        lock.seats = [seat for seat in lock.seats if seat not in dropped]
        self.save_lock(showtime, lock)
        return taken

    def lapse(self, showtime: Showtime, lock: HeldLock) -> Happened:
        """Free a whole lock that is past its deadline; returns what to announce."""
        seats = self.take_out(showtime, lock, lock.seats)
        showtime.free(seats)
        self.spend(showtime, lock.user, lock.deadline)
        return Happened("seat.released", seats, "expired", owner=lock.user, lock=lock.id)

    def announce(
        self, showtime: Showtime, events: Sequence[Happened], request_id: str = ""
    ) -> None:
        """Number one change set, log each of its events, publish it."""
        showtime.seq += 1
        at = self.now()
        public = [event.public() for event in events]
        change = ChangeSet(showtime.epoch, showtime.seq, at, public)
        log = self.stored.logs.setdefault(partition_of(showtime.id), [])
        for number, event in enumerate(events, 1):
            self._logged += 1
            log.append(
                LogEntry(
                    position=f"{at}-{self._logged}",
                    id=f"{showtime.epoch}-{at}-{showtime.seq}-{number}",
                    at=at,
                    showtime_id=showtime.id,
                    type=event.type,
                    seats=list(event.seats),
                    reason=event.reason,
                    actor_id=event.actor,
                    owner_id=event.owner,
                    lock_id=event.lock,
                    booking_id=event.booking,
                    request_id=request_id,
                )
            )
        self.published.append((showtime.id, change))
