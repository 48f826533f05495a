"""Judges a sale by what is stored: answers, watchers and stores, each against the history.

Kinds of violation, beside those of `tests.history`:

partial grant   an answer of 200 to which the stored change does not amount, or in two steps
change by refusal  a refused lock has changed something
claim lost      somebody could lock a seat that an open booking has
untrue refusal  a seat was said to be unavailable, or for how long, that was not
untrue answer   an answer tells of a release, a booking or a sale that is not stored
server error    an answer of 5xx, or one that the request cannot have
watcher         a watcher, or a fetched seat map, shows another map than the events amount to
store           Redis or MongoDB hold something else than the history
two claims      MongoDB holds two claims or two sales of a seat at a time
money           captured minus refunded is not the sum of the confirmed bookings
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from math import inf
from operator import itemgetter
from typing import Any

from redis.asyncio import Redis

from server.models import to_ms
from server.repo.keys import showtime_keys
from server.repo.mongo import Database, Document
from tests.buyers import Attempt
from tests.history import UNKNOWN, History, Holding, Violation
from tests.watcher import Sight

EXPECTED = {
    "lock": {200, 409},
    "my lock": {200},
    "extend": {200, 409},
    "release": {200},
    "create": {201, 409},
    "pay": {200, 202, 402, 409},
    "cancel": {200, 409},
}


_ENDS = ("booking.cancelled", "booking.expired")


class Answers:
    """Each attempt of a buyer against the history. `lossy`: the store was lost meanwhile."""

    def __init__(
        self,
        history: History,
        attempts: Sequence[Attempt],
        bookings: Sequence[Document],
        *,
        lossy: bool,
    ) -> None:
        self.violations: list[Violation] = []
        self._history = history
        self._attempts = attempts
        self._bookings = {row["_id"]: row for row in bookings}
        self._checkouts: dict[str, set[str]] = defaultdict(set)
        for attempt in attempts:
            if attempt.kind == "create":
                self._checkouts[attempt.user].update(attempt.seats)
        for attempt in attempts:
            self._judge(attempt, lossy=lossy)
        self._claims_kept()

    def _judge(self, attempt: Attempt, *, lossy: bool) -> None:
        answer = attempt.answer
        if lossy and answer.status == 503 and answer.headers.get("retry-after", "").isdigit():
            return
        if answer.status not in EXPECTED.get(attempt.kind, ()):
            self._complain("server error", attempt, f"{answer.body}")
            return
        if answer.status in (402, 409) and attempt.kind != "lock" and attempt.kind != "create":
            return
        if self._history.blind(answer.sent_at, answer.answered_at):
            return
        match attempt.kind, answer.status:
            case "lock", 200:
                self._granted(attempt)
            case "lock", 409:
                if self._history.of_request(attempt.request_id):
                    self._complain("change by refusal", attempt, "it has events")
                self._refused(attempt)
            case "create", 409:
                self._refused(attempt)
            case "release", 200:
                self._released(attempt)
            case "create" | "pay" | "cancel", _:
                self._told(attempt)

    def _claims_kept(self) -> None:
        """From the answer to a booking until its end nobody gets to lock its seats."""
        spans = defaultdict(list)
        for attempt in self._attempts:
            row = self._bookings.get(attempt.booking)
            if row and (attempt.kind, attempt.status) == ("create", 201):
                ends = [to_ms(e["at"]) for e in row["timeline"] if e["action"] in _ENDS]
                for seat in attempt.seats:
                    spans[seat].append((attempt.answer.answered_at, min(ends, default=inf), row))
        for event in self._history.events():
            if event.type != "seat.locked" or event.booking:
                continue
            for seat in event.seats:
                for start, end, row in spans.get(seat, ()):
                    if start < event.at < end:
                        what = f"{seat} of {row['_id']} was locked: {event}"
                        self.violations.append(Violation("claim lost", what))

    def _granted(self, attempt: Attempt) -> None:
        """All that was asked for is the caller's, and what is new came in one change set."""
        asked, user = set(attempt.seats), attempt.user
        mine = attempt.answer.body["lock"]["seats"]
        if not asked <= set(mine):
            self._complain("partial grant", attempt, "the answer lacks seats")
        locked = [
            (epoch, event)
            for epoch, event in self._history.of_request(attempt.request_id)
            if event.type == "seat.locked"
        ]
        if not locked:
            for seat in asked:
                if not any(self._is_of(user, had) for had in self._during(attempt, seat)):
                    self._complain("partial grant", attempt, f"{seat} was never theirs")
            return
        (epoch, event), *more = locked
        if more or not set(event.seats) <= asked:
            self._complain("partial grant", attempt, f"it changed {[e.seats for _, e in locked]}")
        for seat in set(mine) - set(event.seats):
            had = epoch.timelines[seat].before(event.seq)
            if had is None or had.user != user or had.booked:
                self._complain("partial grant", attempt, f"{seat} was {had}")

    def _refused(self, attempt: Attempt) -> None:
        body = attempt.answer.body
        if body["code"] == "seats_unavailable" and not body["unavailable"]:
            self._complain("untrue refusal", attempt, "nothing is unavailable")
        for entry in body.get("unavailable", ()):
            during = self._during(attempt, entry["seat"])
            if not any(self._agrees(attempt, entry, had) for had in during):
                self._complain("untrue refusal", attempt, f"{entry}, but it was {during}")

    def _agrees(self, attempt: Attempt, entry: Mapping[str, Any], had: Holding | None) -> bool:
        if had is None:
            return False
        if had.user == UNKNOWN:
            return True
        if entry["state"] == "booked":
            return had.booked
        if had.booked or entry["state"] != "locked":
            return False
        if had.user == attempt.user and entry["seat"] not in self._checkouts[had.user]:
            return False
        wait = entry.get("retry_in_ms", 0)
        judged_at = had.deadline - wait
        answer = attempt.answer
        return not wait or answer.sent_at - 2 <= judged_at <= answer.answered_at + 2

    def _released(self, attempt: Attempt) -> None:
        events = [event for _, event in self._history.of_request(attempt.request_id)]
        stored = [seat for event in events if event.reason == "released" for seat in event.seats]
        if stored != attempt.answer.body["released"]:
            self._complain("untrue answer", attempt, f"released were {stored}")

    def _told(self, attempt: Attempt) -> None:
        """What a booking's owner was told stands in its timeline."""
        row = self._bookings.get(attempt.booking)
        status = attempt.answer.body["booking"]["status"]
        happened = [entry["action"] for entry in row["timeline"]] if row else []
        wanted = {
            "pending": "booking.created",
            "paying": "payment.started",
            "confirmed": "booking.confirmed",
            "cancelled": "booking.cancelled",
        }
        if wanted.get(status) not in happened:
            self._complain("untrue answer", attempt, f"told {status}, stored {happened}")

    def _during(self, attempt: Attempt, seat: str) -> list[Holding | None]:
        answer = attempt.answer
        return self._history.between(seat, answer.sent_at, answer.answered_at)

    def _is_of(self, user: str, had: Holding | None) -> bool:
        return had is not None and had.user == user and not had.booked

    def _complain(self, kind: str, attempt: Attempt, why: str) -> None:
        asked = f"{attempt.kind} {attempt.request_id} of {attempt.user} {attempt.seats}"
        self.violations.append(Violation(kind, f"{asked}: {attempt.status}: {why}"))


