"""The live map over real sockets: frames, resume, close codes, heartbeats, SSE."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import httpx
import psutil
import pytest
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from server.api.middleware import RequestEnvelope
from server.api.problems import exception_handlers
from server.metrics import Metrics
from server.realtime import audience, frames, live
from server.realtime import channel as channel_module
from server.realtime.frames import Step
from server.realtime.hub import Hub
from server.realtime.live import LiveRoutes
from server.serving import bind, serve
from server.socket_caps import SocketCaps
from tests.seat_stores import SHOWTIME
from tests.test_hub import LAYOUT, StoreSource, change, eventually, running, source

__all__ = ["source"]

OURS = "http://ours.example"


@asynccontextmanager
async def served(url: str, source: StoreSource, **options: Any) -> AsyncIterator[str]:
    """Serve the live map alone; yields host:port."""
    async with running(url, source, **options) as hub, serving_from(hub) as host:
        yield host


@asynccontextmanager
async def serving_from(hub: Hub) -> AsyncIterator[str]:
    routes = LiveRoutes(hub, lambda origin, host: origin == OURS).routes
    app = RequestEnvelope(Starlette(routes=routes, exception_handlers=exception_handlers(())))
    ready = asyncio.Event()
    with bind("127.0.0.1", 0) as listener:
        serving = asyncio.create_task(serve(app, listener, ready.set))
        await ready.wait()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving


@pytest.fixture
async def host(valkey_url: str, source: StoreSource) -> AsyncIterator[str]:
    async with served(valkey_url, source) as host:
        yield host


@pytest.fixture
async def served_hub(valkey_url: str, source: StoreSource) -> AsyncIterator[tuple[str, Hub]]:
    async with running(valkey_url, source) as hub, serving_from(hub) as host:
        yield host, hub


@pytest.fixture
def quick_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "HEARTBEAT_SECONDS", 0.1)


def address(host: str, showtime: str = SHOWTIME, query: str = "") -> str:
    return f"ws://{host}/api/showtimes/{showtime}/live{query}"


async def receive(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(5):
        frame: dict[str, Any] = json.loads(await socket.recv())
        return frame


async def close_code(socket: ClientConnection) -> int | None:
    with suppress(ConnectionClosed):
        async with asyncio.timeout(5):
            await socket.recv()
    return socket.close_code


async def test_the_first_frame_is_a_snapshot(host: str, source: StoreSource) -> None:
    await change(source.stores, "A1")
    async with connect(address(host)) as socket:
        frame = await receive(socket)
    assert set(frame) == {"type", "epoch", "seq", "server_time", "states"}
    assert frame["type"] == "snapshot"
    assert frame["states"] == ".l" + "." * (len(LAYOUT.seats) - 2)


async def test_events_are_numbered_and_name_no_owner(host: str, source: StoreSource) -> None:
    async with connect(address(host)) as socket:
        first = await receive(socket)
        lock = await source.stores.seats.lock(SHOWTIME, "ann", ["A1", "A2"], "req")
        locked = await receive(socket)
        assert {name: value for name, value in locked.items() if name != "server_time"} == {
            "type": "events",
            "epoch": first["epoch"],
            "prev": first["seq"],
            "seq": first["seq"] + 1,
            "events": [
                {"type": "seat.locked", "seats": ["A1", "A2"], "expires_at": lock.expires_at}
            ],
        }
        assert abs(lock.expires_at - locked["server_time"] - 300_000) < 5_000
        await source.stores.seats.release(SHOWTIME, "ann", ["A1"], "")
        released = await receive(socket)
    assert released["prev"] == locked["seq"]
    assert released["events"] == [{"type": "seat.released", "seats": ["A1"], "reason": "released"}]
    assert "ann" not in json.dumps([locked, released])
    assert lock.id not in json.dumps([locked, released])


async def test_a_watcher_comes_back_with_its_position(host: str, source: StoreSource) -> None:
    async with connect(address(host)) as socket:
        first = await receive(socket)
        await change(source.stores, "A1")
        position = await receive(socket)
    await change(source.stores, "A2", "A3")
    back = f"?epoch={position['epoch']}&seq={position['seq']}"
    async with connect(address(host, query=back)) as socket:
        told = [frame := await receive(socket)]
        while frame["seq"] < position["seq"] + 2:  # the last change may be heard after we are back
            told.append(frame := await receive(socket))
    assert {frame["type"] for frame in told} == {"events"}
    assert told[0]["prev"] == position["seq"]
    assert frame["seq"] == position["seq"] + 2
    seats = [seat for each in told for event in each["events"] for seat in event["seats"]]
    assert seats == ["A2", "A3"]
    assert first["epoch"] == frame["epoch"]


async def test_who_missed_nothing_is_told_so(host: str) -> None:
    async with connect(address(host)) as socket:
        first = await receive(socket)
    back = f"?epoch={first['epoch']}&seq={first['seq']}"
    async with connect(address(host, query=back)) as socket:
        frame = await receive(socket)
    assert (frame["type"], frame["events"]) == ("events", [])
    assert frame["prev"] == frame["seq"] == first["seq"]


@pytest.mark.parametrize(
    "query",
    [
        "?epoch=other&seq=1",
        "?epoch=&seq=",
        "?seq=1",
        "?epoch=x&seq=-1",
        "?epoch=x&seq=1e9",
        "?seq=²",
    ],
)
async def test_a_position_that_leads_nowhere_gives_a_snapshot(host: str, query: str) -> None:
    async with connect(address(host, query=query)) as socket:
        assert (await receive(socket))["type"] == "snapshot"


async def test_a_position_ahead_of_us_gives_a_snapshot(host: str) -> None:
    async with connect(address(host)) as socket:
        first = await receive(socket)
    ahead = f"?epoch={first['epoch']}&seq={first['seq'] + 5}"
    async with connect(address(host, query=ahead)) as socket:
        assert (await receive(socket))["type"] == "snapshot"


async def test_a_wipe_is_told_as_a_snapshot_of_a_new_epoch(
    valkey_url: str, source: StoreSource
) -> None:
    async with served(valkey_url, source, tail_check_seconds=0.2) as host:
        async with connect(address(host)) as socket:
            first = await receive(socket)
            await source.stores.redis.flushall()
            frame = await receive(socket)
    assert frame["type"] == "snapshot"
    assert frame["epoch"] != first["epoch"]


@pytest.mark.usefixtures("quick_heartbeat")
async def test_a_quiet_socket_hears_the_heart_beat(host: str) -> None:
    async with connect(address(host)) as socket:
        first = await receive(socket)
        beats = [await receive(socket) for _ in range(3)]
    assert {frame["type"] for frame in beats} == {"heartbeat"}
    assert {frame["seq"] for frame in beats} == {first["seq"]}
    assert all(set(frame) == {"type", "seq", "server_time"} for frame in beats)


async def test_what_a_watcher_says_changes_nothing(host: str, source: StoreSource) -> None:
    async with connect(address(host)) as socket:
        await receive(socket)
        for message in ("{}", "not json", b"\x00\xff", '{"type":"auth"}', "x" * 8000):
            await socket.send(message)
        await change(source.stores, "A1")
        assert (await receive(socket))["type"] == "events"


async def test_a_huge_message_ends_only_its_own_socket(host: str, source: StoreSource) -> None:
    async with connect(address(host)) as good, connect(address(host)) as bad:
        await receive(good)
        with suppress(ConnectionClosed):
            await bad.send("x" * 100_000)
        await receive(bad)
        assert await close_code(bad) == 1009
        await change(source.stores, "A1")
        assert (await receive(good))["type"] == "events"


@pytest.mark.parametrize("showtime", ["sho_none", "bad}id", "x" * 65, "%7B%7D"])
async def test_no_such_showtime_closes_with_4404(host: str, showtime: str) -> None:
    async with connect(address(host, showtime)) as socket:
        assert await close_code(socket) == 4404


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://ours.example.evil"])
async def test_a_foreign_origin_closes_with_1008(host: str, origin: str) -> None:
    async with connect(address(host), origin=origin) as socket:
        assert await close_code(socket) == 1008


@pytest.mark.parametrize("origin", [None, OURS])
async def test_our_origin_and_none_are_welcome(host: str, origin: str | None) -> None:
    async with connect(address(host), origin=origin) as socket:
        assert (await receive(socket))["type"] == "snapshot"


async def test_no_store_closes_with_try_later(
    source: StoreSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_READY_SECONDS", 0.1)
    async with served("redis://127.0.0.1:1/0", source) as host:
        async with connect(address(host)) as socket:
            assert await close_code(socket) == 1013


@pytest.mark.parametrize("ready_frames", [True, False])
async def test_a_client_that_does_not_read_is_let_go_and_leaves_nothing(
    source: StoreSource, valkey_url: str, monkeypatch: pytest.MonkeyPatch, ready_frames: bool
) -> None:
    monkeypatch.setattr(audience, "SLOW_SECONDS", 0.2)
    monkeypatch.setattr(audience, "GOODBYE_SECONDS", 0.1)
    monkeypatch.setattr(frames, "snapshot", lambda *_: "x" * 30_000_000)
    if not ready_frames:
        monkeypatch.setattr(live, "framed", lambda _: None)
    metrics = Metrics()
    async with served(valkey_url, source, tally=metrics.live) as host:
        name, _, port = host.partition(":")
        tasks = asyncio.all_tasks() | {asyncio.current_task()}
        with socket.create_connection((name, int(port))) as deaf:
            deaf.sendall(
                f"GET /api/showtimes/{SHOWTIME}/live HTTP/1.1\r\nHost: {host}\r\n"
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            )
            await eventually(lambda: source.reads == 1)  # it has been let in
            await change(source.stores, "A1")  # one frame fills the buffer, the next has to wait
            await eventually(lambda: not is_held(deaf))
            await eventually(lambda: asyncio.all_tasks() <= tasks)
            assert await asyncio.to_thread(_received, deaf) < 30_000_000
    assert "\nrowlock_slow_watchers_total 1.0\n" in metrics.text().decode()


def is_held(client: socket.socket) -> bool:
    """Say whether this process still has the other end of the connection."""
    port = client.getsockname()[1]
    ends = psutil.Process().net_connections("tcp")
    return any(end.raddr and end.raddr.port == port for end in ends)


def _received(client: socket.socket) -> int:
    """Return how many bytes still come before the connection ends."""
    client.settimeout(5)
    received = 0
    with suppress(ConnectionResetError):
        while chunk := client.recv(1_000_000):
            received += len(chunk)
    return received


async def test_a_hundred_watchers_see_the_same(host: str, source: StoreSource) -> None:
    sockets = [await connect(address(host)) for _ in range(100)]
    try:
        await asyncio.gather(*(receive(socket) for socket in sockets))
        await change(source.stores, "A7")
        frames = await asyncio.gather(*(receive(socket) for socket in sockets))
        assert len({json.dumps(frame) for frame in frames}) == 1
    finally:
        for socket in sockets:
            await socket.close()
    assert source.reads == 1


# -- Server-Sent Events ----------------------------------------------------------------------------


async def sse(
    host: str, count: int, headers: dict[str, str] | None = None, showtime: str = SHOWTIME
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Yield (id, frame) of the first `count` events."""
    url = f"http://{host}/api/showtimes/{showtime}/live"
    wanted = {"Accept": "text/event-stream", **(headers or {})}
    async with httpx.AsyncClient() as client, client.stream("GET", url, headers=wanted) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        last_id = ""
        async for line in stream.aiter_lines():
            name, _, value = line.partition(": ")
            if name == "id":
                last_id = value
            elif name == "data":
                yield last_id, json.loads(value)
                count -= 1
                if not count:
                    return


