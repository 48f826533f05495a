"""The fan-out over real sockets: no task for any watcher, and nobody waits for the slow."""

import asyncio
import gc
import json
import logging
import socket
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request

from server.realtime import audience, framed, frames
from server.realtime.audience import Audience
from server.realtime.channel import Channel
from server.realtime.framed import FramedProtocol
from server.realtime.frames import step
from tests.hostile import CLOSE, TEXT, RawSocket, close_code, frame, handshake
from tests.seat_stores import SHOWTIME
from tests.test_hub import LAYOUT, StoreSource, change, eventually, source
from tests.test_live import address, is_held, receive, served

__all__ = ["source"]

AFTER = {"seat.locked": "l", "seat.released": ".", "seat.booked": "b"}


@pytest.fixture
async def host(valkey_url: str, source: StoreSource) -> AsyncIterator[str]:
    async with served(valkey_url, source) as host:
        yield host


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> "list[FramedProtocol]":
    """The server's end of each connection that is kept without a task."""
    protocols: list[FramedProtocol] = []
    keep = FramedProtocol.keep

    def keeping(self: FramedProtocol, keeper: Any) -> None:
        protocols.append(self)
        keep(self, keeper)

    monkeypatch.setattr(FramedProtocol, "keep", keeping)
    return protocols


@pytest.fixture
def channels(monkeypatch: pytest.MonkeyPatch) -> list[Channel]:
    made: list[Channel] = []
    create = Channel.__init__

    def creating(self: Channel, *given: Any) -> None:
        made.append(self)
        create(self, *given)

    monkeypatch.setattr(Channel, "__init__", creating)
    return made


@pytest.mark.parametrize("ready_frames", [True, False])
async def test_a_watcher_has_no_task_and_a_flush_wakes_none(
    valkey_url: str,
    source: StoreSource,
    channels: list[Channel],
    monkeypatch: pytest.MonkeyPatch,
    ready_frames: bool,
) -> None:
    """And beside it the plain path, where each has some, to show that they would be seen."""
    if not ready_frames:
        monkeypatch.setattr(framed, "_OF_PROTOCOL", ("no_such_attribute",))
    async with served(valkey_url, source) as host:
        before = asyncio.all_tasks()
        raws = [await watching(host) for _ in range(50)]
        if ready_frames:
            await eventually(lambda: asyncio.all_tasks() <= before)
        [watched] = channels
        woken = tasks_woken(monkeypatch)
        watched.hear(change_set(watched))
        told = [await raw.reader.readexactly(2) for raw in raws]
        assert len({*told}) == 1
        ours = [name for name in woken if name.startswith(("_send", "_listen", "LiveRoutes"))]
        assert len(ours) == (0 if ready_frames else 50)
        for raw in raws:
            raw.leave(reset=False)
        await eventually(lambda: watched.watchers == len(watched.audience) == 0)


