"""What must hold in a simulation when all has come to rest: nothing is due any more, and the
stores, the bank, the map and the audit log tell one story.
"""

from collections import Counter
from typing import Any

from server.events import AVAILABLE
from server.repo.audit_logs import GENESIS, digest
from server.repo.seat_answers import PUBLIC_STATE
from tests.simulated_oracle import Oracle, flags
from tests.simulated_world import HALL, PARTITION, SHOWTIME

Row = dict[str, Any]

GRACE_SECONDS = 10.0
"""So long after its deadline may a booking be unsettled, once the stores answer again."""


class Verdict:
    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self._world = oracle.world
        self._broken = oracle.broken

    def unsettled(self) -> list[str]:
        """Say what the background work still has to do."""
        world, stored = self._world, self._world.seats.state.stored
        found = [
            f"{row['_id']} is {row['status']} {flags(row)}"
            for row in self._oracle.rows("bookings").values()
            if row["status"] in ("pending", "paying") or flags(row)
        ]
        found += [f"lock of {user}" for _, user in stored.deadlines.get(PARTITION, {})]
        found += [f"checkout {booking}" for _, booking in stored.checkouts.get(PARTITION, {})]
        found += [f"event {entry.id}" for entry in stored.logs.get(PARTITION, [])]
        found += [f"act {act}" for act in self._oracle.rows("audit_outbox")]
        showtime = self._oracle.rows("showtimes")[SHOWTIME]
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
        for row in self._oracle.rows("bookings").values():
            if row["status"] in names:
                moments.append(row[names[row["status"]]].timestamp() - world.mongo_skew)
            for name in ("refund_at", "seats_at"):
                if name in row:
                    moments.append(row[name].timestamp() - world.mongo_skew)
        lease = self._oracle.rows("leases").get("audit-relay")
        if lease:
            moments.append(lease["until"].timestamp() - world.mongo_skew)
        return min((each for each in moments if each > world.now), default=None)

    def overdue(self, since: float) -> None:
        """Nothing is unsettled long after its deadline, or `since`, when all was well again."""
        names = {"pending": "expires_at", "paying": "pay_by"}
        for row in self._oracle.rows("bookings").values():
            if row["status"] in names:
                deadline = row[names[row["status"]]].timestamp() - self._world.mongo_skew
                late = self._world.now - max(deadline, since)
                if late > GRACE_SECONDS:
                    self._broken(f"{row['_id']} is {row['status']} {late:.1f} s past its deadline")

    def judge(self) -> None:
        """Judge the stores at rest."""
        for violation in self._world.unexpected:
            self._broken(violation)
        for left in self.unsettled():
            self._broken(f"left undone: {left}")
        if self.loaded():
            self._image()
            self._mirrors()
        for look in (self._money, self._audit, self._told):
            look()

    def _money(self) -> None:
        """What the bank keeps of each booking is what it costs, while it is confirmed."""
        kept: Counter[str] = Counter()
        for intent in self._world.bank.intents.values():
            kept[intent.id.split("-")[0]] += intent.kept
        for row in self._oracle.rows("bookings").values():
            sold = row["amount"]["minor"] if row["status"] == "confirmed" else 0
            paid = kept[row["_id"]]
            if paid != sold:
                self._broken(f"{row['_id']} is {row['status']}: sold {sold}, kept {paid}")
            for refund in row.get("refunds", []):
                if refund["status"] != "done":
                    self._broken(f"{row['_id']}: a refund is {refund['status']}")
        if orphans := kept.keys() - self._oracle.rows("bookings").keys():
            self._broken(f"paid for what is not there: {sorted(orphans)}")

    def _image(self) -> None:
        """Redis shows what MongoDB says, and nothing else."""
        shown = self._world.seats.state.stored.showtimes[SHOWTIME].seats
        expected = {
            seat: f"b:{row['_id']}"
            for row in self._oracle.rows("bookings").values()
            if row["status"] == "confirmed"
            for seat in row["seats"]
        }
        if self._oracle.rows("showtimes")[SHOWTIME]["status"] == "cancelled":
            expected |= dict.fromkeys(HALL.seat_ids, "x")
        for seat in HALL.seat_ids:
            if shown.get(seat) != expected.get(seat):
                self._broken(f"{seat}: MongoDB says {expected.get(seat)}, Redis {shown.get(seat)}")

    def _mirrors(self) -> None:
        """What watchers see is what Redis holds."""
        shown = self._world.seats.state.stored.showtimes[SHOWTIME].seats
        states = "".join(PUBLIC_STATE.get(shown.get(s, "")[:1], AVAILABLE) for s in HALL.seat_ids)
        for process in self._world.living:
            if process.channel and process.channel.mirror.states != states:
                seen = process.channel.mirror.states
                self._broken(f"{process.name} shows {seen}, Redis holds {states}")

    def _audit(self) -> None:
        rows = sorted(self._oracle.rows("audit_logs").values(), key=lambda row: row["n"])
        previous = GENESIS
        for number, row in enumerate(rows, 1):
            if row["n"] != number or row["previous"] != previous or digest(row) != row["hash"]:
                self._broken(f"audit: the chain breaks at {number} ({row['_id']})")
                break
            previous = row["hash"]
        log = self._oracle.rows("audit_logs")
        for booking in self._oracle.rows("bookings").values():
            self._timeline(booking, log)
        for event_id, event in self._oracle.events.items():
            if event_id not in log:
                if event_id not in self._oracle.lost:
                    self._broken(f"audit: {event.type} {event.seats} {event_id} is missing")
                self._oracle.counts["events lost with Redis, never told"] += 1
            elif log[event_id]["detail"]["seats"] != event.seats:
                self._broken(f"audit: {event_id} is not what happened")
        invented = [
            row["_id"]
            for row in rows
            if row["action"].startswith("seat.") and row["_id"] not in self._oracle.events
        ]
        if invented:
            self._broken(f"audit: nobody did {invented}")
        if self._oracle.house_told and f"cancelled-{SHOWTIME}" not in log:
            self._broken("audit: that the house has cancelled is missing")

    def _timeline(self, booking: Row, log: dict[str, Row]) -> None:
        """Its whole timeline is in the log; what happens once is there once."""
        for number, entry in enumerate(booking["timeline"]):
            row = log.get(f"{booking['_id']}-{number}")
            if row is None or (row["action"], row["detail"]) != (entry["action"], entry["detail"]):
                self._broken(f"audit: {booking['_id']} {entry['action']} is missing")
        done = Counter(entry["action"] for entry in booking["timeline"])
        due, given = len(booking.get("refunds", [])), done["payment.refunded"]
        if given != due:
            self._broken(f"{booking['_id']}: {due} refunds, of which is told {given} times")
        happened = self._oracle.moves[booking["_id"]] + Counter({"booking.created": 1})
        for action, times in happened.items():
            given_back = len(booking.get("cancelled_seats", ()))
            most = times + (given_back if action == "booking.cancelled" else 0)
            if not times <= done[action] <= most:
                self._broken(f"audit: {booking['_id']}: {action} is told {done[action]} times")
        for notice, count in Counter(booking.get("notices", [])).items():
            if count > 1:
                self._broken(f"{booking['_id']}: notice {notice} {count} times")

    def _told(self) -> None:
        """Whatever was told is in the log."""
        log = list(self._oracle.rows("audit_logs").values())
        for kind, act in self._oracle.acts:
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
                self._broken(f"audit: {kind} of {sorted(missing)} ({who}) was told and is missing")

    def _declined(self, keys: set[str]) -> None:
        intents = [self._world.bank.intents.get(key) for key in keys]
        if captured := [each.id for each in intents if each and each.outcome == "captured"]:
            self._broken(f"told to be declined and captured: {captured}")


def _is_of(row: Row, kind: str, act: Row) -> bool:
    """A lock that was asked for again changes nothing, so it is known by its own id."""
    if kind == "lock":
        return bool(row["target"].get("lock_id") == act["lock"])
    return bool(row["request_id"] == act["request"])
