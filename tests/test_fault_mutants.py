"""The fault tests can fail: the same crash, in a server with a bug planted, is found out."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from server.embedded import EmbeddedMongo, EmbeddedValkey
from server.models import new_id
from tests.crash_lane import Crash, lane
from tests.crash_points import ANSWERS, BOOKINGS, CHAIN, CLAIMS, PROVIDER, Point
from tests.processes import Mutant, mutated
from tests.stored import Stored, stores

pytestmark = [pytest.mark.slow, pytest.mark.alone]

AT_ONCE = 3
SEEDS = 5
"""So many crashes at most until a bug is found."""

RELAY = "        copied = await self._logs.append("
FORGET = """\
        for partition, entries in zip(PARTITIONS, events, strict=True):
            await self._seat_log.forget(partition, [entry.position for entry in entries])
"""
SHOW = """\
        await self._show(booking, caller)
        if await self._bookings.seats_shown(booking):
            return
"""
GIVE_BACK = """\
        return await self._refunded(caller, await self._cancel(caller, booking, seats, "buyer"))
"""
ANSWER_FROM_THE_STORE = """\
        if booking.status == "cancelled":
            return booking
"""

MUTANTS: dict[str, tuple[Any, ...]] = {
    "the provider is asked, and not told to stop": (
        "kept",
        Point("before", f"{BOOKINGS}.expire_unpaid", "late"),
        Mutant(
            "settlement.py", "self._provider.cancel(_intent_of", "self._provider.get(_intent_of"
        ),
    ),
    "whoever has the seats loses them": (
        "seat.released",
        Point("after", f"{CLAIMS}.release", "walk away", in_background=True),
        Mutant(
            "lua/release_booking.lua",
            "if state == 'c:' .. booking or state == 'b:' .. booking then",
            "if state then",
        ),
    ),
    "the map counts as right before it is, and a new process does not look": (
        "it should be",
        Point("before", f"{CLAIMS}.release", "cancel"),
        Mutant(
            "booking_image.py",
            SHOW,
            "        if await self._bookings.seats_shown(booking):\n"
            "            await self._show(booking, caller)\n"
            "            return\n",
        ),
        Mutant("image_repair.py", "if runs == self._compared:", "if runs:"),
    ),
    "the log forgets before it is copied": (
        "not audited",
        Point("before", f"{CHAIN}.append", "lapse", 2),
        Mutant("audit.py", RELAY, FORGET + RELAY),
    ),
    "a repeat makes another booking": (
        "nobody asked",
        Point("before", f"{ANSWERS}.finish", "walk away"),
        Mutant("bookings.py", '"{user_id}\\0{key}"', '"{user_id}\\0{key}\\0{id(key)}"'),
    ),
    "a refund is due for this process alone": (
        "kept",
        Point("before", f"{PROVIDER}.refund", "cancel"),
        Mutant("repo/bookings.py", '        "refund_due": True,\n', ""),
        Mutant("cancellations.py", GIVE_BACK, ANSWER_FROM_THE_STORE + GIVE_BACK),
    ),
}


async def test_crashes_find_planted_bugs(
    tmp_path: Path, valkey: EmbeddedValkey, mongo: EmbeddedMongo
) -> None:
    turn, missed = asyncio.Semaphore(AT_ONCE), {}

    async def look_for(bug: str) -> None:
        async with turn, stores(valkey, mongo) as stored:
            crash = await _first_found(stored, tmp_path / new_id("bug"), *MUTANTS[bug])
            if crash:
                missed[bug] = crash

    await asyncio.gather(*map(look_for, MUTANTS))
    assert not missed


async def _first_found(
    stored: Stored, directory: Path, word: str, point: Point, *mutants: Mutant
) -> Crash | None:
    """Crash until a problem has the word in it; returns the last crash when none ever had."""
    source = mutated(directory / "source", mutants)
    worker = point.in_background
    async with lane(stored, worker=worker, directory=directory, source=source) as mine:
        for seed in range(SEEDS):
            crash = await mine.crash(point, seed)
            if any(word in problem for problem in crash.problems):
                return None
    return crash
