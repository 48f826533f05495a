"""The seat scripts against their model: random lives, lived step by step by both.

The normal run takes a fixed share of lives; `ROWLOCK_DEEP=1` takes many more, others each time. The
same is done to scripts with a planted bug, to see that it would be found.
"""

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hiredis
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.stateful import run_state_machine_as_test

from server import lua
from server.models import from_ms
from server.repo.seat_answers import ShowtimeNotLoaded
from tests.processes import Mutant
from tests.seat_chances import MAX_AT_ADDRESS, MAX_SEATS, SHOWTIMES, TTL_MS
from tests.seat_machine import SeatMachine
from tests.seat_model import ModelSeats
from tests.timed_store import TimedStore, timed_scripts

pytestmark = pytest.mark.slow

DEEP = os.environ.get("ROWLOCK_DEEP") == "1"
LIVES = 2_000 if DEEP else 150
LIVES_OF_A_BUG = 400
STEPS = 50

SEAT_SCRIPTS = [name for name in lua.names() if not name.endswith("_tokens")]

ENDED = "if redis.call('HGET', ended_key, '*') == 'cancelled' then return { 'ok' } end\n"
REMEMBER = "for _, seat in ipairs(wanted) do redis.call('HSET', ended_key, seat, reason) end\n"
AGAIN = "if lock.operation == operation then"
QUEUED = "  redis.call('ZADD', deadlines_key, lock.deadline, member)\n"
OWN_LAPSED = "if mine and mine.deadline <= time then"
OTHER_BOOKING = "(kind == 'c' or kind == 'b') and holder ~= booking"

BUGS = {
    "a lock lives in the very moment of its deadline": Mutant(
        "lua/lock_seats.lua",
        "    if lock.deadline > time then",
        "    if lock.deadline >= time then",
    ),
    "seats join a lock that lapsed": Mutant("lua/lock_seats.lua", OWN_LAPSED, "if false then"),
    "the cap forgets what is in checkouts": Mutant(
        "lua/lock_seats.lua", "(redis.call('HGET', locks_key, 'n:' .. user) or 0)", "0"
    ),
    "a lapsed lock leaves seats behind": Mutant(
        "lua/includes/lapse_lock.lua",
        "free_seats(seats_key, lock.seats)",
        "free_seats(seats_key, { lock.seats[1] })",
    ),
    "a lock asked for again tells the journal nothing": Mutant(
        "lua/lock_seats.lua",
        "lock_reply(mine, time, recent_log(log_key, showtime, user))",
        "lock_reply(mine, time)",
    ),
    "one extension too many": Mutant(
        "lua/extend_lock.lua", "lock.extensions >= tonumber", "lock.extensions > tonumber"
    ),
    "an extension run twice extends twice": Mutant("lua/extend_lock.lua", AGAIN, "if false then"),
    "a release run twice forgets its answer": Mutant(
        "lua/release_seats.lua",
        "redis.call('SET', operation_key, released, 'PX', 60000)",
        "",
    ),
    "a checkout gives time": Mutant(
        "lua/begin_checkout.lua", "booking, user, lock.deadline,", "booking, user, time + 300000,"
    ),
    "late news of a cancelled booking is believed": Mutant("lua/book_seats.lua", ENDED, ""),
    "a seat that was given back is booked again": Mutant(
        "lua/book_seats.lua", " and not given_back[i]", ""
    ),
    "nobody remembers what was given back": Mutant("lua/return_seats.lua", REMEMBER, ""),
    "a claimed seat goes to another booking": Mutant(
        "lua/includes/take_seats.lua", OTHER_BOOKING, "kind == 'b' and holder ~= booking"
    ),
    "a checkout that ends gives one seat of the cap back": Mutant(
        "lua/includes/close_checkout.lua", "-#seats) <= 0", "-1) <= 0"
    ),
    "a lock is not in the queue": Mutant("lua/includes/save_lock.lua", QUEUED, ""),
    "a lock expires a moment early": Mutant(
        "lua/expire_lock.lua", "if lock.deadline > time then", "if lock.deadline > time + 1 then"
    ),
    "a booking frees what another has": Mutant(
        "lua/release_booking.lua",
        "if state == 'c:' .. booking or state == 'b:' .. booking then",
        "if state then",
    ),
    "a claimed seat whose checkout is over breaks the script": Mutant(
        "lua/lock_seats.lua",
        "(redis.call('HGET', locks_key, 'b:' .. holder) or '- 0'):match",
        "redis.call('HGET', locks_key, 'b:' .. holder):match",
    ),
    "anybody may rebuild": Mutant(
        "lua/rebuild_showtime.lua", "if redis.call('GET', rebuild_key) ~= token", "if not token"
    ),
    "a rebuilt showtime keeps its locks": Mutant(
        "lua/rebuild_showtime.lua", "redis.call('DEL', seats_key, locks_key,", "redis.call('DEL',"
    ),
    "two events take two numbers": Mutant(
        "lua/includes/announce.lua", "'seq', 1)", "'seq', math.max(1, #events))"
    ),
    "a lapse costs nothing": Mutant(
        "lua/includes/lapse_lock.lua", "spend_time(conduct_key, lock.user, lock.deadline)", ""
    ),
    "a release costs nothing": Mutant(
        "lua/release_seats.lua", "if #lock.seats == 0 then spend_time", "if false then spend_time"
    ),
    "a booking that is not paid costs nothing": Mutant(
        "lua/release_booking.lua", "if user then spend_time", "if false then spend_time"
    ),
    "a booking that is paid makes all time good": Mutant(
        "lua/book_seats.lua",
        "set_aside(conduct_key, locks_key, user, booking, record, time)",
        "redis.call('HDEL', conduct_key, 'u:' .. user)",
    ),
    "who buys a part has held nothing": Mutant(
        "lua/includes/set_aside.lua", "if lock or others or not", "if not"
    ),
    "who gives back what they bought has held nothing": Mutant(
        "lua/release_booking.lua", "count_after_all(conduct_key, booking, actor)", ""
    ),
    "who gives back a seat that they bought has held nothing": Mutant(
        "lua/return_seats.lua", "count_after_all(conduct_key, booking, actor)", ""
    ),
    "what the house takes back was held for nothing": Mutant(
        "lua/includes/count_after_all.lua", "if user ~= actor then", "if not user then"
    ),
    "time is counted twice": Mutant(
        "lua/includes/spend_time.lua",
        "spent + ended - counted, ended)",
        "spent + ended - counted, counted)",
    ),
    "a pause does not grow": Mutant("lua/includes/cool_down.lua", " * 2 ^ (lives - 2)", ""),
    "what is due is due a moment later": Mutant(
        "lua/read_due.lua", "now(), 'LIMIT'", "now() - 1, 'LIMIT'"
    ),
}