async def test_sse_tells_the_same_with_the_position_as_id(host: str, source: StoreSource) -> None:
    frames = []
    async for event_id, frame in sse(host, 2):
        frames.append((event_id, frame))
        if len(frames) == 1:
            await change(source.stores, "A1")
    assert [frame["type"] for _, frame in frames] == ["snapshot", "events"]
    assert [event_id for event_id, _ in frames] == [
        f"{frame['epoch']}:{frame['seq']}" for _, frame in frames
    ]


async def test_sse_goes_on_from_the_last_event_id(host: str, source: StoreSource) -> None:
    (position,) = [event_id async for event_id, _ in sse(host, 1)]
    await change(source.stores, "A1")
    async with aclosing(sse(host, 2, {"Last-Event-ID": position})) as told:
        async for _, frame in told:
            assert frame["type"] == "events"
            if frame["events"]:  # none as long as the server has not heard of it
                break
    assert frame["events"][0]["seats"] == ["A1"]


async def test_sse_of_no_such_showtime_is_not_found(host: str) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://{host}/api/showtimes/sho_none/live")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_sse_clients_get_the_very_same_bytes(
    source: StoreSource,
    valkey_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A flush, and a heartbeat, is put into words once for however many there are."""
    monkeypatch.setattr(audience, "HEARTBEAT_SECONDS", 1.0)
    monkeypatch.setattr(channel_module, "FRESH_SECONDS", 60.0)
    built: list[Step] = []
    real = frames.step

    def build(*given: Any) -> Step:
        built.append(real(*given))
        return built[-1]

    async with running(valkey_url, source) as hub:
        with hub.watched(SHOWTIME) as channel:
            assert await channel.ready(5)
            monkeypatch.setattr(frames, "step", build)
            now = asyncio.get_running_loop().time()
            await asyncio.sleep(live._next_beat(now) - now)  # so that none comes in between
            clients = [live._steps(channel, "", 0) for _ in range(50)]
            for turn in ("snapshot", "events", "heartbeat"):
                if turn == "events":
                    await change(source.stores, "A1")
                steps = [await anext(client) for client in clients]
                assert f'"type":"{turn}"' in steps[0].frame
                assert len({id(step.lines) for step in steps}) == 1
                assert sum(f'"type":"{turn}"' in step.frame for step in built) <= 1
                built.clear()
            for client in clients:
                await client.aclose()  # type: ignore[attr-defined]


async def test_a_heartbeat_claims_no_change_that_was_not_told(
    source: StoreSource, valkey_url: str, quick_heartbeat: None
) -> None:
    """Its id is where the client stands: it would else miss what is about to be told."""
    async with running(valkey_url, source) as hub:
        with hub.watched(SHOWTIME) as channel:
            assert await channel.ready(5)
            client = live._steps(channel, "", 0)
            first = await anext(client)
            beat_at = live._next_beat(asyncio.get_running_loop().time())
            await change(source.stores, "A1")
            await eventually(lambda: channel.mirror.seq == first.seq + 1)
            await eventually(lambda: asyncio.get_running_loop().time() > beat_at)
            beat = await anext(client)
            assert json.loads(beat.frame)["type"] == "heartbeat"
            assert f"id: {first.epoch}:{first.seq}\n".encode() in beat.lines
            assert (json.loads(beat.frame)["seq"], beat.seq) == (first.seq, first.seq)
            await client.aclose()  # type: ignore[attr-defined]


# -- a crowd that comes at once --------------------------------------------------------------------


async def test_a_thousand_joiners_cost_one_read(
    source: StoreSource, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the snapshot is put together once, whoever comes; who comes back costs no read at all."""
    joined: list[str] = []
    real = frames.snapshot

    def build(*given: Any) -> str:
        joined.append(real(*given))
        return joined[-1]

    monkeypatch.setattr(frames, "snapshot", build)
    monkeypatch.setattr(channel_module, "FRESH_SECONDS", 60.0)
    async with running(valkey_url, source) as hub:

        async def join(position: tuple[str, int]) -> Step:
            with hub.watched(SHOWTIME) as channel:
                assert await channel.ready(5)
                return channel.first_step(*position)

        steps = await asyncio.gather(*(join(("", 0)) for _ in range(1000)))
        assert len({id(step.wire) for step in steps}) == 1
        position = steps[0].epoch, steps[0].seq
        await change(source.stores, "A1", "A2")
        with hub.watched(SHOWTIME) as channel:
            await eventually(lambda: channel.mirror.seq == position[1] + 2)
        steps = await asyncio.gather(*(join(position) for _ in range(1000)))
        assert len({id(step.wire) for step in steps}) == 1
        assert json.loads(steps[0].frame)["prev"] == position[1]
    assert (source.reads, len(joined)) == (1, 1)


