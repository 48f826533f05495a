"""The exact history of a showtime, replayed from what Redis announced and the audit log stored.

Both tell of the same change sets. Redis' announcements have numbers and deadlines, the audit log
has owners, locks, bookings and request ids; put together they say for each seat who had it from
when until when. The replay finds whatever must not have happened and files it under one word:

seq            a change set is missing, comes twice or out of order
log            the audit log and the announcements tell different stories
two owners     a seat was locked while somebody else had it
foreign sale   a seat was booked that its buyer did not have
foreign release  a seat was released that the named owner, lock or booking did not have
early expiry   a lock expired before its deadline
deadline       seats that joined a lock have another deadline than it
cap            one user has more seats than allowed, sold ones not counted
"""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.recorder import Heard

MAX_SEATS = 10

UNKNOWN = "?"
"""Who has a seat that was taken when the epoch began: some booking, which its next event names."""


@dataclass(frozen=True, slots=True)
class Violation:
    kind: str
    what: str


@dataclass(frozen=True, slots=True)
class Holding:
    """Somebody has a seat: by a lock, or by a booking once it is `booked`."""

    user: str
    lock: str = ""
    deadline: int = 0
    booked: bool = False
    booking: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """One event with its public and its private half."""

    seq: int
    at: int
    type: str
    seats: list[str]
    reason: str
    expires_at: int
    user: str
    lock: str
    booking: str
    request_id: str


@dataclass(slots=True)
class SeatTimeline:
    """Who had one seat: `holdings[i]` from change `seqs[i]`, made at `since[i]` (ms), on."""

    seqs: list[int] = field(default_factory=list)
    since: list[int] = field(default_factory=list)
    holdings: list[Holding | None] = field(default_factory=list)

    def add(self, seq: int, at: int, holding: Holding | None) -> None:
        self.seqs.append(seq)
        self.since.append(at)
        self.holdings.append(holding)

    def before(self, seq: int) -> Holding | None:
        """Return who had it when change `seq` was made."""
        return self.holdings[bisect_left(self.seqs, seq) - 1]

    def between(self, start: float, end: float) -> list[Holding | None]:
        """Return what held at some moment from `start` to `end`, a millisecond of slack each."""
        first = max(0, bisect_right(self.since, start - 1) - 1)
        return self.holdings[first : bisect_right(self.since, end + 1)]


_NOT_KNOWN = Holding(UNKNOWN)


