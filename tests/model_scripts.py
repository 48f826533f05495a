"""The model of the seat store behind the face of `server.repo.redis.Scripts`: the real SeatStore
and ClaimStore run on it, their journal and their reading of answers included.

Each script is one step: checked, done and answered at one moment.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from server.errors import (
    ExtensionLimitReached,
    LockExpired,
    RateLimited,
    RowlockError,
    SeatLimitReached,
    SeatsUnavailable,
    ShowtimeClosed,
)
from server.models import from_ms
from server.repo.keys import PARTITIONS, partition_keys, partition_of
from server.repo.seat_answers import MAX_EXTENSIONS, Claim, Lock, SeatsTaken, ShowtimeNotLoaded
from server.repo.seat_log import LogEntry
from tests.seat_model import ModelSeats

Call = Callable[[str, Callable[[], Any]], Awaitable[Any]]

_QUEUES = {
    partition_keys(partition)[name]: (name, partition)
    for partition in PARTITIONS
    for name in ("deadlines_key", "checkouts_key")
}


class ModelScripts:
    def __init__(self, model: ModelSeats, call: Call) -> None:
        """`call` performs one step, named, at a moment of its choosing."""
        self._model = model
        self._call = call

    async def run(
        self, name: str, keys: Mapping[str, str], rest: Iterable[str] = (), **args: Any
    ) -> tuple[str, list[Any]]:
        wanted = list(rest)
        reply: list[Any] = await self._call(name, lambda: self._run(name, keys, wanted, args))
        return reply[0], reply[1:]

    def _run(
        self, name: str, keys: Mapping[str, str], seats: list[str], args: dict[str, Any]
    ) -> list[Any]:
        """Run it whole; the ids that the caller has made are those that the model uses."""
        made = {
            "lock": args.get("lock_id"),
            "operation": args.get("operation") or keys.get("operation_key"),
            "epoch": args.get("epoch"),
        }
        self._model.state.new_id = made.__getitem__  # type: ignore[assignment]
        state = self._model.state
        logs, operations = state.stored.logs, {key[1] for key in state.stored.released}
        logged = {partition: len(log) for partition, log in logs.items()}
        try:
            answer = whole(_SCRIPTS[name](self._model, keys, seats, args))
        except (RowlockError, ShowtimeNotLoaded, SeatsTaken) as refusal:
            return _refused(refusal, state.now())
        new = [
            entry for partition, log in logs.items() for entry in log[logged.get(partition, 0) :]
        ]
        repeated = {
            "lock_seats": sum(len(e.seats) for e in new if e.type == "seat.locked") < len(seats),
            "extend_lock": not new,
            "release_seats": made["operation"] in operations,
        }
        if repeated.get(name):
            new += self._recent(args["showtime"], args["user"])
        return _answered(name, answer, [_flat(entry) for entry in new], state.now())

    def _recent(self, showtime_id: str, user_id: str) -> list[LogEntry]:
        """What a repeat finds of what the first run did, as includes/recent_log.lua does."""
        log = self._model.state.stored.logs.get(partition_of(showtime_id), [])
        mine = [e for e in log if (e.showtime_id, e.owner_id) == (showtime_id, user_id)]
        return mine[::-1]


def whole(work: Any) -> Any:
    """Run a coroutine that awaits nothing."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("a step of the model awaited something")


_Script = Callable[[ModelSeats, Mapping[str, str], list[str], dict[str, Any]], Any]

_SCRIPTS: dict[str, _Script] = {
    "lock_seats": lambda m, k, s, a: m.seats.lock(
        a["showtime"], a["user"], s, a["request_id"], a["actor"], a["address"]
    ),
    "extend_lock": lambda m, k, s, a: m.seats.extend(a["showtime"], a["user"], a["request_id"]),
    "release_seats": lambda m, k, s, a: m.seats.release(
        a["showtime"], a["user"], s, a["request_id"]
    ),
    "revoke_seats": lambda m, k, s, a: m.seats.revoke(
        a["showtime"], a["actor"], s, a["request_id"]
    ),
    "close_showtime": lambda m, k, s, a: m.seats.close(_showtime(k)),
    "block_seats": lambda m, k, s, a: m.seats.block(a["showtime"], a["actor"], s, a["request_id"]),
    "read_lock": lambda m, k, s, a: m.seats.lock_of(_showtime(k), a["user"]),
    "read_locks": lambda m, k, s, a: m.seats.locks(_showtime(k)),
    "read_seats": lambda m, k, s, a: _read(m, _showtime(k), a["epoch"], a["seq"]),
    "expire_lock": lambda m, k, s, a: m.seats.expire(a["showtime"], a["user"]),
    "read_due": lambda m, k, s, a: _due(m, k["queue_key"], a["limit"]),
    "begin_checkout": lambda m, k, s, a: m.claims.begin_checkout(
        a["showtime"], a["user"], a["booking"], s
    ),
    "claim_seats": lambda m, k, s, a: m.claims.claim(
        a["showtime"], _claim(a, s, booked=False), a["request_id"]
    ),
    "book_seats": lambda m, k, s, a: m.claims.claim(
        a["showtime"], _claim(a, s, booked=True), a["request_id"]
    ),
    "release_booking": lambda m, k, s, a: m.claims.release(
        a["showtime"],
        a["booking"],
        s,
        reason=a["reason"],
        actor_id=a["actor"],
        request_id=a["request_id"],
    ),
    "return_seats": lambda m, k, s, a: m.claims.give_back(
        a["showtime"], a["booking"], s, actor_id=a["actor"], request_id=a["request_id"]
    ),
    "begin_rebuild": lambda m, k, s, a: m.claims.begin_rebuild(
        _showtime(k), a["token"], a["stale_epoch"]
    ),
    "rebuild_showtime": lambda m, k, s, a: _rebuild(m, a),
    "renew_epoch": lambda m, k, s, a: m.claims.renew_epoch(a["showtime"]),
}