def tasks_woken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which the name of each task is added that is about to run."""
    loop, names = asyncio.get_running_loop(), list[str]()
    call_soon = loop.call_soon

    def noting(callback: Callable[..., object], *args: Any, **more: Any) -> Any:
        task = getattr(callback, "__self__", None)
        if isinstance(task, asyncio.Task):
            names.append(task.get_coro().__qualname__)  # type: ignore[union-attr]
        return call_soon(callback, *args, **more)

    monkeypatch.setattr(loop, "call_soon", noting)
    return names


def change_set(watched: Channel) -> bytes:
    """Return the next change, as Redis would announce it."""
    mirror = watched.mirror
    events = [{"type": "seat.booked", "seats": ["A1"]}]
    change = {"epoch": mirror.epoch, "seq": mirror.seq + 1, "at": mirror.now(), "events": events}
    return json.dumps(change).encode()


def flush(kept: list[FramedProtocol]) -> None:
    """Tell the audience that these belong to something new."""
    told = audience_of(kept[0])
    told._step = lambda epoch, seq: step("!", epoch, seq + 1)
    assert told.tell(lambda seconds: None)


def audience_of(protocol: FramedProtocol) -> Audience:
    keeper: Any = protocol._keeper
    found: Audience = keeper._audience
    return found


async def watching(host: str, *, takes: int = 0) -> RawSocket:
    """Open a map that has had its first frame, which is read."""
    port = int(host.rpartition(":")[2])
    path = f"/api/showtimes/{SHOWTIME}/live"
    raw = await RawSocket.open(port, handshake(path), takes=takes)
    assert b" 101 " in await raw.answer()
    assert b'"snapshot"' in await one_frame(raw)
    return raw


async def one_frame(raw: RawSocket) -> bytes:
    """Read one frame from the server, up to 64 KiB."""
    size = (await raw.reader.readexactly(2))[1]
    if size == 126:
        size = int.from_bytes(await raw.reader.readexactly(2))
    return await raw.reader.readexactly(size)


@pytest.mark.alone
async def test_a_slow_client_delays_nobody_and_catches_up_with_redis(
    host: str, source: StoreSource, kept: list[FramedProtocol]
) -> None:
    """Its transport is full, as told by the system itself; the others hear all in time."""
    loop = asyncio.get_running_loop()
    async with narrow(host) as deaf, connect(address(host)) as good:
        first, seen = await receive(deaf), await receive(good)
        fill(kept[0])
        slowest = 0.0
        for n in range(30):
            asked = loop.time()
            await change(source.stores, f"A{n}", user=f"u{n // 10}")
            while seen["seq"] < first["seq"] + n + 1:
                seen = await receive(good)
            slowest = max(slowest, loop.time() - asked)
        assert len(audience_of(kept[1])._full) == 1
        assert slowest < 1.0
        states, told = list(first["states"]), []
        while not told or told[-1]["seq"] != seen["seq"]:
            async with asyncio.timeout(5):
                text = await deaf.recv()
            if text.strip():
                told.append(json.loads(text))
        for event in (event for step in told for event in step["events"]):
            for seat in event["seats"]:
                states[LAYOUT.index[seat]] = AFTER[event["type"]]
        stored = await source.stores.seats.read(SHOWTIME)
        assert stored is not None
        shown = dict(zip(LAYOUT.seat_ids, states, strict=True))
        assert {seat: state for seat, state in shown.items() if state != "."} == stored.taken
        assert len(told) == 1  # one step instead of thirty
        assert not audience_of(kept[1])._full


@asynccontextmanager
async def narrow(host: str) -> AsyncIterator[ClientConnection]:
    """A client for whom the system receives next to nothing while it does not read."""
    name, _, port = host.partition(":")
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        plain.connect((name, int(port)))
        plain.setblocking(False)
        async with connect(address(host), sock=plain, max_queue=1, ping_interval=None) as deaf:
            yield deaf


async def test_one_that_never_reads_is_cut_and_nothing_of_it_is_kept(
    host: str, kept: list[FramedProtocol], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audience, "SLOW_SECONDS", 0.2)
    monkeypatch.setattr(audience, "GOODBYE_SECONDS", 0.1)
    raw = await watching(host, takes=4096)
    raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
    told, held = audience_of(kept[0]), weakref.ref(kept[0])
    fill(kept[0])
    flush(kept)
    kept.clear()
    client = raw.writer.get_extra_info("socket")
    await eventually(lambda: not is_held(client))
    await asyncio.sleep(0)
    gc.collect()
    assert held() is None
    assert len(told) == 0
    raw.leave(reset=True)


async def test_little_waits_for_one_that_does_not_read(
    host: str, kept: list[FramedProtocol]
) -> None:
    """Else a slow one would be told first of what is long past: here of megabytes of it."""
    async with narrow(host) as deaf:
        await receive(deaf)
        assert fill(kept[0]) < 256 * 1024


async def test_one_that_reads_late_hears_why_it_was_let_go(
    host: str, kept: list[FramedProtocol], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audience, "SLOW_SECONDS", 0.1)
    monkeypatch.setattr(audience, "GOODBYE_SECONDS", 5.0)
    async with narrow(host) as deaf:
        await receive(deaf)
        told = audience_of(kept[0])
        fill(kept[0])
        flush(kept)
        assert len(told) == 1
        await eventually(lambda: len(told) == 0)
        with suppress(ConnectionClosed):
            while True:
                await deaf.recv()
        assert deaf.close_code == 4408
    await eventually(lambda: kept[0].disconnected)


async def test_what_a_kept_one_says_is_not_kept(
    host: str, kept: list[FramedProtocol], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may talk, not too much at once, and is not read more often than now and then."""
    monkeypatch.setattr(framed, "TALKER_SECONDS", 0.5)
    raw = await watching(host)
    await raw.send(frame(TEXT, b"{}") * 10)
    await eventually(lambda: kept[0].read_paused)
    await eventually(lambda: not kept[0].read_paused)
    assert kept[0].frames == []
    await raw.send(frame(TEXT, b"{}") * 2000)
    assert close_code(await raw.rest()) == 1008
    raw.leave(reset=False)


