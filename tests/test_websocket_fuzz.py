"""Ten thousand hostile frames to both WebSockets of a server process: it serves on, keeps nothing
of them, and finds nothing in them worth an error."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from random import Random

import httpx
import psutil
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect

from server.embedded import EmbeddedMongo, EmbeddedValkey
from tests.hostile import ATTACKS, CLOSE, CONT, PING, TEXT, RawSocket, close_code, frame, handshake
from tests.processes import RowlockProcess, servers
from tests.running import IN_MODULE_LOOP, eventually, lock, plan, sign_in
from tests.stored import stores

pytestmark = [pytest.mark.slow, IN_MODULE_LOOP]

FRAMES = 10_000
AT_ONCE = 16
MEBIBYTE = 2**20
MOST_GROWTH = 48 * MEBIBYTE
AUDIT = "/api/admin/audit/live"


@dataclass
class Stage:
    process: RowlockProcess
    ada: httpx.AsyncClient
    showtime: str

    @property
    def live(self) -> str:
        return f"/api/showtimes/{self.showtime}/live"

    @property
    def memory(self) -> int:
        return psutil.Process(self.process.pid).memory_info().rss

    async def open(self, path: str = "", *, signed_in: bool = False, takes: int = 0) -> RawSocket:
        """Return a socket whose handshake was taken; one that has said who it is, if wished."""
        raw = await RawSocket.open(self.process.port, handshake(path or self.live), takes=takes)
        assert b" 101 " in await raw.answer()
        if signed_in:
            ticket = (await self.ada.post("/api/auth/ticket")).json()["ticket"]
            await raw.send(frame(TEXT, json.dumps({"type": "auth", "ticket": ticket}).encode()))
        return raw

    async def farewell(self, *frames: bytes) -> int:
        """Send frames and return the code that the server closes with.

        All at once: what comes after its farewell would take that away again (RST).
        """
        raw = await self.open()
        await raw.send(b"".join(frames))
        code = close_code(await raw.rest())
        raw.leave(reset=False)
        return code


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    valkey: EmbeddedValkey, mongo: EmbeddedMongo, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    directory = tmp_path_factory.mktemp("server")
    async with (
        stores(valkey, mongo) as stored,
        servers(directory, stored.redis_url, stored.mongo_uri) as (process,),
        httpx.AsyncClient(base_url=process.url, timeout=20) as ada,
    ):
        await sign_in(ada, "ada@example.com")
        yield Stage(process, ada, await plan(stored.database))
        assert process.errors() == []
        assert "Traceback" not in process.log()


async def test_ten_thousand_hostile_frames(stage):
    async with connect(f"{stage.process.url.replace('http', 'ws')}{stage.live}") as watcher:
        assert json.loads(await watcher.recv())["type"] == "snapshot"
        chance, sent, seen = Random(6455), 0, Counter[str]()
        names = list(ATTACKS)
        await asyncio.gather(*(attack(stage, Random(n), name) for n, name in enumerate(names)))
        before = stage.memory  # when all that is needed once was made
        while sent < FRAMES:
            chosen = [chance.choice(names) for _ in range(AT_ONCE)]
            chances = [Random(chance.random()) for _ in chosen]
            took = await asyncio.gather(*map(attack, [stage] * AT_ONCE, chances, chosen))
            sent += sum(took)
            seen.update(chosen)
        await eventually(lambda: no_more_than(stage, 2), within=15)
        assert (await lock(stage.ada, stage.showtime, "A1")).status_code == 200
        assert await told_of(watcher, "A1")
    growth = stage.memory - before
    print(f"\n{sent} frames in {seen.total()} connections, {growth / MEBIBYTE:.1f} MiB more")
    assert growth < MOST_GROWTH


async def attack(stage: Stage, chance: Random, name: str) -> int:
    """One connection and what it sends before it leaves; returns how many frames that was."""
    feed = chance.random() < 0.5
    raw = await stage.open(AUDIT if feed else stage.live, signed_in=feed and chance.random() < 0.5)
    frames = ATTACKS[name](chance)
    for each in frames:
        if not await raw.send(each):
            break
    if chance.random() < 0.3:
        await raw.rest(0.2)
    raw.leave(reset=chance.random() < 0.5)
    return len(frames)


async def no_more_than(stage: Stage, count: int) -> bool:
    connections = psutil.Process(stage.process.pid).net_connections("tcp")
    taken = [c for c in connections if c.laddr.port == stage.process.port and c.raddr]
    return len(taken) <= count


async def told_of(watcher, seat: str) -> bool:
    async with asyncio.timeout(10):
        while True:
            told = json.loads(await watcher.recv())
            if any(seat in event["seats"] for event in told.get("events", [])):
                return True


@pytest.mark.parametrize(
    ("code", "frames"),
    [
        (1002, [frame(3)]),
        (1002, [frame(TEXT, b"{}", reserved=4)]),
        (1002, [frame(TEXT, b"{}", mask=False)]),
        (1002, [frame(CONT, b"a")]),
        (1002, [frame(PING, b"x", fin=False)]),
        (1007, [frame(TEXT, b"\xff")]),
        (1007, [frame(TEXT, b"\xc3\x28") + frame(PING)]),
        (1008, [frame(TEXT, fin=False), *[frame(CONT, fin=False)] * 100]),
        (1008, [b"".join([frame(TEXT, b"{}")] * 2000)]),
        (1009, [frame(TEXT, b"x" * 8193)]),
        (1009, [frame(TEXT, b"x" * 8000, fin=False), frame(CONT, b"x" * 8000)]),
        (1009, [frame(TEXT, length=2**62)]),
        (1000, [frame(CLOSE, b"\x03\xe8")]),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "frames",
)
async def test_a_hostile_client_is_told_why_it_is_let_go(stage, code, frames):
    assert await stage.farewell(*frames) == code


async def test_pings_that_nobody_reads_the_answers_of_are_not_kept(stage):
    flood = b"".join(frame(PING, b"x" * 125) for _ in range(2000))
    before, raws = stage.memory, [await stage.open(takes=4096) for _ in range(6)]
    for raw in raws:
        raw.writer.transport.pause_reading()
        for _ in range(16):  # 4 MB
            if not await raw.send(flood):
                break
    assert stage.memory - before < 8 * MEBIBYTE
    assert (await stage.ada.get("/health/live")).status_code == 200
    for raw in raws:
        raw.leave(reset=True)
    await eventually(lambda: no_more_than(stage, 1), within=15)


@pytest.mark.parametrize(
    "hello",
    [
        handshake("/api/showtimes/\xe4/live"),
        handshake("/api/showtimes/%ff%00/live"),
        handshake("/nowhere"),
        handshake("/api/showtimes/x/live", more=b"".join(b"X-%d: 1\r\n" % n for n in range(300))),
        handshake("/api/showtimes/x/live", more=b"X: " + b"x" * 9000 + b"\r\n"),
        handshake("/api/showtimes/x/live?" + "x" * 9000),
        handshake("/api/showtimes/x/live", more=b"Sec-WebSocket-Key: again\r\n"),
        handshake("/api/showtimes/x/live", more=b"Origin: https://evil.example\r\n"),
        handshake("/api/showtimes/x/live") + frame(TEXT, b"\xff"),
    ],
    ids=range(9),
)
async def test_a_hostile_handshake_is_answered_and_forgotten(stage, hello):
    raw = await RawSocket.open(stage.process.port, hello)
    await raw.rest(within=8)
    raw.leave(reset=False)
    await eventually(lambda: no_more_than(stage, 1), within=10)


async def test_who_speaks_before_the_handshake_is_answered_is_cut_off(stage):
    for early in (frame(TEXT, b"\xff"), frame(3), frame(CLOSE), frame(PING, b"x" * 100)):
        raw = await RawSocket.open(stage.process.port, handshake(stage.live))
        await raw.send(early)
        await raw.rest(within=2)
        raw.leave(reset=True)
    await eventually(lambda: no_more_than(stage, 1), within=10)
