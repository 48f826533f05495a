"""The whole of Rowlock behind Sentinels: the master steps down, freezes, or is killed."""

import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from server.child_server import LOOPBACK
from server.embedded import EmbeddedMongo, EmbeddedValkey
from tests.fallible_stores import gone, kill, revive
from tests.processes import WHOLE
from tests.redis_clusters import MASTER_NAME, Watched, ask, linked, sentinels, until
from tests.selling_crowd import crowd, database_uri, some
from tests.store_processes import running_under

pytestmark = [pytest.mark.slow, pytest.mark.alone]


async def the_master_is_killed(watched: Watched, old: EmbeddedValkey) -> None:
    kill(old)
    await gone(old)
    await watched.failed_over(old)


async def the_master_is_frozen(watched: Watched, old: EmbeddedValkey) -> None:
    """Its connections stay open and bring nothing; who comes to it waits."""
    os.kill(int(old.pid_file.read_text()), signal.SIGSTOP)
    await watched.failed_over(old)


async def the_master_steps_down(watched: Watched, old: EmbeddedValkey) -> None:
    await ask(watched.sentinels[0], "SENTINEL", "FAILOVER", MASTER_NAME)
    await watched.failed_over(old)


async def back_again(watched: Watched, old: EmbeddedValkey) -> None:
    """Let the old master come back as the replica of the new one; Sentinels take ten seconds."""
    if not running_under(old.directory):
        await revive(old)
    os.kill(int(old.pid_file.read_text()), signal.SIGCONT)
    await ask(old, "REPLICAOF", LOOPBACK, (await watched.master()).port)
    await until(lambda: linked(old))


Fault = Callable[[Watched, EmbeddedValkey], Awaitable[None]]
FAULTS: tuple[Fault, ...] = (
    *([the_master_is_killed] if WHOLE else []),
    the_master_steps_down,
    the_master_is_frozen,
)


async def test_a_failover_behind_sentinels_costs_no_sold_seat_and_no_watcher_its_place(
    tmp_path: Path, mongo: EmbeddedMongo, capsys: pytest.CaptureFixture[str]
) -> None:
    told = []
    async with (
        sentinels(tmp_path) as watched,
        crowd(tmp_path, watched.url, database_uri(mongo)) as here,
    ):
        async with here.busy():
            await some(here, 50)
            for fault in FAULTS:
                old = await watched.master()
                told.append(await here.survive(fault.__name__, fault(watched, old)))
                assert await watched.master() is not old
                await some(here, 20)
                await back_again(watched, old)
        problems = await here.judged(lossy=True)
        sold = here.sold
    with capsys.disabled():
        print("", *told, f"{sold} bookings sold", sep="\n")
    assert not problems
    assert sold
