"""The model of the seat store behind the face of the scripts, held against the scripts: the same
calls get the same answers, word for word."""

from collections.abc import Iterator
from random import Random
from time import time
from typing import Any

import pytest

from server.models import to_ms
from server.repo import redis
from server.repo.keys import ended_key, operation_key, partition_keys, partition_of, showtime_keys
from tests.memory_mongo import at_once
from tests.model_scripts import ModelScripts
from tests.programme import NOW
from tests.seat_model import ModelSeats

SHOWTIME = "sho_1"
SEATS = ("A1", "A2", "A3", "B1")
PEOPLE = ("ann", "ben")
BOOKINGS = ("bk_1", "bk_2")
STEPS = 80

Step = tuple[str, dict[str, str], list[str], dict[str, Any]]


def steps(draw: Random) -> Iterator[Step]:
    """A random walk through all scripts, with operations and bookings that come again."""
    keys = showtime_keys(SHOWTIME)
    yield "begin_rebuild", dict(keys), [], {"token": "t", "stale_epoch": "", "lease_ms": 10_000}
    yield "rebuild_showtime", dict(keys), [], _truth("epoch_0", "t")
    for number in range(STEPS):
        name = draw.choice(sorted(_ARGS))
        user, booking = draw.choice(PEOPLE), draw.choice(BOOKINGS)
        operation = f"op_{draw.randrange(6)}"
        values = {
            "showtime": SHOWTIME,
            "user": user,
            "booking": booking,
            "actor": "ada",
            "request_id": f"req_{number}",
            "lock_id": f"lock_{number}",
            "ttl_ms": 300_000,
            "max_seats": 3,
            "patience_ms": 300_000,
            "address": draw.choice(("", "192.0.2.1")),
            "max_at_address": 2,
            "max_extensions": 2,
            "operation": operation,
            "deadline": to_ms(NOW),
            "reason": "cancelled",
            "limit": 10,
            "token": draw.choice(("t", "u")),
            "stale_epoch": draw.choice(("", "epoch_0")),
            "lease_ms": 10_000,
            "epoch": "",
            "seq": -1,
        }
        queue = draw.choice(("deadlines_key", "checkouts_key"))
        named = {
            **keys,
            "ended_key": ended_key(SHOWTIME, booking),
            "operation_key": operation_key(SHOWTIME, operation),
            "queue_key": partition_keys(partition_of(SHOWTIME))[queue],
        }
        if name == "rebuild_showtime":
            yield name, named, [], _truth(f"epoch_{number}", values["token"])
            continue
        seats = draw.sample(SEATS, draw.randint(1, 2)) if name in _SEATED else []
        yield name, named, seats, {arg: values[arg] for arg in _ARGS[name]}


def _truth(epoch: str, token: str) -> dict[str, Any]:
    return {
        "showtime": SHOWTIME,
        "token": token,
        "epoch": epoch,
        "closes_at": 10**14,
        "projection": '{"blocked":["B1"],"bookings":[]}',
    }


_ARGS: dict[str, tuple[str, ...]] = {
    "lock_seats": (
        "showtime",
        "user",
        "actor",
        "lock_id",
        "ttl_ms",
        "max_seats",
        "patience_ms",
        "address",
        "max_at_address",
        "request_id",
    ),
    "extend_lock": ("showtime", "user", "ttl_ms", "max_extensions", "operation", "request_id"),
    "release_seats": ("showtime", "user", "request_id"),
    "revoke_seats": ("showtime", "actor", "request_id"),
    "block_seats": ("showtime", "actor", "request_id"),
    "read_lock": ("user",),
    "read_locks": (),
    "read_seats": ("epoch", "seq"),
    "read_due": ("limit",),
    "expire_lock": ("showtime", "user"),
    "begin_checkout": ("showtime", "user", "booking"),
    "claim_seats": ("showtime", "user", "booking", "deadline", "request_id"),
    "book_seats": ("showtime", "user", "booking", "request_id"),
    "release_booking": ("showtime", "booking", "reason", "actor", "request_id"),
    "return_seats": ("showtime", "booking", "reason", "actor", "request_id"),
    "begin_rebuild": ("token", "stale_epoch", "lease_ms"),
    "rebuild_showtime": (),
}
_SEATED = {
    *("lock_seats", "release_seats", "revoke_seats", "block_seats", "begin_checkout"),
    *("claim_seats", "book_seats", "release_booking", "return_seats"),
}


def alike(one: Any, other: Any) -> bool:
    """Equal but for what the two clocks say."""
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    one, other = _number(one), _number(other)
    if isinstance(one, int) and isinstance(other, int):
        return one == other or (one > 20_000 and abs(one - other) < 20_000)
    return bool(one == other)


def _number(value: Any) -> Any:
    """Numbers come as text, too; and the name of an event tells when it was."""
    if isinstance(value, str) and value.count("-") == 3:
        epoch, _, seq, number = value.split("-")
        return f"{epoch}-{seq}-{number}"
    return int(value) if isinstance(value, str) and value.isdigit() else value


def comparable(name: str, word: str, reply: list[Any]) -> Any:
    """What a reply says, without the order of a hash and what nobody looks at."""
    if name == "expire_lock":  # that it was not is all that matters
        return word == "ok"
    if name == "read_seats" and word == "ok":
        flat = reply[3]
        return word, *reply[:3], sorted(zip(flat[::2], flat[1::2], strict=True))
    if name == "read_locks" and word == "ok":
        return word, reply[0], *sorted(reply[1:], key=str)
    return word, reply


@pytest.mark.parametrize("seed", range(25))
async def test_the_model_answers_as_the_scripts_do(valkey_url: str, seed: int) -> None:
    client = redis.connect(valkey_url)
    model = ModelSeats(
        lambda: int(time() * 1000), ttl_ms=300_000, max_seats_per_user=3, max_seats_per_address=2
    )
    real, modelled = redis.Scripts(client), ModelScripts(model, at_once)
    try:
        for name, keys, seats, args in steps(Random(seed)):
            told = comparable(name, *await real.run(name, keys, seats, **args))
            thought = comparable(name, *await modelled.run(name, keys, seats, **args))
            assert alike(told, thought), f"{name} {seats} {args}\n  {told}\n  {thought}"
    finally:
        await client.aclose()
