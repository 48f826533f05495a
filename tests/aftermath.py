"""What must hold of a showtime once everything has healed, whatever was killed before.

Read from the stores past the server, and compared with what customers were told. Nothing is left to
be done by then: no lock, no open booking, nothing due.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise
from time import monotonic
from typing import Any

from server.app import run_check
from server.bookings import payment_key_for
from server.repo.keys import showtime_keys
from server.repo.layouts import LayoutRepo
from server.repo.mongo import Document
from server.settings import Settings
from tests.customers import Ack, Ledger, same
from tests.replay import strangers
from tests.stored import Stored


async def rest(stored: Stored, showtime: str) -> str:
    """Return what is still to be done about a showtime; "" when nothing is."""
    due = {"$or": [{name: True} for name in ("audit_due", "seats_due", "refund_due")]}
    of_it = {"showtime_id": showtime}
    bookings, keys = stored.database["bookings"], showtime_keys(showtime)
    found = {
        "open bookings": await bookings.count_documents(
            {**of_it, "status": {"$in": ["pending", "paying"]}}
        ),
        "bookings with work due": await bookings.count_documents({**of_it, **due}),
        "locks": await stored.redis.hlen(keys["locks_key"]),
        "deadlines": await stored.redis.zcard(keys["deadlines_key"]),
        "checkouts": await stored.redis.zcard(keys["checkouts_key"]),
        "unaudited acts": await stored.database["audit_outbox"].count_documents({}),
        "unaudited events": await stored.redis.xlen(keys["log_key"]),
        "payments to come": await stored.ledger.count_documents(
            {"status": "created", "captures_at": {"$gt": datetime.now(UTC)}}
        ),
        "cancellation of the showtime": await stored.database["showtimes"].count_documents(
            {"_id": showtime, "cancellation_due": True}
        ),
    }
    return ", ".join(f"{what}: {count}" for what, count in found.items() if count)


async def audited(stored: Stored, showtime: str, seconds: float = 60) -> None:
    """Wait until the audit log holds all that has happened; other work may still be due."""
    give_up = monotonic() + seconds
    while "unaudited" in (left := await rest(stored, showtime)) or "work due" in left:
        assert monotonic() < give_up, left
        await asyncio.sleep(0.05)


async def checked(stored: Stored) -> list[str]:
    """Run what `rowlock check` runs."""
    settings = Settings(  # type: ignore[call-arg]
        _env_file=None, redis_url=stored.redis_url, mongo_uri=stored.mongo_uri
    )
    return await run_check(settings)


class Aftermath:
    """`problems` after `judge`: one line each. `lossy`: Redis may have been set back meanwhile."""

    def __init__(
        self, stored: Stored, showtime: str, ledger: Ledger, *, lossy: bool = False
    ) -> None:
        self.problems: list[str] = []
        self._stored = stored
        self._showtime = showtime
        self._ledger = ledger
        self._lossy = lossy
        self._rows: dict[str, Document] = {}
        self._intents: dict[str, list[Document]] = {}

    async def judge(self) -> list[str]:
        for row in await self._stored.bookings_of(self._showtime):
            self._rows[row["_id"]] = row
            self._intents[row["_id"]] = await self._stored.intents_of(row["_id"])
        self.problems += [f"not answered: {what}" for what in self._ledger.unanswered]
        self.problems += [f"a bug: {what}" for what in sorted(self._ledger.bugs)]
        self._sold_once()
        self._money()
        self._answers()
        self._repeats()
        await self._map()
        await self._audit()
        return self.problems

    # -- the stores among themselves ------------------------------------------------------------

    def _sold_once(self) -> None:
        """No seat has two claims, and none was ever two bookings' at a time."""
        claims, spans = Counter[str](), defaultdict(list)
        for booking, row in self._rows.items():
            claims.update(row.get("claims", ()))
            for seat, span in _spans(row).items():
                spans[seat].append((*span, booking))
        self.problems += [f"{seat} is claimed twice" for seat, n in claims.items() if n > 1]
        for seat, found in spans.items():
            found.sort(key=lambda span: span[0])
            for (_, end, one), (start, _, other) in pairwise(found):
                if end is None or end > start:
                    self.problems.append(f"{seat} was sold to {one} and to {other}")

    def _money(self) -> None:
        """A booking is paid for once, if it stands, and what was given back was paid back."""
        for booking, row in self._rows.items():
            captured = [i for i in self._intents[booking] if _is_captured(i)]
            kept = sum(_kept(i) for i in captured)
            owed = row["amount"]["minor"] if row["status"] == "confirmed" else 0
            if kept != owed:
                self.problems.append(f"{booking} is {row['status']}: {kept} kept, {owed} owed")
            if len(captured) > 1:
                self.problems.append(f"{booking} was paid for {len(captured)} times")

    async def _map(self) -> None:
        """Redis shows the claims and the blocked seats, and nothing else."""
        wanted: dict[str, str] = {}
        planned = await self._stored.database["showtimes"].find_one({"_id": self._showtime})
        assert planned is not None
        shown = await self._stored.seats(self._showtime)
        if planned["status"] == "cancelled":
            layout = await LayoutRepo(self._stored.database).get(planned["layout_id"])
            wanted = dict.fromkeys(layout.seat_ids, "x")
        for booking, row in self._rows.items():
            letter = "b" if row["status"] == "confirmed" else "c"
            wanted |= dict.fromkeys(row.get("claims", ()), f"{letter}:{booking}")
        for seat in sorted(shown.keys() | wanted.keys()):
            if shown.get(seat) != wanted.get(seat):
                what = f"{seat}: Redis has {shown.get(seat)}, it should be {wanted.get(seat)}"
                self.problems.append(what)

    async def _audit(self) -> None:
        """Every entry of a timeline and every numbered change of seats is in the log, once."""
        logs = self._stored.database["audit_logs"]
        found = await logs.find({"target.showtime_id": self._showtime}).to_list(None)
        ids = {entry["_id"]: entry["action"] for entry in found}
        for booking, row in self._rows.items():
            for number, entry in enumerate(row["timeline"]):
                if ids.pop(f"{booking}-{number}", None) != entry["action"]:
                    self.problems.append(f"{booking}-{number} {entry['action']} is not audited")
        await self._numbers([name for name, action in ids.items() if action.startswith("seat.")])
        if not self._lossy:
            owners = {booking: row["user_id"] for booking, row in self._rows.items()}
            seats = [entry for entry in found if entry["action"].startswith("seat.")]
            self.problems += strangers(seats, owners)

    async def _numbers(self, names: list[str]) -> None:
        """The change sets of the epoch that stands are numbered without a hole; 1 is silent."""
        meta = await self._stored.redis.hgetall(showtime_keys(self._showtime)["meta_key"])
        numbers = set()
        for name in names:
            epoch, _, seq, _ = name.rsplit("-", 3)
            if epoch == meta["epoch"]:
                numbers.add(int(seq))
        missing = set(range(2, int(meta["seq"]) + 1)) - numbers
        if missing:
            self.problems.append(f"changes {sorted(missing)} of the seats are not audited")

    # -- what was told ----------------------------------------------------------------------------

    def _answers(self) -> None:
        for ack in self._ledger.acks:
            wrong = self._untrue(ack)
            if wrong:
                what = f"{ack.kind} {ack.request_id} of {ack.booking}: {ack.status}"
                self.problems.append(f"{what}: {wrong}")

    def _untrue(self, ack: Ack) -> str:
        row = self._rows.get(ack.booking)
        happened = [entry["action"] for entry in row["timeline"]] if row else []
        match ack.kind, ack.status:
            case "create", 201:
                theirs = row and sorted(row["seats"] + row.get("cancelled_seats", []))
                return "" if theirs == sorted(ack.seats) else f"stored are {theirs}"
            case "pay", 200:
                return "" if "booking.confirmed" in happened else f"{happened}"
            case "pay", 402:
                return "" if "payment.declined" in happened else f"{happened}"
            case "pay", 409:
                intent = payment_key_for(ack.booking, ack.key, ack.body["payment_method"])
                kept = sum(_kept(i) for i in self._intents[ack.booking] if i["_id"] == intent)
                return f"refused, but {kept} were kept" if kept else ""
            case "cancel", 200:
                return self._not_given_back(ack, row or {})
            case ("lock" | "extend" | "release" | "revoke", 200) | ("pay", 202):
                return ""
            case ("create" | "lock" | "extend" | "cancel", 409) | ("house", 200 | 202):
                return ""
            case "sign-in", 303:
                return ""
        return "" if ack.kind.endswith("again") else f"there should be no such answer: {ack.answer}"

    def _not_given_back(self, ack: Ack, row: Mapping[str, Any]) -> str:
        if ack.seats:
            kept = set(ack.seats) & set(row.get("claims", ()))
            return f"{kept} were kept" if kept else ""
        return "" if row.get("status") == "cancelled" else f"it is {row.get('status')}"

    def _repeats(self) -> None:
        """One key has one answer and one effect."""
        first: dict[tuple[str, str, str], Ack] = {}
        for ack in self._ledger.acks:
            if not ack.key:
                continue
            kind = ack.kind.removesuffix(" again")
            known = first.setdefault((ack.user, kind, ack.key), ack)
            if not same(known.answer, ack.answer):
                what = f"{known.answer.status} {known.answer.body}, then {ack.answer.body}"
                self.problems.append(f"key {ack.key} has two answers: {what}")
            late = ack.kind.endswith("again")
            if late and ack.answer.headers.get("idempotent-replayed") != "true":
                self.problems.append(f"{ack.kind} of key {ack.key} was no replay: {ack.answer}")
        for booking in self._rows.keys() - self._ledger.asked:
            self.problems.append(f"nobody asked for {booking}")


def _spans(row: Document) -> dict[str, tuple[datetime, datetime | None]]:
    """Return when each seat was sold by this booking, from when until when."""
    spans: dict[str, tuple[datetime, datetime | None]] = {}
    for entry in row["timeline"]:
        if entry["action"] == "booking.confirmed":
            spans |= dict.fromkeys(entry["detail"]["seats"], (entry["at"], None))
        elif entry["action"] == "booking.cancelled":
            for seat in entry["detail"].get("seats", list(spans)):
                if seat in spans and spans[seat][1] is None:
                    spans[seat] = (spans[seat][0], entry["at"])
    return spans


def _is_captured(intent: Document) -> bool:
    """A capture whose moment has come stands, though nobody has written it down yet."""
    late = intent["status"] == "created" and "captures_at" in intent
    return intent["status"] == "captured" or (late and intent["captures_at"] <= datetime.now(UTC))


def _kept(intent: Document) -> int:
    if not _is_captured(intent):
        return 0
    return int(intent["amount"]["minor"] - sum(intent["refunds"].values()))
