"""Thousands of acknowledged acts, servers and workers dying meanwhile: each is audited once.

An act and its entries carry the request id that the client sent. What was answered at the first try
has exactly its entries; what had to be repeated may have acted in an earlier try, and is looked for
in all of them, or under its booking where the background work has finished it.
"""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic

import pytest

from server.embedded import EmbeddedMongo, EmbeddedValkey
from server.models import new_id
from tests.aftermath import audited, checked
from tests.crash_points import SHORTER
from tests.crashing import Trap
from tests.crew import Crew, crew
from tests.customers import Ack, Customer, Ledger, introduce
from tests.keepalive import Connection
from tests.processes import WHOLE
from tests.sale import hall, plan
from tests.stored import Stored, stores

pytestmark = [pytest.mark.slow, pytest.mark.alone]

ACTS = 20_000 if WHOLE else 3_000
PAUSE_SECONDS = 2, 5
"""Between two kills; a new process takes more than a second of a core."""
PEOPLE = 32
SHOWTIMES = 8
LAYOUT = hall(200)

ENTRIES = {
    ("lock", 200): ["seat.locked"],
    ("extend", 200): ["seat.locked"],
    ("release", 200): ["seat.released"],
    ("create", 201): ["booking.created"],
    ("pay", 200): ["payment.started", "payment.captured", "booking.confirmed"],
    ("pay", 402): ["payment.started", "payment.declined"],
    ("cancel", 200): ["booking.cancelled"],
    ("sign-in", 303): ["auth.signed_in"],
}
"""What an answer acknowledges."""

ONCE = {"booking.created", "payment.captured", "booking.confirmed", "booking.cancelled"}
"""What a repeat must not do again. To extend a lock twice, or to be declined twice, is no harm."""


class Busy(Customer):
    """Does one thing after the other with seats that nobody else wants."""

    async def work(self, showtime: str, seats: Sequence[str], goes_on: Callable[[], bool]) -> None:
        number = 0
        while goes_on():
            number += 1
            one, two, three = (seats[(number + n) % len(seats)] for n in range(3))
            await self.lock(showtime, one, two, three)
            if number % 3 == 0:
                await self.extend(showtime)
            await self.release(showtime, one)
            if number % 6 == 0:
                await self._buy(showtime, two, three)
            await self.release(showtime)
            if number % 12 == 0:
                await self.sign_in()

    async def _buy(self, showtime: str, *seats: str) -> None:
        created = await self.create(showtime, *seats)
        if created is None or created.status != 201:
            return
        if random.random() < 0.2:
            await self.pay(created.booking, "demo:decline")
        if random.random() < 0.8:
            await self.pay(created.booking)
        if random.random() < 0.4:
            await self.cancel(created.booking, seats[0])
        await self.cancel(created.booking)

    async def sign_in(self) -> None:
        """Go to the provider and back; from the start again when the server dies on the way."""
        began = monotonic()
        while monotonic() < began + self._patience:
            request_id = new_id("req")
            connection = Connection(self._port())
            try:
                async with asyncio.timeout(10):
                    path = f"/api/auth/google/login?login_hint={self.user}@example.com"
                    away = await connection.request("GET", path)
                    cookie = away.headers["set-cookie"].partition(";")[0]
                    back = await connection.request("GET", _path(away.headers["location"]))
                    answer = await connection.request(
                        *("GET", _path(back.headers["location"]), None),
                        {"Cookie": cookie, "X-Request-ID": request_id},
                    )
            except (OSError, EOFError, TimeoutError, KeyError):
                await asyncio.sleep(0.1)
                continue
            finally:
                connection.close()
            if "auth_error" in answer.headers["location"]:
                await asyncio.sleep(0.1)
                continue
            waited = monotonic() - began
            self.ledger.acks.append(
                Ack("sign-in", self.user, request_id, "", None, "", "", (), answer, 1, waited)
            )
            return
        self.ledger.unanswered.append(f"sign-in of {self.user}")


def _path(address: str) -> str:
    """Return an address without its origin."""
    return "/" + address.partition("://")[2].partition("/")[2]


