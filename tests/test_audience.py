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
from server.realtime.tally import Uncounted
from tests.test_hub import SHOWTIME, StoreSource, eventually, source

__all__ = ["source"]


@dataclass(eq=False)
class Pipe:
    """A transport that takes what it is told to take, and tells its watcher how it is."""

    full: bool = False
    gone: bool = False
    buffered: int = 0
    frames: list[bytes] = field(default_factory=list)
    code: int = 0
    fills: bool = False
    """The next frame is one too many."""
    watcher: Watcher | None = None

    def write(self, frame: bytes) -> None:
        if self.gone:
            raise RuntimeError("the handler is closed")
        self.frames.append(frame)
        if self.fills:
            self.fill()

    def fill(self) -> None:
        self.full, self.fills = True, False
        if self.watcher:
            self.watcher.full()

    def drain(self) -> None:
        self.full = False
        assert self.watcher
        self.watcher.drained()

    def farewell(self, code: int, seconds: float) -> None:
        self.code, self.gone = code, True
        if self.watcher:
            self.watcher.ended()


class Counted(Uncounted):
    def __init__(self) -> None:
        self.slow = self.delivered_frames = 0

    def too_slow(self) -> None:
        self.slow += 1

    def delivered(self, frames: int) -> None:
        self.delivered_frames += frames


class Told:
    """An audience, and the numbers that a step leads to."""

    def __init__(self) -> None:
        self.seq = 0
        self.built: list[int] = []
        self.tally = Counted()
        self.rounds: list[float] = []
        self.audience = Audience(self.step, lambda: 1, self.tally)

    def step(self, epoch: str, seq: int) -> Step | None:
        if seq == self.seq:
            return None
        self.built.append(seq)
        return step(f"{seq}-{self.seq}", "e", self.seq)

    def join(self, pipe: Pipe) -> Watcher:
        first = step(f"to {self.seq}", "e", self.seq)
        pipe.watcher = self.audience.join(pipe, ("e", 0), first, lambda: None)
        return pipe.watcher

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
    told.join(slow)
    slow.fill()
    for seq in (1, 2, 3):
        await told.tell(seq)
    slow.drain()
    await told.tell(4)
    assert texts(quick) == ["to 0", "0-1", "1-2", "2-3", "3-4"]
    assert texts(slow) == ["to 0", "0-3", "3-4"]
    assert len({id(quick.frames[-1]), id(slow.frames[-1])}) == 1


async def test_who_becomes_full_by_a_frame_is_told_from_where_it_stood(told: Told) -> None:
    """The step overlaps with that frame, of which nobody knows whether all of it was written."""
    pipe, other = Pipe(), Pipe()
    told.join(pipe)
    told.join(other)
    pipe.fills = True
    await told.tell(1)
    await told.tell(2)
    pipe.drain()
    await told.tell(3)
    assert texts(pipe) == ["to 0", "0-1", "0-2", "2-3"]
    assert texts(other) == ["to 0", "0-1", "1-2", "2-3"]


async def test_who_is_full_after_the_first_step_waits_and_goes_on_from_there(told: Told) -> None:
    pipe = Pipe(fills=True)
    told.seq = 5
    told.join(pipe)
    told.seq = 6
    assert not told.audience.tell(told.rounds.append), "nobody is there to be told"
    assert texts(pipe) == ["to 5"]
    pipe.drain()
    assert texts(pipe) == ["to 5", "5-6"]


async def test_who_fills_up_in_the_middle_of_a_round_gets_no_frame_of_it(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audience, "SLICE", 1)
    pipes = [Pipe() for _ in range(3)]
    for pipe in pipes:
        told.join(pipe)
    told.seq = 1
    told.audience.tell(told.rounds.append)
    pipes[1].fill()
    await eventually(lambda: bool(told.rounds))
    await told.tell(2)
    pipes[1].drain()
    assert [texts(pipe) for pipe in pipes] == [
        ["to 0", "0-1", "1-2"],
        ["to 0", "0-2"],
        ["to 0", "0-1", "1-2"],
    ]


async def test_one_that_was_closed_a_moment_ago_stops_no_round(told: Told) -> None:
    pipes = [Pipe() for _ in range(5)]
    for pipe in pipes:
        told.join(pipe)
    pipes[0].gone = pipes[2].gone = pipes[3].gone = True
    await told.tell(1)
    assert [len(pipe.frames) for pipe in pipes] == [1, 2, 1, 1, 2]


async def test_frames_are_counted_by_the_group(told: Told) -> None:
    pipes = [Pipe() for _ in range(3)]
    for pipe in pipes:
        told.join(pipe)
    pipes[1].fill()
    await told.tell(1)
    await told.tell(2)
    assert told.tally.delivered_frames == 4


async def test_who_holds_too_much_is_let_go_at_once(told: Told) -> None:
    slow = Pipe()
    told.join(slow)
    slow.buffered = MOST_BUFFERED + 1
    slow.fill()
    assert (slow.code, told.tally.slow, len(told.audience)) == (4408, 1, 0)


async def test_who_stays_full_is_let_go_and_the_others_are_not(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audience, "SLOW_SECONDS", 0.3)
    pipes = [Pipe() for _ in range(3)]
    for pipe in pipes:
        told.join(pipe)
    pipes[0].fill()
    pipes[1].fill()
    await told.tell(1)
    pipes[1].drain()
    await eventually(lambda: pipes[0].gone)
    assert [pipe.code for pipe in pipes] == [4408, 0, 0]
    assert (told.tally.slow, len(told.audience)) == (1, 2)


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
    for seconds in (0.001, 0.04, 5.0, 0.0):
        watched._told(seconds)
        widths.append(watched._window)
    assert widths == [0.05, 0.06, 0.25, 0.05]