class Epoch:
    """The replay of one epoch, which begins with the states `base`: free seats, and bookings'.

    A `?` stands for a seat of which nothing is known before its first event.
    """

    def __init__(
        self,
        name: str,
        seats: Sequence[str],
        base: str,
        owners: Mapping[str, str],
        *,
        repairs: bool,
    ) -> None:
        self.name = name
        self.seq = 0
        self.began_at = 0
        self.ended_at = float("inf")
        self.blind_from = float("inf")
        self.states: dict[int, str] = {}
        """What the map must look like at each `seq`."""
        self.violations: list[Violation] = []
        self.counts: Counter[str] = Counter()
        self.timelines: dict[str, SeatTimeline] = defaultdict(SeatTimeline)
        self.by_request: dict[str, list[Event]] = defaultdict(list)
        self._index = {seat: number for number, seat in enumerate(seats)}
        self._map = list(base)
        self._owners = owners
        self._repairs = repairs
        self._held: dict[str, Holding] = {
            seat: Holding(UNKNOWN, booking="" if state == UNKNOWN else UNKNOWN)
            for seat, state in zip(seats, base, strict=True)
            if state != "."
        }

    @property
    def held(self) -> Mapping[str, Holding]:
        """Who has what after all that was replayed."""
        return self._held

    def begin(self, at: int) -> None:
        """Take in change set 1, which announces nothing but the epoch."""
        self.seq, self.began_at = 1, at
        self.states[1] = "".join(self._map)
        for seat in self._index:
            self.timelines[seat].add(1, at, self._held.get(seat))

    def replay(self, seq: int, events: Iterable[Event]) -> None:
        """Take in one change set."""
        for event in events:
            self.counts[" ".join(filter(None, (event.type, event.reason)))] += 1
            self.by_request[event.request_id].append(event)
            self._apply(event)
        self.seq = seq
        self.states[seq] = "".join(self._map)

    def replay_blindly(self, seq: int, at: int, events: Iterable[Mapping[str, Any]]) -> None:
        """Take in a change set whose private half was lost: what the map shows, and not by whom."""
        self.blind_from = min(self.blind_from, at)
        for event in events:
            free = event["type"] == "seat.released"
            state = "." if free else "b" if event["type"] == "seat.booked" else "l"
            self._set(seq, at, event["seats"], None if free else _NOT_KNOWN, state)
        self.seq = seq
        self.states[seq] = "".join(self._map)

    def _apply(self, event: Event) -> None:
        match event.type:
            case "seat.locked":
                self._locked(event)
            case "seat.booked":
                self._booked(event)
            case "seat.released":
                self._released(event)
            case _:
                self._complain("log", event, "there is no such event")

    def _locked(self, event: Event) -> None:
        new = Holding(event.user, event.lock, event.expires_at, booking=event.booking)
        if event.booking:
            allowed = self._repairs and not any(
                (had := self._held.get(seat)) and had.booking not in ("", event.booking, UNKNOWN)
                for seat in event.seats
            )
            if not allowed:
                self._complain("two owners", event, "a booking claimed the seats again")
        elif any(self._held.get(seat) not in (None, _NOT_KNOWN) for seat in event.seats):
            self._extended(event)
        else:
            deadlines = {h.deadline for h in self._held.values() if h.lock == event.lock}
            if deadlines and event.expires_at not in deadlines:
                self._complain("deadline", event, f"the lock has {sorted(deadlines)}")
        self._set(event.seq, event.at, event.seats, new, "l")
        self._count_seats_of(event)

    def _extended(self, event: Event) -> None:
        """Seats that are taken may be announced as locked again by their own lock alone."""
        for seat in event.seats:
            had = self._held.get(seat)
            if had is None or (had.user, had.lock, had.booked) != (event.user, event.lock, False):
                self._complain("two owners", event, f"{seat} was {had}")

    def _booked(self, event: Event) -> None:
        for seat in event.seats:
            had = self._held.get(seat)
            if had and had.user == UNKNOWN:
                continue
            if self._repairs and not (had and had.booking not in ("", event.booking)):
                continue
            if had is None or had.booked or had.user != event.user:
                self._complain("foreign sale", event, f"{seat} was {had}")
        sold = Holding(event.user, booked=True, booking=event.booking)
        self._set(event.seq, event.at, event.seats, sold, "b")

    def _released(self, event: Event) -> None:
        for seat in event.seats:
            had = self._held.get(seat)
            if had is None or not (
                self._by_booking(event, had) if event.booking else self._by_lock(event, had)
            ):
                self._complain("foreign release", event, f"{seat} was {had}")
            elif event.reason == "expired" and not event.booking and event.at < had.deadline:
                self._complain("early expiry", event, f"the deadline is {had.deadline}")
        self._set(event.seq, event.at, event.seats, None, ".")

    def _by_lock(self, event: Event, had: Holding) -> bool:
        return (had.user, had.lock, had.booked) == (event.user, event.lock, False)

    def _by_booking(self, event: Event, had: Holding) -> bool:
        if had.user == UNKNOWN:
            return True
        if had.booking:
            return had.booking == event.booking
        return had.user == self._owners.get(event.booking)

    def _count_seats_of(self, event: Event) -> None:
        count = sum(1 for had in self._held.values() if had.user == event.user and not had.booked)
        if count > MAX_SEATS:
            self._complain("cap", event, f"{event.user} has {count} seats")

    def _set(
        self, seq: int, at: int, seats: Iterable[str], holding: Holding | None, state: str
    ) -> None:
        for seat in seats:
            if holding is None:
                self._held.pop(seat, None)
            else:
                self._held[seat] = holding
            self._map[self._index[seat]] = state
            self.timelines[seat].add(seq, at, holding)

    def _complain(self, kind: str, event: Event, why: str) -> None:
        self.violations.append(Violation(kind, f"{self.name}-{event.seq}: {event}: {why}"))


