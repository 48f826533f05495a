"""What must hold in a simulation at every write and at every answer.

The oracle reads the stores past the server, and remembers what was told to whom: an answer that was
given binds. What must hold at rest is in `tests.simulated_verdict`.
"""

from collections import Counter, defaultdict
from typing import Any

from server.booking import Booking
from server.bookings import booking_id_for, payment_key_for
from server.models import Caller
from server.repo.seat_answers import MAX_EXTENSIONS, Lock
from server.repo.seat_log import LogEntry
from tests.simulated_bank import Intent
from tests.simulated_world import PARTITION, SHOWTIME, World

Row = dict[str, Any]

ALIVE = ("pending", "paying", "confirmed")
MOVES = {
    ("pending", "paying"): "payment.started",
    ("paying", "confirmed"): "booking.confirmed",
    ("paying", "pending"): "payment.declined",
    ("paying", "expired"): "booking.expired",
    ("pending", "expired"): "booking.expired",
    ("pending", "cancelled"): "booking.cancelled",
    ("confirmed", "cancelled"): "booking.cancelled",
}
"""How a booking may go from one status to another, and what its timeline says of it then."""


class Oracle:
    def __init__(self, world: World) -> None:
        self.world = world
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()
        self._confirmed: set[str] = set()
        self._wanted: defaultdict[str, set[str]] = defaultdict(set)
        self._house = False
        self.house_told = False
        self.moves: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._payments: dict[str, set[str]] = defaultdict(set)
        self._answers: dict[tuple[str, str], tuple[int, Row]] = {}
        self.acts: list[tuple[str, dict[str, Any]]] = []
        self.events: dict[str, LogEntry] = {}
        self._locked_at: dict[str, int] = {}
        self.lost: set[str] = set()
        world.mongo._written = self._written
        world.on_outcome = self._settled
        world.on_announcement = self._announced

    def broken(self, what: str) -> None:
        self.world.note("ORACLE", what)
        if len(self.violations) < 20:
            self.violations.append(what)

    def rows(self, name: str) -> dict[str, Row]:
        return self.world.mongo.table(name).rows

    # -- at every write ---------------------------------------------------------------------------

    def _written(self, name: str, before: Row | None, after: Row | None) -> None:
        if name == "bookings":
            if after is None:
                self.broken("a booking was deleted")
            else:
                self._booking(before, after)

    def _booking(self, before: Row | None, row: Row) -> None:
        booking_id, status = row["_id"], row["status"]
        if self.world.trace is not None:
            self.world.note("mongo", f"{booking_id[:8]} is {status}", row["seats"], flags(row))
        if before is None:
            if status != "pending":
                self.broken(f"{booking_id} begins as {status}")
        elif before["status"] != status:
            self._moved(before, row)
        if row.get("claims") != (row["seats"] if status in ALIVE else None):
            self.broken(f"{booking_id} is {status} and claims {row.get('claims')}")
        for other in self.rows("bookings").values():
            both = set(row.get("claims", ())) & set(other.get("claims", ()))
            if both and other["_id"] != booking_id:
                self.broken(f"{sorted(both)} belong to {booking_id} and {other['_id']}")
        if before and len(row["timeline"]) < len(before["timeline"]):
            self.broken(f"{booking_id} forgets what happened to it")
        cancelled = before and before["status"] != "cancelled" == status
        if cancelled and not self._house and not self._wanted[booking_id] >= set(row["seats"]):
            self.broken(f"{booking_id} is cancelled, and nobody wanted that")
        if before and set(before["seats"]) - set(row["seats"]) - self._wanted[booking_id]:
            self.broken(f"{booking_id} loses seats that nobody gave back")
        if booking_id in self._confirmed and status not in ("confirmed", "cancelled"):
            self.broken(f"{booking_id} was told to be confirmed and is {status}")

    def _moved(self, before: Row, row: Row) -> None:
        move = before["status"], row["status"]
        if move not in MOVES:
            self.broken(f"{row['_id']} goes from {move[0]} to {move[1]}")
            return
        self.moves[row["_id"]][MOVES[move]] += 1
        if move == ("pending", "expired") and row["expires_at"] > self.world.mongo.now():
            self.broken(f"{row['_id']} expires before its time")

    def _settled(self, intent: Intent) -> None:
        """Money moves only for a booking that has this payment under way."""
        self.counts[f"intents {intent.outcome}"] += 1
        row = self.rows("bookings").get(intent.id.split("-")[0])
        under_way = row and row["status"] == "paying" and row.get("intent_id") == intent.id
        if intent.outcome == "captured" and not under_way:
            self.broken(f"{intent.id} is captured while its booking is {row and row['status']}")

    def _announced(self, entries: list[LogEntry]) -> None:
        for entry in entries:
            if entry.id in self.events:
                self.broken(f"two events are called {entry.id}")
            self.events[entry.id] = entry
        now, ttl = self.world.redis_now(), round(self.world.ttl * 1000)
        locks = self.world.seats.state.showtime(SHOWTIME).locks.values()
        self._locked_at = {lock.id: self._locked_at.get(lock.id, now) for lock in locks}
        for lock in locks:
            age = lock.deadline - self._locked_at[lock.id]
            if age > ttl * (1 + lock.extensions):
                self.broken(f"{lock.id} of {lock.user} lives {age} ms")

    # -- what was told ----------------------------------------------------------------------------

    def told_lock(self, caller: Caller, seats: list[str], lock: Any) -> None:
        if not isinstance(lock, Lock):
            return
        self.counts["locks told"] += 1
        self.acts.append(("lock", {"lock": lock.id, "seats": seats}))
        self._lives(lock)
        if not set(seats) <= set(lock.seats):
            self.broken(f"{caller.request_id} was told a lock without {seats}: {lock.seats}")

    def _lives(self, lock: Lock) -> None:
        """What is told of a lock's time is so: one TTL from its beginning, one per extension."""
        extensions = MAX_EXTENSIONS - lock.extensions_left
        age = lock.expires_at - self._locked_at.get(lock.id, lock.expires_at)
        if age > round(self.world.ttl * 1000) * (1 + extensions):
            self.broken(f"{lock.id} of {lock.user_id} was told to live {age} ms")

    def told_extended(self, caller: Caller, lock: Any) -> None:
        if isinstance(lock, Lock):
            self.counts["extensions told"] += 1
            self.acts.append(("extend", {"request": caller.request_id, "seats": lock.seats}))
            self._lives(lock)

    def told_released(self, caller: Caller, told: Any) -> None:
        if isinstance(told, tuple) and told[0]:
            self.counts["releases told"] += 1
            self.acts.append(("release", {"request": caller.request_id, "seats": told[0]}))

    def told_revoked(self, caller: Caller, told: Any) -> None:
        if isinstance(told, list) and told:
            self.counts["revocations told"] += 1
            self.acts.append(("revoke", {"request": caller.request_id, "seats": told}))

    def pays(self, booking_id: str, key: str, method: str) -> None:
        self._payments[key].add(payment_key_for(booking_id, key, method))

    def told_once(self, user: str, kind: str, key: str, status: int, body: Row) -> None:
        """The same key has one answer for ever, and what it says is so."""
        first = self._answers.setdefault((kind, key), (status, body))
        if first != (status, body):
            self.broken(f"{kind} {key} was answered {first} and {(status, body)}")
        self.counts[f"{kind} {status}"] += 1
        row = self.rows("bookings").get(body.get("id", ""))
        if kind == "book" and status == 201:
            self._told_booked(user, key, body, row)
        elif kind == "pay" and status == 200:
            self._confirmed.add(body["id"])
            if body["status"] != "confirmed":
                self.broken(f"{key} was paid and told {body['status']}")
            if row is None or row["status"] not in ("confirmed", "cancelled"):
                self.broken(f"{body['id']} was told to be confirmed and is {row and row['status']}")
        elif kind == "pay" and status == 402:
            self.acts.append(("declined", {"intents": self._payments[key]}))

    def _told_booked(self, user: str, key: str, body: Row, row: Row | None) -> None:
        if body["id"] != booking_id_for(user, key):
            self.broken(f"{key} of {user} made {body['id']}")
        if row is None or row["user_id"] != user:
            self.broken(f"{body['id']} was told and is not there")

    def wants_cancelled(self, booking_id: str, seats: list[str]) -> None:
        self._wanted[booking_id] |= set(seats)

    def told_cancelled(self, booking: Booking, seats: list[str]) -> None:
        self.counts["cancellations told"] += 1
        row = self.rows("bookings")[booking.id]
        if row["status"] != "cancelled" and set(row["seats"]) & set(seats):
            self.broken(f"{booking.id}: {seats} were told to be cancelled and are not")

    def wants_house_cancelled(self) -> None:
        self._house = True

    def told_house_cancelled(self) -> None:
        self.house_told = True
        if self.rows("showtimes")[SHOWTIME]["status"] != "cancelled":
            self.broken("the showtime was told to be cancelled and is not")

    # -- when Redis forgets -----------------------------------------------------------------------

    def redis_forgets(self) -> set[str]:
        """Return the events that only Redis knows of."""
        log = self.world.seats.state.stored.logs.get(PARTITION, [])
        return {entry.id for entry in log}


def flags(row: Row) -> list[str]:
    return [name for name in ("seats_due", "refund_due", "audit_due") if row.get(name)]
