"""One key, hundreds of requests at once, two servers: one effect, and one answer for all."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from time import monotonic

import pytest

from server.bookings import booking_id_for
from server.embedded import EmbeddedMongo, EmbeddedValkey
from server.models import new_id
from server.repo.idempotency import LEASE_SECONDS
from tests.aftermath import Aftermath, audited, checked, rest
from tests.crash_points import ANSWERS
from tests.crashing import Trap
from tests.customers import Ack, Customer, Ledger, introduce, same
from tests.processes import REPOSITORY, WHOLE, RowlockProcess, servers, start
from tests.sale import hall, plan
from tests.stored import stores

pytestmark = pytest.mark.slow

KEYS, AT_ONCE = (50, 200) if WHOLE else (10, 60)
MUTATIONS = 50
LEASES = ("server.repo.idempotency:LEASE_SECONDS", "server.idempotency:LEASE_SECONDS")
LEASE = LEASE_SECONDS if WHOLE else 3
LAYOUT = hall(200)
SEATS = LAYOUT.seat_ids


def replayed(ack: Ack) -> bool:
    return ack.answer.headers.get("idempotent-replayed") == "true"


def each_in_turn(processes: list[RowlockProcess]) -> Callable[[], int]:
    ports = itertools.cycle([process.port for process in processes])
    return lambda: next(ports)


async def storm(ask: Callable[[], Awaitable[Ack | None]]) -> Ack:
    """Send one request many times at once; returns the first answer, which all others are."""
    acks = await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
    told = [ack for ack in acks if ack]
    assert len(told) == AT_ONCE
    assert Counter(map(replayed, told)) == {False: 1, True: AT_ONCE - 1}
    assert all(same(told[0].answer, ack.answer) for ack in told)
    return told[0]


@pytest.mark.alone
async def test_hundreds_of_requests_with_one_key_have_one_effect(
    tmp_path: Path,
    valkey: EmbeddedValkey,
    mongo: EmbeddedMongo,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with stores(valkey, mongo) as stored:
        showtime, ledger = await plan(stored.database, LAYOUT), Ledger()
        async with servers(tmp_path, stored.redis_url, stored.mongo_uri, count=2) as processes:
            turn, began = each_in_turn(processes), monotonic()
            people = [Customer(f"usr_{n}", turn, ledger, pause=0.02) for n in range(KEYS)]
            await introduce(stored.database, *(person.user for person in people))
            for number, person in enumerate(people):
                await _book_and_pay(person, showtime, SEATS[2 * number : 2 * number + 2])
            took = monotonic() - began
            while await rest(stored, showtime):
                await asyncio.sleep(0.1)
            problems = await Aftermath(stored, showtime, ledger).judge()
            assert not problems
            assert not await checked(stored)
            assert [process.errors() for process in processes] == [[], []]
        rows = await stored.bookings_of(showtime)
        happened = Counter(entry["action"] for row in rows for entry in row["timeline"])
        once = ("booking.created", "payment.started", "payment.captured", "booking.confirmed")
        assert happened == dict.fromkeys(once, KEYS)
        tries = sum(ack.tries for ack in ledger.acks)
    with capsys.disabled():
        print(
            f"\n{2 * KEYS} keys, {len(ledger.acks)} requests in {took:.0f} s, {AT_ONCE} of a key "
            f"at once, {tries - len(ledger.acks)} told to come again"
        )


async def _book_and_pay(person: Customer, showtime: str, seats: tuple[str, ...]) -> None:
    key = new_id("key")
    with closing(person):
        created = await storm(lambda: person.create(showtime, *seats, key=key))
        assert created.status == 201
        paid = await storm(lambda: person.pay(created.booking, key=key))
        assert paid.status == 200


async def test_another_body_under_the_same_key_changes_nothing(
    tmp_path: Path, valkey: EmbeddedValkey, mongo: EmbeddedMongo
) -> None:
    chance = random.Random(11)
    async with stores(valkey, mongo) as stored:
        showtime = await plan(stored.database, LAYOUT)
        other = await plan(stored.database, LAYOUT)
        async with servers(tmp_path, stored.redis_url, stored.mongo_uri, count=2) as processes:
            with closing(Customer("usr_ann", each_in_turn(processes), Ledger())) as ann:
                await introduce(stored.database, ann.user)
                created = await ann.create(showtime, *SEATS[:3], key="one key")
                mine = await ann.create(showtime, *SEATS[3:5], key="another key")
                assert created
                assert mine
                declined = await ann.pay(created.booking, "demo:decline", key="pay key")
                assert declined
                await audited(stored, showtime)
                before = await stored.digest()
                for _ in range(MUTATIONS):
                    if chance.random() < 0.7:
                        seats = list(created.seats)
                        place = showtime
                        while (place, seats) == (showtime, list(created.seats)):
                            place = chance.choice([showtime, showtime, other])
                            seats = chance.sample(SEATS[:6], chance.randint(1, 4))
                        refused = await ann.create(place, *seats, key="one key")
                    else:
                        booking = chance.choice([created.booking, mine.booking])
                        methods = ["demo:approve", "demo:timeout", "demo:slow"]
                        refused = await ann.pay(booking, chance.choice(methods), key="pay key")
                    assert refused
                    assert (refused.status, refused.answer.body["code"]) == (
                        422,
                        "idempotency_key_reused",
                    )
                assert await stored.digest() == before


@pytest.mark.alone
async def test_a_key_whose_server_died_is_answered_soon(
    tmp_path: Path,
    valkey: EmbeddedValkey,
    mongo: EmbeddedMongo,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whoever repeats a request that died with its server waits for the lease and not much more."""
    async with stores(valkey, mongo) as stored:
        showtime, ledger = await plan(stored.database, LAYOUT), Ledger()
        trap = Trap(tmp_path)
        launcher = trap.set([f"{ANSWERS}.begin"], dict.fromkeys(LEASES, LEASE))
        environment = {"REDIS_URL": stored.redis_url, "MONGO_URI": stored.mongo_uri}
        mortal = start("serve", tmp_path / "mortal.log", REPOSITORY, environment, launcher)
        survivor = start("serve", tmp_path / "survivor.log", REPOSITORY, environment, launcher)
        try:
            await mortal.serving()
            await survivor.serving()
            ports = [survivor.port, mortal.port]
            with closing(Customer("usr_ann", lambda: ports[-1], ledger)) as ann:
                await introduce(stored.database, ann.user)
                await ann.lock(showtime, *SEATS[:2])
                trap.arm(f"{ANSWERS}.begin", "after", 1)
                booking = asyncio.create_task(ann.create(showtime, *SEATS[:2], key="the key"))
                assert await mortal.ended() == -9
                assert trap.struck()
                ports.pop()
                created = await booking
        finally:
            await mortal.stop()
            await survivor.stop()
        assert created
        assert created.status == 201
        assert created.booking == booking_id_for("usr_ann", "the key")
    with capsys.disabled():
        print(f"\nanswered {created.waited:.1f} s after the crash, at try {created.tries}")
    assert created.waited < LEASE + 2