@pytest.mark.parametrize("end", ["farewell", "no pong", "shutdown"])
async def test_one_that_does_not_read_cannot_stay_by_being_closed(
    host: str, kept: list[FramedProtocol], monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """uvicorn closes it, and closing waits until all was taken, which is never."""
    monkeypatch.setattr(FramedProtocol._leave_soon, "__defaults__", (0.2,))
    raw = await watching(host, takes=4096)
    raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
    fill(kept[0])
    if end == "farewell":
        await raw.send(frame(CLOSE, b"\x03\xe8"))
    elif end == "no pong":
        kept[0].keepalive_timeout()
    else:
        kept[0].shutdown()
    client = raw.writer.get_extra_info("socket")
    await eventually(lambda: not is_held(client), seconds=3)
    raw.leave(reset=True)


def fill(protocol: FramedProtocol) -> int:
    """Send what says nothing until the transport is full; returns how many bytes that took."""
    sent, nothing = 0, b"\x81\x7e\x10\x00" + b" " * 4096
    while protocol.writable.is_set():
        protocol.transport.write(nothing)
        sent += len(nothing)
    return sent


@pytest.mark.parametrize("end", ["close", "no pong", "farewell", "shutdown"])
async def test_nothing_is_written_after_the_close(
    host: str, kept: list[FramedProtocol], end: str
) -> None:
    """Even while the connection stays for what the client has not taken yet."""
    raw = await watching(host, takes=4096)
    raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
    fill(kept[0])
    told = audience_of(kept[0])
    kept[0].resume_writing()  # as if it had room again
    assert len(told) == 1
    match end:
        case "close":
            await raw.send(frame(CLOSE, b"\x03\xe8"))
        case "no pong":
            kept[0].keepalive_timeout()
        case "farewell":
            kept[0].farewell(4408, 5.0)
        case "shutdown":
            kept[0].shutdown()
    await eventually(lambda: len(told) == 0)
    assert not kept[0].disconnected
    raw.leave(reset=True)


async def test_a_watcher_holds_nothing_of_its_handshake(
    host: str, kept: list[FramedProtocol]
) -> None:
    """No request, no scope, no queue: it waits for hours, and there are thousands of it."""
    kinds = (Request, WebSocket, asyncio.Queue, asyncio.Event)

    def alive() -> int:
        gc.collect()
        return sum(isinstance(each, kinds) for each in gc.get_objects())

    first = await watching(host)
    await eventually(lambda: not hasattr(kept[0], "scope"))
    before = alive()
    raws = [first] + [await watching(host) for _ in range(20)]
    await eventually(lambda: not any(hasattr(each, "scope") for each in kept))
    assert alive() <= before
    for raw in raws:
        raw.leave(reset=False)


async def test_half_a_frame_that_comes_early_is_not_forgotten(
    valkey_url: str, source: StoreSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a client says before its snapshot is there is parsed by who began to parse it."""
    loaded = asyncio.Event()
    states = source.states

    async def later(showtime_id: str) -> Any:
        await loaded.wait()
        return await states(showtime_id)

    monkeypatch.setattr(source, "states", later)
    async with served(valkey_url, source) as host:
        port = int(host.rpartition(":")[2])
        raw = await RawSocket.open(port, handshake(f"/api/showtimes/{SHOWTIME}/live"))
        assert b" 101 " in await raw.answer()
        goodbye = frame(CLOSE, b"\x03\xe8")
        await raw.send(goodbye[:3])
        await asyncio.sleep(0.05)
        loaded.set()
        assert b'"snapshot"' in await one_frame(raw)
        await raw.send(goodbye[3:])
        assert close_code(await raw.rest()) == 1000
        raw.leave(reset=False)


# -- what this stands on ---------------------------------------------------------------------------


async def test_uvicorn_and_websockets_are_what_the_protocol_stands_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = uvicorn.Config(Starlette(), ws=FramedProtocol)
    config.load()
    assert framed.differences(config) == []
    monkeypatch.setattr(framed, "_OF_PROTOCOL", ("writable", "no_such_attribute"))
    monkeypatch.setattr(frames, "websocket", lambda text: text.encode())
    assert framed.differences(config) == ["no_such_attribute", "frame"]
    assert framed.differences(None) != []  # type: ignore[arg-type]


async def test_without_it_the_plain_path_serves_and_that_is_logged_once(
    valkey_url: str,
    source: StoreSource,
    kept: list[FramedProtocol],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(framed, "_OF_PROTOCOL", (*framed._OF_PROTOCOL, "no_such_attribute"))
    with caplog.at_level(logging.WARNING, "rowlock.serving"):
        async with served(valkey_url, source) as host:
            async with connect(address(host)) as one, connect(address(host)) as two:
                for client in (one, two):
                    assert (await receive(client))["type"] == "snapshot"
                await change(source.stores, "A1")
                for client in (one, two):
                    assert (await receive(client))["events"][0]["seats"] == ["A1"]
    assert [record.getMessage() for record in caplog.records if "one by one" in record.msg] == [
        "seat changes are sent one by one; not as expected: no_such_attribute"
    ]
    assert kept == []