def _showtime(keys: Mapping[str, str]) -> str:
    return keys["meta_key"].split(":")[2]


def _claim(args: dict[str, Any], seats: list[str], *, booked: bool) -> Claim:
    return Claim(args["booking"], args["user"], seats, booked, args.get("deadline", 0))


def _due(model: ModelSeats, queue_key: str, limit: int) -> Any:
    name, partition = _QUEUES[queue_key]
    due = model.seats.due_locks if name == "deadlines_key" else model.claims.due_checkouts
    return due(partition, limit)


async def _read(model: ModelSeats, showtime_id: str, epoch: str, seq: int) -> list[Any]:
    if await model.seats.read(showtime_id, epoch, seq) is None:
        return ["same"]
    showtime = model.state.loaded(showtime_id)
    flat = [each for pair in showtime.seats.items() for each in pair]
    return ["ok", model.state.now(), showtime.epoch, showtime.seq, flat]


def _rebuild(model: ModelSeats, args: dict[str, Any]) -> Any:
    truth = json.loads(args["projection"])
    closes_at: datetime = from_ms(args["closes_at"])
    claims = [
        Claim(each["id"], each["user"], each["seats"], each["state"] == "b", each["deadline"])
        for each in truth["bookings"]
    ]
    return model.claims.rebuild(
        args["showtime"],
        args["token"],
        closes_at=closes_at,
        blocked=truth["blocked"],
        claims=claims,
    )


# -- answers as the scripts give them ----------------------------------------------------------


def _answered(name: str, answer: Any, logged: list[list[Any]], now: int) -> list[Any]:
    match name:
        case "lock_seats" | "extend_lock" | "read_lock":
            return ["ok", *_lock(answer, logged, now)]
        case "release_seats":
            released, lock = answer
            return ["ok", ",".join(released), *_lock(lock, logged, now)]
        case "revoke_seats":
            return ["ok", logged, *answer]
        case "read_locks":
            return ["ok", now, *([lock.user_id, *_lock(lock, [], now)[2:]] for lock in answer)]
        case "read_due":
            return ["ok", *(f"{showtime}:{who}" for showtime, who in answer)]
        case "read_seats":
            return list(answer)
        case "expire_lock":
            return ["ok"] if answer else ["live"]
        case "begin_checkout":
            return ["ok", *answer] if answer else ["unlocked"]
        case "begin_rebuild":
            return [answer]
        case "rebuild_showtime":
            return ["ok"] if answer else ["fenced"]
    return ["ok", *(answer or ())]


def _lock(lock: Lock | None, logged: list[list[Any]], now: int) -> list[Any]:
    if lock is None:
        return [logged, now]
    extensions = MAX_EXTENSIONS - lock.extensions_left
    return [logged, now, lock.id, lock.expires_at, extensions, *lock.seats]


def _flat(entry: LogEntry) -> list[Any]:
    """An event as includes/announce.lua logs it: names and values in turn."""
    fields = {
        "id": entry.id,
        "at": entry.at,
        "showtime": entry.showtime_id,
        "request_id": entry.request_id,
        "type": entry.type,
        "seats": ",".join(entry.seats),
        "reason": entry.reason,
        "actor": entry.actor_id,
        "owner": entry.owner_id,
        "lock": entry.lock_id,
        "booking": entry.booking_id,
    }
    return [each for pair in fields.items() for each in pair]


def _refused(refusal: Exception, now: int) -> list[Any]:
    match refusal:
        case ShowtimeNotLoaded():
            return ["rebuild"]
        case ShowtimeClosed():
            return ["closed"]
        case LockExpired():
            return ["lapsed"]
        case SeatLimitReached():
            return ["seat_limit", refusal.fields["limit"]]
        case RateLimited():
            word = "crowded" if "network" in refusal.detail else "cooling"
            return [word, refusal.retry_after * 1000]
        case ExtensionLimitReached():
            return ["extension_limit"]
        case SeatsTaken():
            return ["conflict", *str(refusal).split(", ")]
        case SeatsUnavailable():
            entries = refusal.fields["unavailable"]
            flat = [(e["seat"], e["state"], e.get("retry_in_ms", -1)) for e in entries]
            return ["unavailable", now, *(each for entry in flat for each in entry)]
    raise refusal
