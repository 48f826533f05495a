"""The rules of seat locks: the twin of `server.repo.seats.SeatStore`, in memory.

Same methods, answers and errors. No method awaits anything, so each is one atomic step, as a script
is. Seats are named once in a call, and at least one is named except where it says so.
"""

from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any

from server.errors import (
    ExtensionLimitReached,
    LockExpired,
    RateLimited,
    SeatLimitReached,
    SeatsUnavailable,
    ShowtimeClosed,
)
from server.repo.keys import partition_of
from server.repo.seat_answers import MAX_EXTENSIONS, PUBLIC_STATE, Lock, SeatStates
from tests.seat_model_state import (
    BLOCKED,
    BOOKED,
    CLAIMED,
    FREE,
    LOCKED,
    Happened,
    HeldLock,
    Remembered,
    SeatState,
    Showtime,
)

FREE_LIVES = 2
"""So many lives of a lock may be spent without buying before a new lock has to wait."""
LIVES_KEPT = 12
"""So many lives of a lock it is remembered."""
RELEASE_KEPT_MS = 60_000
"""So long the answer of a release is kept for a repeated run."""


class ModelSeatStore:
    def __init__(
        self, state: SeatState, ttl_ms: int, max_seats_per_user: int, max_seats_per_address: int
    ) -> None:
        self._state = state
        self._ttl_ms = ttl_ms
        self._max_seats = max_seats_per_user
        self._max_at_address = max_seats_per_address

    async def lock(
        self,
        showtime_id: str,
        user_id: str,
        seats: Sequence[str],
        request_id: str,
        actor_id: str = "",
        address: str = "",
    ) -> Lock:
        """All of `seats` or none. Whatever lapsed lock stands in the way is released first, whole;
        so is the user's own, which new seats cannot join. Seats that are the user's already count
        for nothing, and when there are no others nothing changes.

        A new lock has to wait for who has spent much time with seats and bought none; and no more
        seats than the cap are locked from one address.
        """
        showtime, lock_id = self._open(showtime_id), self._state.new_id("lock")
        spent, counted = self._spent(showtime, user_id)
        if wait := self._cooling(showtime, user_id, spent, counted):
            raise RateLimited(retry_after=ceil(wait / 1000))
        if unavailable := self._unavailable(showtime, user_id, seats):
            raise SeatsUnavailable(unavailable)
        mine = showtime.locks.get(user_id)
        lapsed = [mine] if mine and not self._lives(mine) else []
        live = mine if mine and not lapsed else None
        fresh = [seat for seat in seats if not live or seat not in live.seats]
        held = (len(live.seats) if live else 0) + showtime.in_checkouts(user_id)
        if fresh and held + len(fresh) > self._max_seats:
            raise SeatLimitReached(self._max_seats)
        if live and not fresh:
            return self._shown(showtime_id, live)

        crowd = self._crowd(showtime, user_id, address)
        if crowd is not None:
            theirs = sum(self._held(showtime, other) for other in crowd)
            if theirs + held + len(fresh) > self._max_at_address:
                wait = ceil(self._first_end(showtime, crowd) / 1000)
                raise RateLimited("too many from one network", retry_after=wait)

        for seat in fresh:
            kind, holder = showtime.state(seat)
            if kind == LOCKED and showtime.locks[holder] not in lapsed:
                lapsed.append(showtime.locks[holder])
        events = [self._state.lapse(showtime, lock) for lock in lapsed]
        if self._max_at_address:
            conduct = self._state.conduct(showtime_id)
            conduct.until = self._state.now() + LIVES_KEPT * self._ttl_ms
            if not live:
                since = counted if showtime.in_checkouts(user_id) else self._state.now()
                conduct.spent[user_id] = (spent, since)
            if crowd is not None:
                conduct.crowds[address] = [*crowd, user_id]
        lock = live or HeldLock(lock_id, user_id, self._state.now() + self._ttl_ms)
        lock.seats = [*lock.seats, *fresh]
        showtime.mark(fresh, f"{LOCKED}:{user_id}")
        self._state.save_lock(showtime, lock)
        self._state.announce(showtime, [*events, _locked(lock, fresh, actor_id)], request_id)
        return self._shown(showtime_id, lock)

    async def extend(self, showtime_id: str, user_id: str, request_id: str) -> Lock:
        """A fresh TTL from now, so often and no oftener; the same operation again is the same."""
        showtime, operation = self._open(showtime_id), self._state.new_id("operation")
        lock = self._live_lock(showtime, user_id)
        if lock is None:
            raise LockExpired
        if lock.operation == operation:
            return self._shown(showtime_id, lock)
        if lock.extensions >= MAX_EXTENSIONS:
            raise ExtensionLimitReached(limit=MAX_EXTENSIONS)
        lock.deadline = self._state.now() + self._ttl_ms
        lock.extensions += 1
        lock.operation = operation
        self._state.save_lock(showtime, lock)
        self._state.announce(showtime, [_locked(lock, lock.seats)], request_id)
        return self._shown(showtime_id, lock)

    async def release(
        self, showtime_id: str, user_id: str, seats: Sequence[str], request_id: str
    ) -> tuple[list[str], Lock | None]:
        """Only what is in the user's own lock; none named: all of it. A lapsed lock is not the
        user's any more: it expires, whole, and nothing of it counts as released.
        """
        showtime, operation = self._state.loaded(showtime_id), self._state.new_id("operation")
        key = (partition_of(showtime_id), operation)
        before = self._state.stored.released.get(key)
        if before and before.until > self._state.now():
            return list(before.values), self._shown_of(showtime, user_id)
        lock = showtime.locks.get(user_id)
        if lock is None:
            return [], None
        if not self._lives(lock):
            self._state.announce(showtime, [self._state.lapse(showtime, lock)], request_id)
            return [], None
        released = self._state.take_out(showtime, lock, seats or lock.seats)
        self._state.stored.released[key] = Remembered(
            self._state.now() + RELEASE_KEPT_MS, dict.fromkeys(released, "")
        )
        if released:
            showtime.free(released)
            if not lock.seats:
                self._state.spend(showtime, user_id, self._state.now())
            event = Happened(
                "seat.released", released, "released", actor=user_id, owner=user_id, lock=lock.id
            )
            self._state.announce(showtime, [event], request_id)
        return released, self._shown_of(showtime, user_id)

    async def revoke(
        self, showtime_id: str, actor_id: str, seats: Sequence[str], request_id: str
    ) -> list[str]:
        """Out of whosever lock, live or lapsed; one event per lock. Bookings are left alone."""
        showtime = self._state.loaded(showtime_id)
        revoked = [seat for seat in seats if showtime.state(seat)[0] == LOCKED]
        events = []
        for lock in list(showtime.locks.values()):
            if taken := self._state.take_out(showtime, lock, revoked):
                showtime.free(taken)
                events.append(
                    Happened(
                        "seat.released",
                        taken,
                        "revoked",
                        actor=actor_id,
                        owner=lock.user,
                        lock=lock.id,
                    )
                )
        if events:
            self._state.announce(showtime, events, request_id)
        return revoked

    async def close(self, showtime_id: str) -> None:
        """For good, as of now: nothing is locked, extended or checked out from here on."""
        self._state.loaded(showtime_id).closes_at = 0

    async def block(
        self, showtime_id: str, actor_id: str, seats: Sequence[str], request_id: str
    ) -> list[str]:
        """Only seats that are free: a lapsed lock that nobody has released yet is not."""
        showtime = self._state.loaded(showtime_id)
        blocked = [seat for seat in seats if showtime.state(seat)[0] == FREE]
        if blocked:
            showtime.mark(blocked, BLOCKED)
            event = Happened("seat.blocked", blocked, actor=actor_id)
            self._state.announce(showtime, [event], request_id)
        return blocked

    async def lock_of(self, showtime_id: str, user_id: str) -> Lock | None:
        """The user's live lock."""
        showtime = self._state.loaded(showtime_id)
        lock = self._live_lock(showtime, user_id)
        return self._shown(showtime_id, lock) if lock else None

    async def locks(self, showtime_id: str) -> list[Lock]:
        """Every live lock, in no order."""
        locks = self._state.loaded(showtime_id).locks.values()
        return [self._shown(showtime_id, lock) for lock in locks if self._lives(lock)]

    async def due_locks(self, partition: int, limit: int) -> list[tuple[str, str]]:
        """Locks past their deadline, oldest first; some may be gone since."""
        return self._state.due(self._state.deadlines(partition), limit)

    async def expire(self, showtime_id: str, user_id: str) -> bool:
        """Never before the deadline, never in a showtime that lost its epoch."""
        showtime = self._state.showtime(showtime_id)
        if not showtime.epoch and (showtime.locks or showtime.checkouts):
            return False
        lock = showtime.locks.get(user_id)
        if lock is None:
            self._state.deadlines(partition_of(showtime_id)).pop((showtime_id, user_id), None)
            return False
        if self._lives(lock):
            return False
        self._state.announce(showtime, [self._state.lapse(showtime, lock)])
        return True

    async def read(self, showtime_id: str, epoch: str = "", seq: int = -1) -> SeatStates | None:
        """A lapsed lock shows until its release is announced: the map is the fold of the events."""
        showtime = self._state.loaded(showtime_id)
        if (showtime.epoch, showtime.seq) == (epoch, seq):
            return None
        taken = {seat: PUBLIC_STATE[state[0]] for seat, state in showtime.seats.items()}
        return SeatStates(showtime.epoch, showtime.seq, self._state.now(), taken)

    async def positions(self, showtime_ids: Iterable[str]) -> list[tuple[str, int] | None]:
        """(epoch, seq) of each, None for one that is not loaded."""
        showtimes = [self._state.showtime(showtime_id) for showtime_id in showtime_ids]
        return [(s.epoch, s.seq) if s.epoch else None for s in showtimes]

    def _open(self, showtime_id: str) -> Showtime:
        showtime = self._state.loaded(showtime_id)
        if self._state.now() >= showtime.closes_at:
            raise ShowtimeClosed
        return showtime

    def _spent(self, showtime: Showtime, user_id: str) -> tuple[int, int]:
        """Return for how long the user held seats for nothing, and until when that is counted; with
        a lapsed lock that nobody has released yet. It is forgotten after twelve lives of a lock."""
        now = self._state.now()
        spent, counted = self._state.conduct(showtime.id).spent.get(user_id, (0, 0))
        if now - counted >= LIVES_KEPT * self._ttl_ms:
            return 0, now
        lock = showtime.locks.get(user_id)
        ended = lock.deadline if lock and not self._lives(lock) else counted
        return (spent + ended - counted, ended) if ended > counted else (spent, counted)

    def _cooling(self, showtime: Showtime, user_id: str, spent: int, counted: int) -> int:
        """Return how many ms too early a new lock would begin; with a live lock none begins."""
        lives = spent // self._ttl_ms if self._max_at_address else 0
        if lives < FREE_LIVES or self._live_lock(showtime, user_id):
            return 0
        pause = min(6 * self._ttl_ms, self._ttl_ms // 10 * 2 ** (lives - FREE_LIVES))
        return max(0, counted + pause - self._state.now())

    def _crowd(self, showtime: Showtime, user_id: str, address: str) -> list[str] | None:
        """Return who else has seats of those who locked from the address; None: it is not known."""
        if not self._max_at_address or not address:
            return None
        listed = self._state.conduct(showtime.id).crowds.get(address, [])
        return [other for other in listed if other != user_id and self._held(showtime, other)]

    def _held(self, showtime: Showtime, user_id: str) -> int:
        lock = self._live_lock(showtime, user_id)
        return (len(lock.seats) if lock else 0) + showtime.in_checkouts(user_id)

    def _first_end(self, showtime: Showtime, users: Sequence[str]) -> int:
        """Return in how many ms the first of their locks ends: within one life at any rate."""
        locks = [lock for user in users if (lock := self._live_lock(showtime, user))]
        return min([lock.deadline - self._state.now() for lock in locks] + [self._ttl_ms])

    def _unavailable(
        self, showtime: Showtime, user_id: str, seats: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Say of each seat that cannot be locked why, and when it may be free again.

        Of a claimed seat whose checkout is over nobody knows when: at any moment.
        """
        found: list[dict[str, Any]] = []
        for seat in seats:
            kind, holder = showtime.state(seat)
            if kind == LOCKED and holder != user_id and self._lives(showtime.locks[holder]):
                found.append(self._until(seat, showtime.locks[holder].deadline))
            elif kind == CLAIMED:
                begun = showtime.checkouts.get(holder)
                found.append(self._until(seat, begun.deadline if begun else 0))
            elif kind in (BOOKED, BLOCKED):
                found.append({"seat": seat, "state": "booked" if kind == BOOKED else "blocked"})
        return found

    def _until(self, seat: str, deadline: int) -> dict[str, Any]:
        left = max(0, deadline - self._state.now())
        return {"seat": seat, "state": "locked", "retry_in_ms": left}

    def _lives(self, lock: HeldLock) -> bool:
        return lock.deadline > self._state.now()

    def _live_lock(self, showtime: Showtime, user_id: str) -> HeldLock | None:
        lock = showtime.locks.get(user_id)
        return lock if lock and self._lives(lock) else None

    def _shown_of(self, showtime: Showtime, user_id: str) -> Lock | None:
        lock = showtime.locks.get(user_id)
        return self._shown(showtime.id, lock) if lock else None

    def _shown(self, showtime_id: str, lock: HeldLock) -> Lock:
        return Lock(
            id=lock.id,
            showtime_id=showtime_id,
            user_id=lock.user,
            seats=list(lock.seats),
            expires_at=lock.deadline,
            remaining_ms=lock.deadline - self._state.now(),
            extensions_left=MAX_EXTENSIONS - lock.extensions,
        )


def _locked(lock: HeldLock, seats: Sequence[str], actor_id: str = "") -> Happened:
    return Happened(
        "seat.locked",
        seats,
        expires_at=lock.deadline,
        actor=actor_id or lock.user,
        owner=lock.user,
        lock=lock.id,
    )
