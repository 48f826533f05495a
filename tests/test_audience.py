"""An audience: one frame for all who stand at one place, round after round, without any socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from server.realtime import audience
from server.realtime.audience import MOST_BUFFERED, Audience, Watcher
from server.realtime.channel import Channel
from server.realtime.frames import Step, step
from tests.test_hub import SHOWTIME, StoreSource, eventually, source

__all__ = ["source"]


@dataclass(eq=False)
class Pipe:
    """A transport that takes what it is told to take."""

    full: bool = False
    gone: bool = False
    buffered: int = 0
    frames: list[bytes] = field(default_factory=list)
    code: int = 0

    def write_frame(self, frame: bytes) -> bool:
        if self.full or self.gone:
            return False
        self.frames.append(frame)
        return True

    def farewell(self, code: int, seconds: float) -> None:
        self.code, self.gone = code, True


class Told:
    """An audience, and the numbers that a step leads to."""

    def __init__(self) -> None:
        self.seq = 0
        self.built: list[int] = []
        self.slow = 0
        self.rounds: list[float] = []
        self.audience = Audience(self.step, lambda: 1, self._count)

    def step(self, epoch: str, seq: int) -> Step | None:
        if seq == self.seq:
            return None
        self.built.append(seq)
        return step(f"{seq}-{self.seq}", "e", self.seq)

    def _count(self) -> None:
        self.slow += 1

    def join(self, pipe: Pipe) -> Watcher:
        return self.audience.join(pipe, ("e", 0), step(f"to {self.seq}", "e", self.seq))

    async def tell(self, seq: int) -> None:
        self.seq, rounds = seq, len(self.rounds)
        assert self.audience.tell(self.rounds.append)
        await eventually(lambda: len(self.rounds) > rounds)


@pytest.fixture
async def told() -> AsyncIterator[Told]:
    told = Told()
    yield told
    told.audience.close()


def texts(pipe: Pipe) -> list[str]:
    return [frame[2:].decode() for frame in pipe.frames]


async def test_those_at_one_place_get_the_same_bytes(told: Told) -> None:
    pipes = [Pipe() for _ in range(3)]
    for pipe in pipes:
        told.join(pipe)
    await told.tell(1)
    assert told.built == [0]
    assert len({id(pipe.frames[1]) for pipe in pipes}) == 1
    assert texts(pipes[0]) == ["to 0", "0-1"]


async def test_those_who_have_come_to_one_place_go_on_together(told: Told) -> None:
    early, late = Pipe(), Pipe()
    told.join(early)
    told.seq = 1
    told.join(late)
    for seq in (2, 3, 4):
        await told.tell(seq)
    assert texts(early) == ["to 0", "0-2", "2-3", "3-4"]
    assert texts(late) == ["to 1", "1-2", "2-3", "3-4"]
    assert told.built == [0, 1, 2, 3]


async def test_a_round_goes_slice_by_slice_and_lets_the_loop_breathe(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audience, "SLICE", 10)
    pipes = [Pipe() for _ in range(35)]
    for pipe in pipes:
        told.join(pipe)
    told.seq = 1
    told.audience.tell(told.rounds.append)
    counts = []
    while not told.rounds:
        counts.append(sum(len(pipe.frames) == 2 for pipe in pipes))
        await asyncio.sleep(0)
    assert counts[:4] == [10, 20, 30, 35]


async def test_who_comes_or_goes_during_a_round_is_told_once_or_not_at_all(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audience, "SLICE", 1)
    pipes = [Pipe() for _ in range(3)]
    watchers = [told.join(pipe) for pipe in pipes]
    told.seq = 1
    told.audience.tell(told.rounds.append)
    watchers[2].lost()
    pipes[2].gone = True
    late = Pipe()
    told.join(late)
    await eventually(lambda: bool(told.rounds))
    await told.tell(2)
    assert [texts(pipe) for pipe in (*pipes, late)] == [
        ["to 0", "0-1", "1-2"],
        ["to 0", "0-1", "1-2"],
        ["to 0"],
        ["to 1", "1-2"],
    ]
    assert len(told.audience) == 3


async def test_who_is_full_takes_one_step_when_it_has_drained(told: Told) -> None:
    quick, slow = Pipe(), Pipe()
    told.join(quick)
    watcher = told.join(slow)
    slow.full = True
    for seq in (1, 2, 3):
        await told.tell(seq)
    slow.full = False
    watcher.drained()
    await told.tell(4)
    assert texts(quick) == ["to 0", "0-1", "1-2", "2-3", "3-4"]
    assert texts(slow) == ["to 0", "0-3", "3-4"]
    assert len({id(quick.frames[-1]), id(slow.frames[-1])}) == 1


async def test_who_holds_too_much_is_let_go_at_once(told: Told) -> None:
    slow = Pipe()
    told.join(slow)
    slow.full, slow.buffered = True, MOST_BUFFERED + 1
    await told.tell(1)
    assert (slow.code, told.slow, len(told.audience)) == (4408, 1, 0)


async def test_who_stays_full_is_let_go_and_the_others_are_not(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audience, "SLOW_SECONDS", 0.3)
    pipes = [Pipe() for _ in range(3)]
    watchers = [told.join(pipe) for pipe in pipes]
    pipes[0].full = pipes[1].full = True
    await told.tell(1)
    pipes[1].full = False
    watchers[1].drained()
    await eventually(lambda: pipes[0].gone)
    assert [pipe.code for pipe in pipes] == [4408, 0, 0]
    assert (told.slow, len(told.audience)) == (1, 2)


async def test_one_timer_beats_for_all(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "HEARTBEAT_SECONDS", 0.05)
    pipes = [Pipe() for _ in range(100)]
    with counted(monkeypatch, "call_later") as timers:
        watchers = [told.join(pipe) for pipe in pipes]
        await eventually(lambda: len(pipes[0].frames) == 4)
        assert timers["_beat"] <= 4
    assert {len(pipe.frames) for pipe in pipes} == {4}
    assert json.loads(texts(pipes[7])[3]) == {"type": "heartbeat", "seq": 0, "server_time": 1}
    for watcher in watchers:
        watcher.lost()
    await eventually(lambda: told.audience._beat_timer is None)


async def test_a_round_that_fails_is_not_the_last(
    told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    pipe = Pipe()
    told.join(pipe)
    told.audience._step = lambda epoch, seq: 1 / 0  # type: ignore[assignment, return-value]
    await told.tell(1)
    assert "a round was given up" in caplog.text
    told.audience._step = told.step
    await told.tell(2)
    assert texts(pipe) == ["to 0", "0-2"]


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[dict[str, int]]:
    """Count what the loop is asked for under `name`, by the name of the callback."""
    loop, seen = asyncio.get_running_loop(), dict[str, int]()
    real = getattr(loop, name)

    def counting(delay: float, callback: Callable[..., object], *args: Any, **more: Any) -> Any:
        called = getattr(callback, "__name__", "")
        seen[called] = seen.get(called, 0) + 1
        return real(delay, callback, *args, **more)

    with monkeypatch.context() as patched:
        patched.setattr(loop, name, counting)
        yield seen


async def test_the_window_widens_when_a_flush_takes_long(source: StoreSource) -> None:
    watched = Channel(SHOWTIME, source)
    widths = []
    for seconds in (0.001, 0.03, 5.0, 0.0):
        watched._told(seconds)
        widths.append(watched._window)
    assert widths == [0.05, 0.12, 0.25, 0.05]
