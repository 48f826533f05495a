"""Redis fails over to a replica that lacks the end: seats are locked twice, and never sold twice.

Nobody can be told that his lock was lost with the primary: asynchronous replication gives no such
promise. What MongoDB has claimed or sold it keeps, and the map has to show it again.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import pytest

from server.embedded import EmbeddedMongo
from server.models import new_id
from server.repo import mongo, redis
from tests.aftermath import Aftermath, checked, rest
from tests.customers import Ack, Customer, Ledger, introduce
from tests.fallible_stores import Pair, pair
from tests.processes import REPOSITORY, WHOLE, Mutant, RowlockProcess, mutated, servers
from tests.sale import hall, plan
from tests.stored import Stored
from tests.watcher import Watcher

pytestmark = [pytest.mark.slow, pytest.mark.alone]

ROUNDS = 50 if WHOLE else 2
LOCK_SECONDS = 6
HEAL_SECONDS = 10.0
LAYOUT = hall(40)
SEATS = LAYOUT.seat_ids


@dataclass(frozen=True, slots=True)
class House:
    """Two servers on a Redis that can fail over."""

    pair: Pair
    stored: Stored
    processes: list[RowlockProcess]

    def person(self, user: str, ledger: Ledger) -> Customer:
        ports = [process.port for process in self.processes]
        return Customer(user, lambda: ports[hash(user) % len(ports)], ledger)

    async def shown(self, showtime: str) -> dict[str, str]:
        """Seat -> state, for seats that are not free, as the primary of the day has it."""
        return {seat: state[0] for seat, state in (await self.stored.seats(showtime)).items()}


@asynccontextmanager
async def house(
    directory: Path, mongod: EmbeddedMongo, source: Path = REPOSITORY
) -> AsyncIterator[House]:
    mongo_uri = f"mongodb://127.0.0.1:{mongod.port}/{new_id('t')}?replicaSet=rs0"
    database = mongo.connect(mongo_uri)
    async with AsyncExitStack() as stack:
        stack.callback(database.client.close)
        both = await stack.enter_async_context(pair(directory))
        client = redis.connect(both.url)
        stack.push_async_callback(client.aclose)
        processes = await stack.enter_async_context(
            servers(
                directory,
                both.url,
                mongo_uri,
                count=2,
                source=source,
                SEAT_LOCK_TTL=str(LOCK_SECONDS),
            )
        )
        yield House(both, Stored(database, client, mongo_uri, both.url), processes)


def locked_twice(acks: list[Ack]) -> list[str]:
    """Return the seats that were granted to two people at a time, by what they were told."""
    grants = defaultdict(list)
    for ack in acks:
        lock = ack.answer.body["lock"]
        until = ack.answer.answered_at + lock["expires_in_ms"] - 100
        for seat in ack.seats:
            grants[seat].append((ack.answer.answered_at, until, ack.user))
    return [
        seat
        for seat, spans in grants.items()
        if any(
            one[2] != other[2] and one[0] < other[0] < one[1] for one in spans for other in spans
        )
    ]


async def test_seats_locked_twice_are_never_sold_twice(
    tmp_path: Path, mongo: EmbeddedMongo, capsys: pytest.CaptureFixture[str]
) -> None:
    """In each round the link is cut, five people lock and one books and pays; the primary dies, the
    replica takes over, and five others come for the same seats. Then everybody books and pays."""
    twice, sold, problems = 0, 0, []
    async with house(tmp_path, mongo) as here:
        for number in range(ROUNDS):
            showtime, ledger = await plan(here.stored.database, LAYOUT), Ledger()
            await _round(here, number, showtime, ledger)
            twice += len(locked_twice(ledger.of("lock", 200)))
            sold += len(ledger.of("pay", 200))
            await _comes_to_rest(here, showtime)
            problems += await Aftermath(here.stored, showtime, ledger, lossy=True).judge()
            problems += await checked(here.stored)
            problems += await _not_audited(here.stored, ledger.of("lock", 200))
            await here.pair.replicate()
        errors = [line for process in here.processes for line in process.errors()]
    with capsys.disabled():
        print(f"\nfailovers {ROUNDS}: {twice} seats locked twice, {sold} bookings sold")
    assert not problems
    assert not errors
    assert twice >= ROUNDS, "nothing was lost, and so nothing was shown"
    assert sold >= ROUNDS


async def test_without_the_last_guard_a_failover_sells_twice(
    tmp_path: Path, mongo: EmbeddedMongo
) -> None:
    """The index on the claims is what stands between two locks and two sales."""
    line = '            name="claims_guard",\n            unique=True,\n'
    unguarded = Mutant("repo/indexes.py", line, line.replace("True", "False"))
    source = mutated(tmp_path / "source", [unguarded])
    async with house(tmp_path, mongo, source) as here:
        showtime, ledger = await plan(here.stored.database, LAYOUT), Ledger()
        await _round(here, 0, showtime, ledger)
        problems = await Aftermath(here.stored, showtime, ledger, lossy=True).judge()
    assert [what for what in problems if "was sold to" in what]


async def _round(here: House, number: int, showtime: str, ledger: Ledger) -> None:
    early = [here.person(f"usr_early_{number}_{n}", ledger) for n in range(6)]
    late = [here.person(f"usr_late_{number}_{n}", ledger) for n in range(6)]
    await introduce(here.stored.database, *(person.user for person in (*early, *late)))
    pairs = [SEATS[n : n + 2] for n in range(0, 12, 2)]
    try:
        await early[5].create(showtime, *SEATS[20:22])  # the replica knows the showtime
        await here.pair.caught_up()
        here.pair.link.black_hole()
        await asyncio.gather(*(p.lock(showtime, *s) for p, s in zip(early, pairs, strict=True)))
        await buy(early[5], showtime, *pairs[5])
        await here.pair.fail_over()
        await asyncio.gather(*(p.lock(showtime, *s) for p, s in zip(late, pairs, strict=True)))
        people = zip((*early[:5], *late), (*pairs[:5], *pairs), strict=True)
        await asyncio.gather(*(buy(person, showtime, *seats) for person, seats in people))
    finally:
        for person in (*early, *late):
            person.close()


async def _not_audited(stored: Stored, acks: list[Ack]) -> list[str]:
    """A lock that was lost with the primary was told of, and so it is in the log."""
    entries = stored.database["audit_logs"].find({"action": "seat.locked"})
    known = {entry["request_id"] async for entry in entries}
    return [f"{a.request_id} of {a.user} is not audited" for a in acks if a.request_id not in known]


async def buy(person: Customer, showtime: str, *seats: str) -> Ack | None:
    created = await person.create(showtime, *seats)
    return await person.pay(created.booking) if created and created.booking else None


async def _comes_to_rest(here: House, showtime: str) -> None:
    give_up = monotonic() + LOCK_SECONDS + HEAL_SECONDS
    while monotonic() < give_up and await rest(here.stored, showtime):
        await asyncio.sleep(0.1)


Deed = Callable[[House, str, Ledger], Awaitable[None]]


async def nobody_comes(here: House, showtime: str, ledger: Ledger) -> None:
    """The showtime is left alone after the failover."""


async def others_lock(here: House, showtime: str, ledger: Ledger) -> None:
    """Numbers pass the ones that were lost, before anybody could see that they went back."""
    person = here.person("usr_quick", ledger)
    await introduce(here.stored.database, person.user)
    for _ in range(12):
        await person.lock(showtime, SEATS[30])
        await person.release(showtime)
    person.close()


@pytest.mark.parametrize("watched", [False, True], ids=["unwatched", "watched"])
@pytest.mark.parametrize("deed", [nobody_comes, others_lock])
async def test_what_was_sold_is_shown_again_after_a_failover(
    tmp_path: Path, mongo: EmbeddedMongo, deed: Deed, watched: bool
) -> None:
    """Sold, claimed and given back just before the primary dies: the map says so soon after."""
    async with house(tmp_path, mongo) as here, AsyncExitStack() as stack:
        showtime, ledger = await plan(here.stored.database, LAYOUT), Ledger()
        ann, ben, cat = (here.person(f"usr_{name}", ledger) for name in ("ann", "ben", "cat"))
        await introduce(here.stored.database, ann.user, ben.user, cat.user)
        returned = await buy(cat, showtime, *SEATS[4:6])
        ports = [process.port for process in here.processes]
        if watched:
            watcher = Watcher("watcher", ports, showtime, SEATS)
            await stack.enter_async_context(watcher)
        await here.pair.caught_up()
        here.pair.link.black_hole()
        assert returned
        await cat.cancel(returned.booking)
        sold = await buy(ann, showtime, *SEATS[0:2])
        assert sold
        assert sold.status == 200
        await here.pair.fail_over()
        await deed(here, showtime, ledger)
        wanted = dict.fromkeys(SEATS[0:2], "b")
        give_up = monotonic() + HEAL_SECONDS
        while (shown := await here.shown(showtime)) != wanted and monotonic() < give_up:
            await asyncio.sleep(0.1)
        for person in (ann, ben, cat):
            person.close()
        assert shown == wanted
        assert not await checked(here.stored)