async def test_a_late_snapshot_tells_the_time_of_now(
    source: StoreSource, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "FRESH_SECONDS", 0.02)
    async with running(valkey_url, source) as hub:
        with hub.watched(SHOWTIME) as channel:
            assert await channel.ready(5)
            first = json.loads(channel.first_step("", 0).frame)
            await asyncio.sleep(0.05)
            later = json.loads(channel.first_step("", 0).frame)
    assert later["server_time"] - first["server_time"] >= 40
    assert later["states"] == first["states"]


@asynccontextmanager
async def asked(host: str, *lines: str) -> AsyncIterator[tuple[Any, Any]]:
    """Send requests over one connection, without waiting for answers."""
    name, _, port = host.partition(":")
    reader, writer = await asyncio.open_connection(name, int(port))
    for line in lines:
        writer.write(f"{line} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


PATH = f"/api/showtimes/{SHOWTIME}/live"


@pytest.mark.usefixtures("quick_heartbeat")
@pytest.mark.parametrize("more", [[], [f"GET {PATH}"], ["GET /nowhere"] * 3])
async def test_a_stream_ends_with_its_connection_whatever_else_was_asked_on_it(
    served_hub: tuple[str, Hub], caplog: pytest.LogCaptureFixture, more: list[str]
) -> None:
    """uvicorn tells of the end only to the newest request of a connection."""
    host, hub = served_hub
    for _ in range(5):
        async with asked(host, f"GET {PATH}") as (reader, writer):
            async with asyncio.timeout(5):
                await reader.readuntil(b"snapshot")
            assert hub.census()["watchers"] == 1
            for line in more:
                writer.write(f"{line} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            await asyncio.sleep(0.02)
        await eventually(lambda: hub.census()["watchers"] == 0)
    assert [each for each in caplog.records if each.levelno > logging.INFO] == []


async def test_who_asks_for_the_head_of_a_stream_gets_it_and_goes_on(host: str) -> None:
    async with (
        asyncio.timeout(5),
        asked(host, f"HEAD {PATH}", "HEAD /nowhere") as (reader, _),
    ):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"content-type: text/event-stream" in head
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404 ")


async def test_a_stream_that_takes_nothing_for_long_is_cut(
    served_hub: tuple[str, Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, hub = served_hub
    monkeypatch.setattr(audience, "SLOW_SECONDS", 0.05)
    cut = asyncio.Event()
    scope = {
        "type": "http",
        "headers": [],
        "client": ("127.0.0.1", 1),
        "extensions": {"rowlock.abort": {"call": cut.set}},
    }

    async def nothing() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body" and not cut.is_set():
            await nothing()

    stream = live._Events({}, SocketCaps(), hub, SHOWTIME, ("", 0))
    with hub.watched(SHOWTIME) as channel:
        assert await channel.ready(5)
        async with asyncio.timeout(5):
            await stream(scope, nothing, send)
        assert cut.is_set()
        assert channel.watchers == 1
