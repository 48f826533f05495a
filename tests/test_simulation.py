"""Thousands of seeded runs of the booking saga, in which everything goes wrong and nothing may be
broken; and known mistakes, planted one at a time, each of which must be found.

ROWLOCK_SIMULATION_SEEDS says how many seeds (20,000 without it).
"""

import multiprocessing
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from copy import deepcopy
from time import monotonic
from typing import Any
from unittest.mock import patch

import pytest

from tests.memory_mongo import MemoryCollection
from tests.simulated_faults import KINDS, TIMEOUT_SECONDS
from tests.simulated_mutants import MUTANTS, hunt
from tests.simulation import run, run_many, staged, story

SEEDS = int(os.environ.get("ROWLOCK_SIMULATION_SEEDS", "20000"))
BATCH = 250

pytestmark = pytest.mark.alone
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    """One process per processor: a seed uses one."""
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as executor:
        yield executor


@slow
def test_nothing_is_broken(pool: ProcessPoolExecutor, capsys: pytest.CaptureFixture[str]) -> None:
    began = monotonic()
    batches = [
        pool.submit(run_many, first, min(SEEDS, first + BATCH)) for first in range(0, SEEDS, BATCH)
    ]
    broken, counts = [], Counter[str]()
    for batch in batches:
        found, struck = batch.result()
        broken += found
        counts += struck
    with capsys.disabled():
        print(f"\n{_report(counts, monotonic() - began)}")
    if broken:
        first = broken[0]
        pytest.fail(
            f"{len(broken)} of {SEEDS} seeds are broken, the first is {first.seed}:\n"
            f"{story(first.seed)}\nagain: python -m tests.simulation {first.seed}"
        )
    if SEEDS >= 2000:
        assert _missing(counts) == [], "faults that never struck test nothing"


def _report(counts: Counter[str], seconds: float) -> str:
    struck = _struck(counts)
    told = {name: count for name, count in counts.items() if name not in struck}
    parts = [
        ", ".join(f"{name}: {count}" for name, count in sorted(part.items()))
        for part in (struck, told)
    ]
    return "\n".join([f"{SEEDS} seeds in {seconds:.1f} s", *parts])


def _struck(counts: Counter[str]) -> dict[str, int]:
    """Return those of the counts that are faults."""
    words = (*KINDS, "away", "wipe", "failover", "late")
    return {name: count for name, count in counts.items() if name.startswith(words)}


def _missing(counts: Counter[str]) -> list[str]:
    """Name what a long run must have seen, and has not."""
    faults = [f"{kind}, {store}" for kind in (*KINDS, "away") for store in TIMEOUT_SECONDS]
    faults += ["late capture", "late refusal", "wipe", "failover"]
    told = ["book 201", "pay 200", "pay 202", "pay 402", "cancellations told", "locks told"]
    told += ["extensions told", "releases told", "revocations told", "intents cancelled"]
    return [name for name in (*faults, *told) if counts[name] < 5]


@pytest.fixture(scope="module")
def hunts(pool: ProcessPoolExecutor) -> dict[str, "Future[tuple[int, str] | None]"]:
    return {mutant.name: pool.submit(hunt, mutant.name, 20_000) for mutant in MUTANTS}


@slow
@pytest.mark.parametrize("name", [mutant.name for mutant in MUTANTS])
def test_a_planted_mistake_is_found(
    name: str,
    hunts: dict[str, "Future[tuple[int, str] | None]"],
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = hunts[name].result()
    assert found, "20,000 seeds did not notice"
    with capsys.disabled():
        print(f"\n{name}: seed {found[0]}: {found[1][:100]}", end="")


# -- a seed is a run -----------------------------------------------------------------------------

SOME = range(40)


def fingerprints() -> list[str]:
    with staged() as clock:
        return [run(clock, seed).fingerprint for seed in SOME]


def test_a_seed_is_the_same_run_every_time() -> None:
    first = fingerprints()
    assert len(set(first)) == len(SOME)
    assert fingerprints() == first
    told = "from tests.test_simulation import fingerprints; print(*fingerprints(), sep='\\n')"
    for hash_seed in ("1", "2"):
        other = subprocess.run(
            [sys.executable, "-c", told],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert other.stdout.splitlines() == first, "sets are iterated somewhere"


def test_being_watched_changes_nothing() -> None:
    with staged() as clock:
        for seed in SOME:
            told = run(clock, seed, trace=True)
            assert told.fingerprint == run(clock, seed).fingerprint
            assert told.trace


def test_nobody_changes_a_document_that_was_read() -> None:
    """The database in memory hands out what it stores; with copies every run is the same."""
    found, piped, move = (getattr(MemoryCollection, name) for name in ("_found", "_piped", "_move"))

    def copied(original: Any) -> Any:
        return lambda *args: deepcopy(original(*args))

    plain = fingerprints()
    with (
        patch.object(MemoryCollection, "_piped", copied(piped)),
        patch.object(MemoryCollection, "_move", copied(move)),
        patch.object(MemoryCollection, "_found", copied(found)),
    ):
        assert fingerprints() == plain