@pytest.fixture(autouse=True, scope="module")
def _hypothesis_keeps_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))


def test_the_copies_differ_from_the_scripts_in_the_clock_alone(tmp_path: Path) -> None:
    folder = timed_scripts(tmp_path)
    real, held = ((f / "includes" / "now.lua").read_text() for f in (lua.FOLDER, folder))
    for name in lua.names():
        assert lua.load(name, folder).source.replace(held, real) == lua.load(name).source


def test_the_scripts_and_their_model_live_alike(
    tmp_path: Path, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(redis_url, tmp_path) as store:
        lives = live(store, LIVES, derandomize=not DEEP)
    with capsys.disabled():
        print(f"\n{lives:,} lives of up to {STEPS} steps, {store.words.total():,} script runs")
        for name in SEAT_SCRIPTS:
            print(
                f"  {name}: {', '.join(f'{w} {n:,}' for (s, w), n in spoken(store) if s == name)}"
            )
    words = {(name, word) for name in SEAT_SCRIPTS for word in lua.load(name).words}
    assert words == set(store.words), "not every answer was given"


@pytest.mark.parametrize("bug", BUGS)
def test_the_model_finds_a_planted_bug(tmp_path: Path, valkey_url: str, bug: str) -> None:
    with opened(valkey_url, tmp_path, [BUGS[bug]]) as store:
        with pytest.raises((AssertionError, hiredis.ReplyError)):
            live(store, LIVES_OF_A_BUG, derandomize=True, phases=[Phase.generate])


async def test_a_model_can_be_set_back_and_emptied() -> None:
    """As a replica that lags behind takes over, and as FLUSHALL does."""
    model = ModelSeats(lambda: 1_000, ttl_ms=TTL_MS, max_seats_per_user=MAX_SEATS)
    assert await model.claims.begin_rebuild("sho", "tok", "") == "ok"
    closes_at = from_ms(1_000 + TTL_MS)
    assert await model.claims.rebuild("sho", "tok", closes_at=closes_at, blocked=[], claims=[])
    before = model.snapshot()
    await model.seats.lock("sho", "ann", ["A1"], "")
    model.restore(before)
    assert await model.seats.lock_of("sho", "ann") is None
    await model.seats.lock("sho", "bob", ["A1"], "")
    model.restore(before)
    assert await model.seats.positions(["sho"]) == [("epoch_000001", 1)]
    assert [change.seq for _, change in model.published] == [1, 2, 2]
    model.wipe()
    with pytest.raises(ShowtimeNotLoaded):
        await model.seats.lock("sho", "ann", ["A1"], "")


@contextmanager
def opened(url: str, directory: Path, mutants: Sequence[Mutant] = ()) -> Iterator[TimedStore]:
    folder = timed_scripts(directory, mutants)
    store = TimedStore(
        url,
        folder,
        SHOWTIMES,
        ttl_ms=TTL_MS,
        max_seats_per_user=MAX_SEATS,
        max_seats_per_address=MAX_AT_ADDRESS,
    )
    try:
        yield store
    finally:
        store.close()


def live(
    store: TimedStore,
    lives: int,
    *,
    derandomize: bool,
    phases: Sequence[Phase] = (Phase.generate, Phase.shrink),
) -> int:
    """Live so many lives, returns how many; raises what went wrong, in the shortest life found."""
    lived = itertools.count()

    def machine() -> SeatMachine:
        next(lived)
        return SeatMachine(store)

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=lives,
            stateful_step_count=STEPS,
            derandomize=derandomize,
            phases=phases,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return next(lived)


def spoken(store: TimedStore) -> list[tuple[tuple[str, str], int]]:
    return store.words.most_common()
