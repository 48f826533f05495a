"""How a server process leaves: it says so, lets nobody in, and closes its sockets one by one."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from server import serving
from server.api.health import HealthRoutes
from server.embedded import EmbeddedMongo, EmbeddedValkey
from server.metrics import Metrics
from server.realtime.framed import FramedProtocol, framed
from server.repo import mongo
from server.serving import bind, serve
from tests.buyers import Diary, Person
from tests.fallible_stores import stopped
from tests.hostile import RawSocket, handshake
from tests.processes import servers
from tests.sale import hall, plan
from tests.stored import stores
from tests.test_hub import eventually
from tests.test_live import is_held


@dataclass
class Stage:
    port: int
    task: "asyncio.Task[None]"
    kept: "list[FramedProtocol]"

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def leave(self) -> float:
        """Stop the server as SIGTERM does; returns how many seconds it took."""
        began = asyncio.get_running_loop().time()
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task
        return asyncio.get_running_loop().time() - began


@asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    """Serve `/health/*`, `/kept` (a socket without a task) and `/served` (one with a task)."""
    kept: list[FramedProtocol] = []

    async def keep(websocket: WebSocket) -> None:
        await websocket.accept()
        protocol = framed(websocket)
        assert protocol
        kept.append(protocol)
        names = ("full", "drained", "ended", "lost")
        protocol.keep(SimpleNamespace(**dict.fromkeys(names, lambda: None)))

    async def attend(websocket: WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(text)

    health = HealthRoutes({}, Metrics())
    app = Starlette(
        routes=[WebSocketRoute("/kept", keep), WebSocketRoute("/served", attend), *health.routes]
    )
    listener, ready = bind("127.0.0.1", 0), asyncio.Event()
    port = listener.getsockname()[1]
    task = asyncio.create_task(serve(app, listener, ready.set))
    await ready.wait()
    stage = Stage(port, task, kept)
    try:
        yield stage
    finally:
        await stage.leave()


async def farewell(socket: ClientConnection) -> tuple[int | None, float]:
    """Return the close code, and when it came."""
    with suppress(ConnectionClosed):
        await socket.recv()
    return socket.close_code, asyncio.get_running_loop().time()


async def test_sockets_are_closed_with_restart_and_not_all_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving, "_APART_S", 0.02)
    async with staged() as stage:
        paths = ["/kept"] * 15 + ["/served"] * 15
        sockets = [await connect(stage.url + path) for path in paths]
        endings = [asyncio.create_task(farewell(socket)) for socket in sockets]
        took = await stage.leave()
        told = await asyncio.gather(*endings)
    assert Counter(code for code, _ in told) == {1012: 30}
    moments = [moment for _, moment in told]
    assert 0.3 < max(moments) - min(moments) < 2
    assert took < 3
    kept, attended = moments[:15], moments[15:]
    assert min(kept) < max(attended)
    assert min(attended) < max(kept)  # in any order


async def test_however_many_there_are_it_takes_so_long_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving, "_APART_S", 10.0)
    monkeypatch.setattr(serving, "_LEAVE_S", 0.2)
    async with staged() as stage:
        sockets = [await connect(stage.url + "/kept") for _ in range(20)]
        endings = [asyncio.create_task(farewell(socket)) for socket in sockets]
        assert await stage.leave() < 1.5
        assert {code for code, _ in await asyncio.gather(*endings)} == {1012}


async def test_one_that_does_not_read_does_not_hold_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_GOODBYE_S", 0.2)
    async with staged() as stage:
        raw = await RawSocket.open(stage.port, handshake("/kept"), takes=4096)
        assert b" 101 " in await raw.answer()
        raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
        while stage.kept[0].writable.is_set():
            stage.kept[0].transport.write(b"\x81\x7e\x10\x00" + b" " * 4096)
        assert await stage.leave() < 2
        assert not is_held(raw.writer.get_extra_info("socket"))
        raw.leave(reset=True)


async def test_while_it_leaves_it_is_not_healthy_and_lets_nobody_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving, "_APART_S", 0.5)
    async with staged() as stage:
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        assert await health(reader, writer) == (200, "ok")
        async with connect(stage.url + "/kept") as one, connect(stage.url + "/served") as two:
            leaving = asyncio.create_task(stage.leave())
            await asyncio.wait(
                [asyncio.create_task(farewell(socket)) for socket in (one, two)],
                return_when=asyncio.FIRST_COMPLETED,
            )
            assert await health(reader, writer) == (503, "unavailable")
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", stage.port)
            await leaving
        writer.close()


@pytest.mark.slow
@pytest.mark.alone
async def test_while_mongodb_says_nothing_what_is_open_is_answered_and_nothing_else_waited_for(
    tmp_path: Path, valkey: EmbeddedValkey
) -> None:
    """Then only threads of the driver are left, which no one can end before their time."""
    async with EmbeddedMongo(tmp_path / "mongo") as mongod, stores(valkey, mongod) as stored:
        layout = hall(20)
        showtime = await plan(stored.database, layout)
        async with servers(tmp_path, stored.redis_url, stored.mongo_uri) as [process]:
            ann = Person("usr_ann", [process.port], showtime, Diary())
            assert (await ann.lock(layout.seat_ids[:1])).status == 200
            with stopped(mongod):
                asking = asyncio.create_task(ann.lock(layout.seat_ids[1:2]))
                while len(await stored.seats(showtime)) < 2:  # MongoDB has not been told
                    await asyncio.sleep(0.01)
                began = monotonic()
                stopping = asyncio.create_task(process.stop(60))
                told = await asking
                answered = monotonic() - began
                await process.said("the lease of the audit relay")
                done = monotonic() - began
                await stopping
                ended = monotonic() - began
            ann.close()
        assert (told.status, told.answer.body["code"]) == (503, "store_unavailable")
        assert answered < 8
        assert done < 10
        assert ended < 18  # the driver waits ten seconds for what was asked last
        assert await process.ended() == 0
        assert [line for line in process.errors() if "running task(s)" not in line] == []


@pytest.mark.slow
@pytest.mark.parametrize("connected", [mongo.connect, mongo.connect_in_loop])
async def test_a_mongodb_that_says_nothing_is_left_at_once_and_wholly(
    tmp_path: Path, connected: Callable[[str], mongo.Database]
) -> None:
    async with EmbeddedMongo(tmp_path) as mongod:
        tasks = asyncio.all_tasks()
        database = connected(mongod.uri)
        await mongo.ping(*[database] * 20)  # sessions: some will wait in vain to be ended
        with stopped(mongod):
            asking = asyncio.create_task(mongo.ping(database))
            await asyncio.sleep(0.1)
            began = monotonic()
            leaving = asyncio.create_task(mongo.leave(database))
            turns = 0
            while not leaving.done():
                await asyncio.sleep(0.01)
                turns += 1
            took = monotonic() - began
        assert 0.9 < took < 4
        assert turns > 20, "the event loop went on"
        await asyncio.gather(asking, return_exceptions=True)
        await eventually(lambda: asyncio.all_tasks() <= tasks)


async def health(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, str]:
    """Ask over a connection that stays open, as a balancer does."""
    writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    body: dict[str, Any] = json.loads(await reader.readexactly(size))
    return int(head.split(b" ")[1]), body["status"]