def of_sights(history: History, name: str, sights: Iterable[Sight]) -> list[Violation]:
    """A map seen at a position is what the events up to there amount to."""
    return [
        Violation("watcher", f"{name} at {sight.epoch}-{sight.seq}: {difference}")
        for sight in sights
        if (difference := _difference(sight.states, history.states(sight.epoch, sight.seq)))
    ]


def _difference(seen: str, expected: str | None) -> str:
    if expected is None:
        return "there is no such position"
    if len(seen) != len(expected):
        return f"{len(seen)} seats"
    wrong = [
        f"{place}:{was} not {should}"
        for place, (was, should) in enumerate(zip(seen, expected, strict=True))
        if was != should != UNKNOWN
    ]
    return ", ".join(wrong[:10])


async def of_claims(database: Database, showtime: str) -> list[Violation]:
    """No seat is claimed twice now, and none was ever sold twice at a time."""
    claims, sales = defaultdict(list), defaultdict(list)
    async for row in database["bookings"].find({"showtime_id": showtime}):
        for seat in row.get("claims", ()):
            claims[seat].append(row["_id"])
        at = {entry["action"]: entry["at"] for entry in row["timeline"]}
        if "booking.confirmed" in at:
            sale = (at["booking.confirmed"], at.get("booking.cancelled"), row["_id"])
            for seat in row["seats"]:
                sales[seat].append(sale)
    twice = [f"{seat}: claimed by {ids}" for seat, ids in claims.items() if len(ids) > 1]
    for seat, spans in sales.items():
        twice += [
            f"{seat}: sold by {first} and {second}"
            for (_, end, first), (start, _, second) in pairwise(sorted(spans, key=itemgetter(0)))
            if end is None or end > start
        ]
    return [Violation("two claims", what) for what in twice]


async def of_redis(
    database: Database, redis: Redis, showtime: str, history: History
) -> list[Violation]:
    """Redis shows exactly MongoDB's claims, and the locks that the history has."""
    claims = {}
    async for row in database["bookings"].find({"showtime_id": showtime}):
        letter = "b" if row["status"] == "confirmed" else "c"
        claims |= dict.fromkeys(row.get("claims", ()), f"{letter}:{row['_id']}")
    held = list(history.epochs.values())[-1].held
    locks = {
        seat: f"l:{had.user}"
        for seat, had in held.items()
        if not had.booked and had.lock and seat not in claims
    }
    stored = await redis.hgetall(showtime_keys(showtime)["seats_key"])
    return [
        Violation("store", f"{seat}: Redis has {is_!r}, it should be {should!r}")
        for seat in sorted({*claims, *locks, *stored})
        if (is_ := stored.get(seat)) != (should := claims.get(seat) or locks.get(seat))
    ]


async def of_money(database: Database, showtime: str) -> list[Violation]:
    """The demo provider's own ledger balances with the sales."""
    paid: dict[str, int] = defaultdict(int)
    async for intent in database.client[f"{database.name}_demo_bank"]["intents"].find():
        if intent["status"] == "captured":
            left = intent["amount"]["minor"] - sum(intent["refunds"].values())
            paid[intent["_id"].rpartition("-")[0]] += left
    found = []
    async for row in database["bookings"].find({"showtime_id": showtime}):
        has, owes = paid.pop(row["_id"], 0), 0
        if row["status"] == "confirmed" or (row["status"] == "paying" and has):
            owes = row["amount"]["minor"]
        if has != owes:
            found.append(Violation("money", f"{row['_id']} {row['status']}: {has}, not {owes}"))
    return found + [Violation("money", f"{name}: no such booking") for name, n in paid.items() if n]
