"""The crash matrix: a process is killed at every step of the saga, and everything heals.

`make faults` goes through it with many seeds, which choose the customer in whose request it
strikes; otherwise each step kills once.
"""

import asyncio
import inspect
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from server.embedded import EmbeddedMongo, EmbeddedValkey
from tests.crash_lane import Crash, lane
from tests.crash_points import POINTS, SHORTER, STEPS
from tests.crash_stories import STORIES
from tests.crashing import place_of
from tests.processes import WHOLE
from tests.stored import stores

SEEDS = 8 if WHOLE else 1
LANES = 4
QUICK = [point for number, point in enumerate(POINTS) if number % 4 in (0, 3)]
"""Each step once, before and after in turn."""


@pytest.mark.parametrize("step", STEPS)
def test_each_step_is_there(step: str) -> None:
    owner, method = place_of(step)
    assert inspect.iscoroutinefunction(getattr(owner, method))


@pytest.mark.parametrize("name", SHORTER)
def test_each_deadline_is_there(name: str) -> None:
    place_of(name)


def test_each_story_is_told() -> None:
    assert {point.story for point in POINTS} == STORIES.keys()


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("worker", [False, True], ids=["in a server", "in a worker"])
async def test_a_kill_at_any_step_is_healed(
    tmp_path: Path,
    valkey: EmbeddedValkey,
    mongo: EmbeddedMongo,
    capsys: pytest.CaptureFixture[str],
    worker: bool,
) -> None:
    """In a server all points can strike, with its background work; in a worker those of that."""
    points = [p for p in POINTS if p.in_background or not worker]
    if not WHOLE:
        points = [p for p in QUICK if p.in_background == worker]
    todo = [(point, seed) for seed in range(SEEDS) for point in points]
    crashes: list[Crash] = []

    async def work() -> None:
        async with AsyncExitStack() as stack:
            stored = await stack.enter_async_context(stores(valkey, mongo))
            mine = await stack.enter_async_context(lane(stored, worker=worker, directory=tmp_path))
            while todo:
                crashes.append(await mine.crash(*todo.pop()))

    async with asyncio.TaskGroup() as together:
        for _ in range(LANES):
            together.create_task(work())
    with capsys.disabled():
        print(f"\n{_report(crashes)}")
    wrong = {f"{c.point.name} #{c.seed}": c.problems for c in crashes if c.problems}
    assert not wrong, "\n".join(f"{name}: {what}" for name, what in wrong.items())
    assert all(crash.struck for crash in crashes)


def _report(crashes: list[Crash]) -> str:
    struck = Counter(crash.point.story for crash in crashes if crash.struck)
    slowest = max(crashes, key=lambda crash: crash.healed)
    return (
        f"kills that struck: {sum(struck.values())} of {len(crashes)} at "
        f"{len({crash.point for crash in crashes})} points: "
        + ", ".join(f"{story} {count}" for story, count in sorted(struck.items()))
        + f"\nhealed at the latest {slowest.healed:.1f} s after the kill ({slowest.point.name})"
    )