async def test_every_acknowledged_act_is_audited_once(
    tmp_path: Path,
    valkey: EmbeddedValkey,
    mongo: EmbeddedMongo,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with stores(valkey, mongo) as stored:
        launcher = Trap(tmp_path).set([], SHORTER)
        places = (tmp_path, stored.redis_url, stored.mongo_uri, "serve", "serve", "worker")
        showtimes = [await plan(stored.database, LAYOUT) for _ in range(SHOWTIMES)]
        ledger, began = Ledger(), monotonic()
        async with crew(*places, launcher=launcher, SEAT_LOCK_TTL="120") as people:
            await _storm(stored, people, showtimes, ledger)
            took = monotonic() - began
            for showtime in showtimes:
                await audited(stored, showtime)
        told = Counter(f"{ack.kind} {ack.status}" for ack in ledger.acks)
        with capsys.disabled():
            print(f"\nacts acknowledged {len(ledger.acks)} in {took:.0f} s: {dict(told)}")
            print(f"kills that struck: {dict(people.deaths)}; {_repeats(ledger)} acts repeated")
        assert not people.bugs()
        assert not ledger.unanswered
        assert not ledger.bugs
        assert not await _missing(stored, ledger)
        assert not await checked(stored)
        await _tamper(stored)


async def _storm(stored: Stored, people: Crew, showtimes: list[str], ledger: Ledger) -> None:
    crowd = [Busy(f"usr_{n}", people.port, ledger, patience=60, pause=0.02) for n in range(PEOPLE)]
    await introduce(stored.database, *(person.user for person in crowd))
    each = len(LAYOUT.seat_ids) * SHOWTIMES // PEOPLE

    def goes_on() -> bool:
        return len(ledger.acks) < ACTS or not (people.deaths["serve"] and people.deaths["worker"])

    killing = asyncio.create_task(_kill_now_and_then(people))
    try:
        async with asyncio.TaskGroup() as together:
            for number, person in enumerate(crowd):
                place, row = number % SHOWTIMES, number // SHOWTIMES
                seats = LAYOUT.seat_ids[row * each : (row + 1) * each]
                together.create_task(person.work(showtimes[place], seats, goes_on))
    finally:
        killing.cancel()
        for person in crowd:
            person.close()


async def _kill_now_and_then(people: Crew) -> None:
    while True:
        for command in ("serve", "worker", "serve"):
            await asyncio.sleep(random.uniform(*PAUSE_SECONDS))
            await people.kill(command)


def _repeats(ledger: Ledger) -> int:
    return sum(ack.tries > 1 for ack in ledger.acks)


async def _missing(stored: Stored, ledger: Ledger) -> list[str]:
    """Return the acts that have no entry, or too many."""
    by_request, by_booking = defaultdict(Counter), defaultdict(Counter)
    async for entry in stored.database["audit_logs"].find():
        by_request[entry["request_id"]][entry["action"]] += 1
        by_booking[entry["target"].get("booking_id", "")][entry["action"]] += 1
    found = []
    for ack in ledger.acks:
        for action in _acknowledged(ack):
            entries = by_request[ack.request_id][action]
            if entries == 1 or (1 < entries <= ack.tries and action not in ONCE):
                continue
            if entries == 0 and ack.tries > 1 and by_booking[ack.booking][action]:
                continue  # begun by a server that died, finished by the background work
            found.append(f"{ack.kind} {ack.request_id}, try {ack.tries}: {entries} of {action}")
    return found


def _acknowledged(ack: Ack) -> list[str]:
    if ack.kind == "release" and not ack.answer.body["released"]:
        return []  # nothing was left to be released, or an earlier try has done it
    return ENTRIES.get((ack.kind, ack.status), [])


async def _tamper(stored: Stored) -> None:
    """Change one entry and take another away: the check names both."""
    logs = stored.database["audit_logs"]
    count = await logs.count_documents({})
    changed = await logs.find_one({"n": count // 3})
    removed = await logs.find_one({"n": count // 2})
    await logs.update_one({"_id": changed["_id"]}, {"$set": {"request_id": "req_of_another"}})
    await logs.delete_one({"_id": removed["_id"]})
    said = [line for line in await checked(stored) if line.startswith("audit")]
    assert said == [
        f"audit: entry {changed['n']} ({changed['_id']}) was changed",
        f"audit: entry {removed['n']} is missing",
    ]
