"""Two thousand watchers under load, and what may break: soon all see again what Redis holds.

The seats change from before the fault until its end, and then stand still, so that all can be
compared with Redis: nothing that comes later brings to light what was lost.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest
import pytest_asyncio

from server.embedded import EmbeddedMongo, EmbeddedValkey
from server.realtime.audience import MOST_BUFFERED
from server.realtime.channel import WIDEST_SECONDS
from tests.healing import HEALED_SECONDS, Lags, Stage, staged
from tests.live_crowd import SLOW_RATE, Watcher
from tests.running import IN_MODULE_LOOP
from tests.stored import stores

pytestmark = [IN_MODULE_LOOP, pytest.mark.alone, pytest.mark.slow]

Tell = Callable[..., None]

WATCHERS = 2000
FROZEN_SECONDS = 5.0
PATIENCE_SECONDS = 25.0
"""Within that, one who never reads is let go: ten seconds after being full."""
BUSY_SECONDS = 1.0
"""A machine that is shared may hold up the last hundredth by so much."""
DEAF = WATCHERS // 100
GROWTH_ANYWAY = 4 * 1024 * 1024
"""Bytes that both servers together may take more while the seats change, whoever watches."""
MOST_GROWTH = DEAF * MOST_BUFFERED + GROWTH_ANYWAY


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="store")
async def _store() -> AsyncIterator[EmbeddedValkey]:
    """A Valkey of our own, to be stopped."""
    with TemporaryDirectory() as folder:
        async with EmbeddedValkey(Path(folder)) as valkey:
            yield valkey


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="stage")
async def _stage(store: EmbeddedValkey, mongo: EmbeddedMongo) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        stored = await stack.enter_async_context(stores(store, mongo))
        folder = Path(stack.enter_context(TemporaryDirectory()))
        opened = staged(folder, stored.database, stored.redis_url, watchers=WATCHERS)
        yield await stack.enter_async_context(opened)


@pytest.fixture(name="told")
def _told(capsys: pytest.CaptureFixture[str]) -> Tell:
    def tell(*lines: str) -> None:
        with capsys.disabled():
            print("", *lines, sep="\n  ")

    return tell


async def test_killed_subscriptions(stage: Stage, told: Tell) -> None:
    """Nobody reads Redis for it but each server once for each new connection."""
    before, reads, killed = await stage.subscriptions(), await stage.reads(), 0

    async def kill(stage: Stage) -> None:
        nonlocal killed
        for _ in range(5):
            killed += await stage.redis.client_kill_filter(_type="pubsub")
            await asyncio.sleep(0.3)
        killed += await stage.redis.client_kill_filter(_type="pubsub")

    healing = await stage.survive(kill)
    reads = await stage.reads() - reads
    told(f"{killed} killed subscriptions, {reads} reads by the servers: {healing}")
    assert killed >= 6
    assert not before & await stage.subscriptions()
    assert 2 <= reads <= killed
    assert set(healing.answers) == {200}
    assert not healing.seen["connects"], "what was lost is told on the connections that there are"


async def test_a_frozen_store(stage: Stage, store: EmbeddedValkey, told: Tell) -> None:
    process = psutil.Process(int(store.pid_file.read_text()))

    async def freeze(stage: Stage) -> None:
        process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(FROZEN_SECONDS / 2)
            assert process.status() == psutil.STATUS_STOPPED
            await asyncio.sleep(FROZEN_SECONDS / 2)
        finally:
            process.send_signal(signal.SIGCONT)

    healing = await stage.survive(freeze)
    told(f"a store frozen for {FROZEN_SECONDS} s, answers {dict(healing.answers)}: {healing}")
    assert healing.answers[503]
    assert not healing.seen["connects"]


async def test_watchers_that_never_read(stage: Stage, told: Tell) -> None:
    """They are let go, hold no more than they may until then, and delay the others little."""
    calm = await stage.flowing(_passed(3.0), most=5)
    memory, gone = stage.resident(), await stage.let_go()
    deaf = await stage.crowd.join("deaf", DEAF)
    assert stage.connected() == WATCHERS + len(deaf)
    began = time.monotonic()

    async def all_gone() -> bool:
        return await stage.let_go() >= gone + len(deaf)

    lags = await stage.flowing(all_gone, most=PATIENCE_SECONDS)
    took, seconds = time.monotonic() - began, await stage.healed()
    growth = stage.resident() - memory
    told(
        f"{len(deaf)} who never read, let go within {took:.0f} s, "
        f"memory grown by {growth / 1024**2:.1f} MiB: equal after {seconds:.2f} s",
        f"the others hear without them after {calm}",
        f"                    with them after {lags}",
    )
    assert growth < MOST_GROWTH
    _most_were_hardly_delayed(calm, lags)
    async with asyncio.timeout(5):
        while stage.connected() != WATCHERS:
            await asyncio.sleep(0.1)
    stage.crowd.dismiss(deaf)


async def test_watchers_that_read_slowly(stage: Stage, told: Tell) -> None:
    """A tenth as many more, over lines that carry less than there is to tell."""
    calm = await stage.flowing(_passed(3.0), most=5)
    slow = await stage.crowd.join("slow", WATCHERS // 10)
    began, had, gone = time.monotonic(), _received(slow), await stage.let_go()
    lags = await stage.flowing(_passed(6.0), most=10)
    line = SLOW_RATE * (time.monotonic() - began) * len(slow)
    busy = (_received(slow) - had) / line
    over = time.monotonic()
    reading = await stage.healed(who=["reading"])
    try:
        await stage.healed(HEALED_SECONDS - (time.monotonic() - over))
    finally:
        stage.crowd.dismiss(slow)
    told(
        f"{len(slow)} at {SLOW_RATE / 1000:.0f} kB/s, their lines busy for {busy:.0%}: "
        f"the others equal after {reading:.2f} s, they after {time.monotonic() - over:.2f} s",
        f"the others hear without them after {calm}",
        f"                    with them after {lags}",
    )
    assert busy > 0.2
    assert await stage.let_go() == gone
    _most_were_hardly_delayed(calm, lags)


async def test_a_server_that_leaves(stage: Stage, told: Tell) -> None:
    leaving, staying = stage.processes
    there = sum(watcher.port == leaving.port for watcher in stage.crowd.watchers)
    reads, code = await stage.reads(), None

    async def stop(stage: Stage) -> None:
        nonlocal code
        for spread in (stage.crowd, stage.traffic):  # whoever spreads them sees it is not healthy
            spread.ports = [staying.port]
        psutil.Process(leaving.pid).terminate()
        code = await leaving.ended()

    healing = await stage.survive(stop)
    closed = {why: n for why, n in healing.seen.items() if why.startswith("closed")}
    told(f"{there} watchers of a server that left, {closed}: {healing}")
    assert code == 0
    assert closed == {"closed 1012": there}
    assert await stage.reads() == reads, "who comes back is told what it missed from memory"
    assert {watcher.port for watcher in stage.crowd.watchers} == {staying.port}


def _passed(seconds: float) -> Callable[[], Awaitable[bool]]:
    over = time.monotonic() + seconds

    async def look() -> bool:
        return time.monotonic() > over

    return look


def _received(watchers: list[Watcher]) -> int:
    return sum(watcher.received for watcher in watchers)


def _most_were_hardly_delayed(calm: Lags, lags: Lags) -> None:
    """99 of 100 deliveries may be later by a window, and none by BUSY_SECONDS."""
    assert lags.at(0.5) < calm.at(0.5) + WIDEST_SECONDS
    assert lags.at(0.99) < calm.at(0.99) + WIDEST_SECONDS
    assert lags.at(1) < calm.at(1) + BUSY_SECONDS