class History:
    """All epochs of a showtime; `violations` is what the replay found."""

    def __init__(
        self,
        seats: Sequence[str],
        heard: Sequence[Heard],
        audited: Iterable[Mapping[str, Any]],
        *,
        bases: Mapping[str, str],
        owners: Mapping[str, str],
        repairs: bool = False,
    ) -> None:
        """`audited`: the `seat.*` rows of the audit log; `bases`: states at the beginning, by
        epoch; `owners`: booking id -> user; `repairs`: whether the store may have been lost
        meanwhile, so that a booking may take back what MongoDB says is its own."""
        self.violations: list[Violation] = []
        self.epochs: dict[str, Epoch] = {}
        private = {row["_id"]: row for row in audited}
        current: Epoch | None = None
        for change in heard:
            if current is None or current.name != change.epoch:
                if current is not None:
                    current.ended_at = change.at
                current = Epoch(change.epoch, seats, bases[change.epoch], owners, repairs=repairs)
                current.begin(change.at)
                self._add(current)
            if change.seq != current.seq + (change.seq > 1):
                what = f"{change.epoch}: {change.seq} follows {current.seq}"
                self.violations.append(Violation("seq", what))
            if change.seq > 1:
                self._replay(current, change, private, may_be_lost=repairs)
        for epoch in self.epochs.values():
            self.violations += epoch.violations
        self.violations += [Violation("log", f"not announced: {name}") for name in private]

    @property
    def counts(self) -> Counter[str]:
        return sum((epoch.counts for epoch in self.epochs.values()), Counter())

    def events(self) -> Iterator[Event]:
        """Return all events of which both halves are known."""
        for epoch in self.epochs.values():
            for events in epoch.by_request.values():
                yield from events

    def of_request(self, request_id: str) -> list[tuple[Epoch, Event]]:
        """Return the events that one request caused."""
        return [
            (epoch, event)
            for epoch in self.epochs.values()
            for event in epoch.by_request.get(request_id, ())
        ]

    def between(self, seat: str, start: float, end: float) -> list[Holding | None]:
        """Return who had a seat at some moment of a span of time, over all epochs."""
        return [
            holding
            for epoch in self.epochs.values()
            if epoch.began_at <= end + 1 and epoch.ended_at >= start - 1
            for holding in epoch.timelines[seat].between(start, end)
        ]

    def blind(self, start: float, end: float) -> bool:
        """Say whether for some moment of that span it is not known who did what."""
        return any(
            epoch.blind_from <= end + 1 and epoch.ended_at >= start - 1
            for epoch in self.epochs.values()
        )

    def states(self, epoch: str, seq: int) -> str | None:
        """Return what the map must have looked like; None for a position that never was."""
        return self.epochs[epoch].states.get(seq) if epoch in self.epochs else None

    def _add(self, epoch: Epoch) -> None:
        if epoch.name in self.epochs:
            self.violations.append(Violation("seq", f"{epoch.name} came back"))
        self.epochs[epoch.name] = epoch

    def _replay(
        self,
        epoch: Epoch,
        change: Heard,
        private: dict[str, Mapping[str, Any]],
        *,
        may_be_lost: bool,
    ) -> None:
        """With `may_be_lost` the end of an epoch may be missing in the audit log: it was still in
        the store when that was lost. What people did is there all the same (test_seat_journal)."""
        stem = f"{change.epoch}-{change.at}-{change.seq}"
        names = [f"{stem}-{n}" for n in range(1, len(change.events) + 1)]
        rows = [private.pop(name, None) for name in names]
        if all(rows) and epoch.blind_from > change.at:
            for public, row in zip(change.events, rows, strict=True):
                self._compare(public, row)
            pairs = zip(change.events, rows, strict=True)
            epoch.replay(change.seq, [_event(change, public, row) for public, row in pairs])
            return
        if not may_be_lost:
            self.violations.append(Violation("log", f"not in the audit log: {names}"))
        epoch.replay_blindly(change.seq, change.at, change.events)

    def _compare(self, public: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        told = (public["type"], public["seats"], public.get("reason"))
        stored = (row["action"], row["detail"]["seats"], row["detail"].get("reason"))
        if told != stored:
            self.violations.append(Violation("log", f"{row['_id']}: {told} is stored as {stored}"))


def _event(change: Heard, public: Mapping[str, Any], row: Mapping[str, Any]) -> Event:
    target = row["target"]
    return Event(
        seq=change.seq,
        at=change.at,
        type=public["type"],
        seats=public["seats"],
        reason=public.get("reason", ""),
        expires_at=public.get("expires_at", 0),
        user=target.get("user_id", ""),
        lock=target.get("lock_id", ""),
        booking=target.get("booking_id", ""),
        request_id=row["request_id"],
    )
