"""Two hundred buyers, two servers, one hall: nobody ever gets what somebody else has.

The same race is run against servers with a planted bug, to see that it would be found.
"""

from collections import Counter
from pathlib import Path

import pytest

from server.repo.mongo import Database
from tests.buyers import Habits
from tests.processes import Mutant, mutated
from tests.sale import opened

pytestmark = pytest.mark.slow

LOCK = "lua/lock_seats.lua"
ANNOUNCE = "lua/includes/announce.lua"
NUMBER = "redis.call('HINCRBY', meta_key, 'seq', 1)"
REFUSED = "refuse(seat, 'locked', lock.deadline - time)"
CLAIMED = "refuse(seat, 'locked', math.max(0, deadline - time))"
TAKEN = "if #taken > 2 then return taken end"
LOCKED = "return lock_reply(mine, time, logged)"

MUTANTS = {
    "a locked seat is granted": ("two owners", [Mutant(LOCK, REFUSED, "fresh[#fresh + 1] = seat")]),
    "a claimed seat is granted": (
        "two owners",
        [Mutant(LOCK, CLAIMED, "fresh[#fresh + 1] = seat")],
    ),
    "a live lock counts as lapsed": (
        "early expiry",
        [
            Mutant(
                LOCK,
                "    if lock.deadline > time then\n",
                "    if lock.deadline > time + 900 then\n",
            )
        ],
    ),
    "what is free is locked, and all is well": (
        "partial grant",
        [Mutant(LOCK, TAKEN, "if #taken > 2 and #fresh == 0 then return taken end")],
    ),
    "what is free is locked, and then refused": (
        "change by refusal",
        [
            Mutant(LOCK, TAKEN, "if #taken > 2 and #fresh == 0 then return taken end"),
            Mutant(LOCK, LOCKED, TAKEN + "\n" + LOCKED),
        ],
    ),
    "a free seat is refused": (
        "untrue refusal",
        [Mutant(LOCK, TAKEN, "refuse(wanted[1], 'locked', 100) " + TAKEN.replace("> 2", "> 5"))],
    ),
    "expiries have no number of their own": (
        "seq",
        [Mutant(ANNOUNCE, NUMBER, NUMBER.replace("1)", "change.request_id and 1 or 0)"))],
    ),
    "some changes take two numbers": (
        "seq",
        [Mutant(ANNOUNCE, NUMBER, NUMBER.replace("1)", "change.time % 5 == 0 and 2 or 1)"))],
    ),
    "a change is not announced": (
        "seq",
        [
            Mutant(
                ANNOUNCE, "  redis.call('SPUBLISH'", "  if seq % 50 > 0 then redis.call('SPUBLISH'"
            ),
            Mutant(ANNOUNCE, "change.time, list))\n", "change.time, list)) end\n"),
        ],
    ),
    "anybody may release": (
        "foreign release",
        [
            Mutant(
                "lua/release_seats.lua",
                "local seats = drop_seats(lock, dropped)",
                "local seats = #wanted > 0 and wanted or drop_seats(lock, dropped)",
            )
        ],
    ),
    "seats join a lock with a deadline of their own": (
        "deadline",
        [Mutant(LOCK, "expires_at = mine.deadline", "expires_at = time + ttl_ms")],
    ),
    "nobody counts": (
        "cap",
        [Mutant(LOCK, "#fresh > 0 and held + #fresh", "#fresh > 99 and held")],
    ),
    "a watcher's map misses expiries": (
        "watcher",
        [
            Mutant(
                "realtime/mirror.py",
                '            for seat in event["seats"]:\n                self._states',
                '            for seat in event["seats"][event.get("reason") == "expired" :]:\n'
                "                self._states",
            )
        ],
    ),
}


@pytest.mark.alone
async def test_no_seat_ever_has_two_owners(
    tmp_path: Path, database: Database, valkey_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(tmp_path, database, valkey_url) as sale:
        await sale.sell(buyers=200, tries=50_000, checkpoints=4)
        await sale.settled()
        await sale.checkpoint()
        violations = await sale.judge()
        with capsys.disabled():
            print(f"\n{sale.report()}")
        assert not violations, (Counter(v.kind for v in violations), violations[:10])
        assert [process.errors() for process in sale.processes] == [[], []]


@pytest.mark.parametrize("bug", MUTANTS)
async def test_the_race_finds_a_planted_bug(
    tmp_path: Path, database: Database, valkey_url: str, bug: str
) -> None:
    kind, mutants = MUTANTS[bug]
    source = mutated(tmp_path / "source", mutants)
    short = {"seats": 200, "source": source, "SEAT_LOCK_TTL": "1"}
    async with opened(tmp_path, database, valkey_url, **short) as sale:
        await sale.sell(buyers=40, tries=2_000, habits=Habits(release=0.5, extend=0.05, book=0.2))
        await sale.settled()
        await sale.checkpoint(seconds=2)
        found = Counter(violation.kind for violation in await sale.judge())
        print(bug, found)
        assert kind in found, found
