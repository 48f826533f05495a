"""What must hold in a simulation: at every write, at every answer, and when all has come to rest.

The oracle reads the stores past the server, and remembers what was told to whom: an answer that was
given binds.
"""

from collections import Counter, defaultdict
from typing import Any

from server.booking import Booking
from server.bookings import booking_id_for, payment_key_for
from server.events import AVAILABLE
from server.models import Caller
from server.repo.audit_logs import GENESIS, digest
from server.repo.seat_answers import MAX_EXTENSIONS, PUBLIC_STATE, Lock
from server.repo.seat_log import LogEntry
from tests.simulated_bank import Intent
from tests.simulated_world import HALL, PARTITION, SHOWTIME, World

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
GRACE_SECONDS = 10.0
"""So long after its deadline may a booking be unsettled, once the stores answer again."""


class Oracle:
    def __init__(self, world: World) -> None:
        self._world = world
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()
        self._confirmed: set[str] = set()
        self._wanted: defaultdict[str, set[str]] = defaultdict(set)
        self._house = self._house_told = False
        self._moves: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._payments: dict[str, set[str]] = defaultdict(set)
        self._answers: dict[tuple[str, str], tuple[int, Row]] = {}
        self._acts: list[tuple[str, dict[str, Any]]] = []
        self.events: dict[str, LogEntry] = {}
        self._locked_at: dict[str, int] = {}
        self.lost: set[str] = set()
        world.mongo._written = self._written
        world.on_outcome = self._settled
        world.on_announcement = self._announced

    def broken(self, what: str) -> None:
        self._world.note("ORACLE", what)
        if len(self.violations) < 20:
            self.violations.append(what)

    def rows(self, name: str) -> dict[str, Row]:
        return self._world.mongo.table(name).rows

    # -- at every write ---------------------------------------------------------------------------

    def _written(self, name: str, before: Row | None, after: Row | None) -> None:
        if name == "bookings":
            if after is None:
                self.broken("a booking was deleted")
            else:
                self._booking(before, after)

    def _booking(self, before: Row | None, row: Row) -> None:
        booking_id, status = row["_id"], row["status"]
        if self._world.trace is not None:
            self._world.note("mongo", f"{booking_id[:8]} is {status}", row["seats"], _flags(row))
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
        self._moves[row["_id"]][MOVES[move]] += 1
        if move == ("pending", "expired") and row["expires_at"] > self._world.mongo.now():
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
        now, ttl = self._world.redis_now(), round(self._world.ttl * 1000)
        locks = self._world.seats.state.showtime(SHOWTIME).locks.values()
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
        self._acts.append(("lock", {"lock": lock.id, "seats": seats}))
        self._lives(lock)
        if not set(seats) <= set(lock.seats):
            self.broken(f"{caller.request_id} was told a lock without {seats}: {lock.seats}")

    def _lives(self, lock: Lock) -> None:
        """What is told of a lock's time is so: one TTL from its beginning, one per extension."""
        extensions = MAX_EXTENSIONS - lock.extensions_left
        age = lock.expires_at - self._locked_at.get(lock.id, lock.expires_at)
        if age > round(self._world.ttl * 1000) * (1 + extensions):
            self.broken(f"{lock.id} of {lock.user_id} was told to live {age} ms")

    def told_extended(self, caller: Caller, lock: Any) -> None:
        if isinstance(lock, Lock):
            self.counts["extensions told"] += 1
            self._acts.append(("extend", {"request": caller.request_id, "seats": lock.seats}))
            self._lives(lock)

    def told_released(self, caller: Caller, told: Any) -> None:
        if isinstance(told, tuple) and told[0]:
            self.counts["releases told"] += 1
            self._acts.append(("release", {"request": caller.request_id, "seats": told[0]}))

    def told_revoked(self, caller: Caller, told: Any) -> None:
        if isinstance(told, list) and told:
            self.counts["revocations told"] += 1
            self._acts.append(("revoke", {"request": caller.request_id, "seats": told}))

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
            self._acts.append(("declined", {"intents": self._payments[key]}))

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
        self._house_told = True
        if self.rows("showtimes")[SHOWTIME]["status"] != "cancelled":
            self.broken("the showtime was told to be cancelled and is not")

    # -- when Redis forgets -----------------------------------------------------------------------

    def redis_forgets(self) -> set[str]:
        """Return the events that only Redis knows of."""
        log = self._world.seats.state.stored.logs.get(PARTITION, [])
        return {entry.id for entry in log}

    # -- at rest ----------------------------------------------------------------------------------

    def unsettled(self) -> list[str]:
        """Say what the background work still has to do."""
        world, stored = self._world, self._world.seats.state.stored
        found = [
            f"{row['_id']} is {row['status']} {_flags(row)}"
            for row in self.rows("bookings").values()
            if row["status"] in ("pending", "paying") or _flags(row)
        ]
        found += [f"lock of {user}" for _, user in stored.deadlines.get(PARTITION, {})]
        found += [f"checkout {booking}" for _, booking in stored.checkouts.get(PARTITION, {})]
        found += [f"event {entry.id}" for entry in stored.logs.get(PARTITION, [])]
        found += [f"act {act}" for act in self.rows("audit_outbox")]
        showtime = self.rows("showtimes")[SHOWTIME]
        if showtime.get("cancellation_due"):
            found.append("the house is not cancelled whole")
        if not self.loaded():
            found.append("Redis has not loaded the showtime")
        if world.loop.next_event():
            found.append("something is still on its way")
        return found

    def loaded(self) -> bool:
        showtime = self._world.seats.state.stored.showtimes.get(SHOWTIME)
        return showtime is not None and bool(showtime.epoch)

    def next_deadline(self) -> float | None:
        """Return the next moment at which something becomes due, in seconds since 1970."""
        world, stored = self._world, self._world.seats.state.stored
        moments = [ms / 1000 for ms in stored.deadlines.get(PARTITION, {}).values()]
        moments += [ms / 1000 for ms in stored.checkouts.get(PARTITION, {}).values()]
        names = {"pending": "expires_at", "paying": "pay_by"}
        for row in self.rows("bookings").values():
            if row["status"] in names:
                moments.append(row[names[row["status"]]].timestamp() - world.mongo_skew)
            for name in ("refund_at", "seats_at"):
                if name in row:
                    moments.append(row[name].timestamp() - world.mongo_skew)
        lease = self.rows("leases").get("audit-relay")
        if lease:
            moments.append(lease["until"].timestamp() - world.mongo_skew)
        return min((each for each in moments if each > world.now), default=None)

    def overdue(self, since: float) -> None:
        """Nothing is unsettled long after its deadline, or `since`, when all was well again."""
        names = {"pending": "expires_at", "paying": "pay_by"}
        for row in self.rows("bookings").values():
            if row["status"] in names:
                deadline = row[names[row["status"]]].timestamp() - self._world.mongo_skew
                late = self._world.now - max(deadline, since)
                if late > GRACE_SECONDS:
                    self.broken(f"{row['_id']} is {row['status']} {late:.1f} s past its deadline")

    def judge(self) -> None:
        """Judge the stores at rest."""
        for violation in self._world.unexpected:
            self.broken(violation)
        for left in self.unsettled():
            self.broken(f"left undone: {left}")
        for look in (self._money, self._image, self._mirrors, self._audit, self._told):
            look()

    def _money(self) -> None:
        """What the bank keeps of each booking is what it costs, while it is confirmed."""
        kept: Counter[str] = Counter()
        for intent in self._world.bank.intents.values():
            kept[intent.id.split("-")[0]] += intent.kept
        for row in self.rows("bookings").values():
            sold = row["amount"]["minor"] if row["status"] == "confirmed" else 0
            paid = kept[row["_id"]]
            if paid != sold:
                self.broken(f"{row['_id']} is {row['status']}: sold {sold}, kept {paid}")
            for refund in row.get("refunds", []):
                if refund["status"] != "done":
                    self.broken(f"{row['_id']}: a refund is {refund['status']}")
        if orphans := kept.keys() - self.rows("bookings").keys():
            self.broken(f"paid for what is not there: {sorted(orphans)}")

    def _image(self) -> None:
        """Redis shows what MongoDB says, and nothing else."""
        shown = self._world.seats.state.stored.showtimes[SHOWTIME].seats
        expected = {
            seat: f"b:{row['_id']}"
            for row in self.rows("bookings").values()
            if row["status"] == "confirmed"
            for seat in row["seats"]
        }
        if self.rows("showtimes")[SHOWTIME]["status"] == "cancelled":
            expected |= dict.fromkeys(HALL.seat_ids, "x")
        for seat in HALL.seat_ids:
            if shown.get(seat) != expected.get(seat):
                self.broken(f"{seat}: MongoDB says {expected.get(seat)}, Redis {shown.get(seat)}")

    def _mirrors(self) -> None:
        """What watchers see is what Redis holds."""
        shown = self._world.seats.state.stored.showtimes[SHOWTIME].seats
        states = "".join(PUBLIC_STATE.get(shown.get(s, "")[:1], AVAILABLE) for s in HALL.seat_ids)
        for process in self._world.living:
            if process.channel and process.channel.mirror.states != states:
                seen = process.channel.mirror.states
                self.broken(f"{process.name} shows {seen}, Redis holds {states}")

    def _audit(self) -> None:
        rows = sorted(self.rows("audit_logs").values(), key=lambda row: row["n"])
        previous = GENESIS
        for number, row in enumerate(rows, 1):
            if row["n"] != number or row["previous"] != previous or digest(row) != row["hash"]:
                self.broken(f"audit: the chain breaks at {number} ({row['_id']})")
                break
            previous = row["hash"]
        log = self.rows("audit_logs")
        for booking in self.rows("bookings").values():
            self._timeline(booking, log)
        for event_id, event in self.events.items():
            if event_id not in log:
                if event_id not in self.lost:
                    self.broken(f"audit: {event.type} {event.seats} {event_id} is missing")
                self.counts["events lost with Redis, never told"] += 1
            elif log[event_id]["detail"]["seats"] != event.seats:
                self.broken(f"audit: {event_id} is not what happened")
        invented = [
            row["_id"]
            for row in rows
            if row["action"].startswith("seat.") and row["_id"] not in self.events
        ]
        if invented:
            self.broken(f"audit: nobody did {invented}")
        if self._house_told and f"cancelled-{SHOWTIME}" not in log:
            self.broken("audit: that the house has cancelled is missing")

    def _timeline(self, booking: Row, log: dict[str, Row]) -> None:
        """Its whole timeline is in the log; what happens once is there once."""
        for number, entry in enumerate(booking["timeline"]):
            row = log.get(f"{booking['_id']}-{number}")
            if row is None or (row["action"], row["detail"]) != (entry["action"], entry["detail"]):
                self.broken(f"audit: {booking['_id']} {entry['action']} is missing")
        done = Counter(entry["action"] for entry in booking["timeline"])
        due, given = len(booking.get("refunds", [])), done["payment.refunded"]
        if given != due:
            self.broken(f"{booking['_id']}: {due} refunds, of which is told {given} times")
        happened = self._moves[booking["_id"]] + Counter({"booking.created": 1})
        for action, times in happened.items():
            given_back = len(booking.get("cancelled_seats", ()))
            most = times + (given_back if action == "booking.cancelled" else 0)
            if not times <= done[action] <= most:
                self.broken(f"audit: {booking['_id']}: {action} is told {done[action]} times")
        for notice, count in Counter(booking.get("notices", [])).items():
            if count > 1:
                self.broken(f"{booking['_id']}: notice {notice} {count} times")

    def _told(self) -> None:
        """Whatever was told is in the log."""
        log = list(self.rows("audit_logs").values())
        for kind, act in self._acts:
            if kind == "declined":
                self._declined(act["intents"])
                continue
            word = "seat.locked" if kind in ("lock", "extend") else "seat.released"
            seats = {
                seat
                for row in log
                if row["action"] == word and _is_of(row, kind, act)
                for seat in row["detail"]["seats"]
            }
            if missing := set(act["seats"]) - seats:
                who = act.get("request") or act["lock"]
                self.broken(f"audit: {kind} of {sorted(missing)} ({who}) was told and is missing")

    def _declined(self, keys: set[str]) -> None:
        intents = [self._world.bank.intents.get(key) for key in keys]
        if captured := [each.id for each in intents if each and each.outcome == "captured"]:
            self.broken(f"told to be declined and captured: {captured}")


def _is_of(row: Row, kind: str, act: Row) -> bool:
    """A lock that was asked for again changes nothing, so it is known by its own id."""
    if kind == "lock":
        return bool(row["target"].get("lock_id") == act["lock"])
    return bool(row["request_id"] == act["request"])


def _flags(row: Row) -> list[str]:
    return [name for name in ("seats_due", "refund_due", "audit_due") if row.get(name)]
