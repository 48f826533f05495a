"""The audit feed in trouble: readers that do not read, processes that stop, MongoDB away."""

import asyncio
import functools
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from server.api import audit_live
from server.audit_tail import PAGE
from server.embedded import EmbeddedMongo, EmbeddedValkey
from server.repo import mongo as mongo_repo
from server.repo.mongo import UNAVAILABLE
from tests.audit_feed import (
    PATH,
    Feed,
    Logs,
    complaints,
    entries,
    farewell,
    feed_on,
    heartbeat,
    ids,
    nothing_left,
    receive,
    say_who,
    ticket_of,
)
from tests.fallible_stores import stopped
from tests.processes import servers, token_for
from tests.running import IN_MODULE_LOOP, eventually, lock, plan
from tests.stored import Stored, stocked, stores

pytestmark = IN_MODULE_LOOP

stored = stocked()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_live, "HEARTBEAT_SECONDS", 0.1)


# -- slow, and shut down -------------------------------------------------------------------------


@contextmanager
def small_window(host: str) -> Iterator[socket.socket]:
    """A connection whose end here takes little that nobody has read."""
    with socket.socket() as narrow:
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        name, _, port = host.partition(":")
        narrow.connect((name, int(port)))
        narrow.setblocking(False)
        yield narrow


FLOOD = 1_000
TEXT = "x" * 8_000


@pytest.mark.parametrize("comes_back", [False, True])
async def test_one_that_does_not_read_costs_little_and_holds_up_nobody(
    stored: Stored, monkeypatch: pytest.MonkeyPatch, comes_back: bool
) -> None:
    """8 MB wait for it. The server reads what the sockets in between can hold, and a page."""
    monkeypatch.setattr(audit_live, "SLOW_SECONDS", 30.0 if comes_back else 1.0)
    async with feed_on(stored, small=True) as feed:
        [anchor] = await feed.append(1)
        added = await feed.append(FLOOD, detail={"text": TEXT})
        with small_window(feed.host) as narrow:
            deaf = await feed.connection(anchor, sock=narrow, max_queue=1, ping_interval=None)
            await say_who(deaf, await feed.ticket())
            await eventually(lambda: settled(feed.logs))
            assert 0 < feed.logs.rows <= FLOOD / 3
            assert feed.transports[0].get_write_buffer_size() < 100_000
            async with feed.connection(anchor) as good:
                await say_who(good, await feed.ticket())
                assert await ids(good, FLOOD) == added
            if comes_back:
                assert await ids(deaf, FLOOD) == added
                await deaf.close()
                await nothing_left()
            else:
                await nothing_left()
                await eventually(lambda: cut(narrow))
                read = 0
                with suppress(ConnectionClosed):
                    while True:
                        read += (await receive(deaf))["type"] == "audit"
                assert read < FLOOD / 2
                assert deaf.close_code in (4408, 1006)
                await deaf.close()
        await feed.database["audit_logs"].delete_many({"detail.text": TEXT})


async def cut(client: socket.socket) -> bool:
    """The server's end of this connection is closed, whatever was still to be sent."""
    port = client.getsockname()[1]
    ends = psutil.Process().net_connections("tcp")
    return not any(end.raddr and end.raddr.port == port for end in ends)


async def settled(logs: Logs) -> bool:
    """Nothing has been read for a while, though there was something."""
    before = logs.rows
    await asyncio.sleep(0.2)
    return logs.rows == before > 0


async def test_a_slow_one_that_takes_a_last_word_is_told_why(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_live, "SLOW_SECONDS", 0.3)
    monkeypatch.setattr(audit_live, "_GOODBYE_SECONDS", 5.0)
    async with feed_on(stored) as feed:
        [anchor] = await feed.append(1)
        for _ in range(4):
            await feed.append(500, detail={"text": TEXT})
        with small_window(feed.host) as narrow:
            deaf = await feed.connection(anchor, sock=narrow, max_queue=1, ping_interval=None)
            await say_who(deaf, await feed.ticket())

            async def no_longer_served() -> bool:
                names = [task.get_coro().__qualname__ for task in asyncio.all_tasks()]  # type: ignore[union-attr]
                return "AuditLiveRoutes._follow" not in names and feed.logs.rows > 0

            await eventually(no_longer_served)
            with suppress(ConnectionClosed):
                while True:
                    await receive(deaf)
            expected = (4408, "too slow; come back with the last id")
            assert (deaf.close_code, deaf.close_reason) == expected
            await deaf.close()
        await feed.database["audit_logs"].delete_many({"detail.text": TEXT})


async def test_a_dead_one_with_something_left_in_its_buffer_is_cut(
    stored: Stored, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Too little for its sender to wait: it is the missing pong that tells."""
    pinging = functools.partial(uvicorn.Config, ws_ping_interval=2.0, ws_ping_timeout=2.0)
    monkeypatch.setattr(uvicorn, "Config", pinging)
    async with feed_on(stored, small=True) as feed:
        [anchor] = await feed.append(1)
        with small_window(feed.host) as narrow:
            dead = await feed.connection(anchor, sock=narrow, max_queue=1, ping_interval=None)
            await say_who(dead, await feed.ticket())
            [transport] = feed.transports
            while transport.get_write_buffer_size() < 20_000:
                assert not transport.is_closing(), "cut before there was anything to cut"
                await feed.append(2, detail={"text": TEXT})
                await asyncio.sleep(0.06)  # longer than between two looks
            await nothing_left(within=10)
            await eventually(lambda: cut(narrow), within=10)
            assert not transport.get_write_buffer_size()
            dead.transport.abort()
            await dead.close()
        await feed.database["audit_logs"].delete_many({"detail.text": TEXT})
    assert complaints(caplog) == []


async def test_a_restart_is_told(stored: Stored) -> None:
    async with feed_on(stored) as feed:
        silent = await feed.connection()
        admitted = await feed.connection()
        await say_who(admitted, await feed.ticket())
        await heartbeat(admitted)
    assert (await farewell(silent))[0] == 1012
    assert (await farewell(admitted))[0] == 1012
    await silent.close()
    await admitted.close()
    await nothing_left()


@pytest.mark.slow
async def test_every_process_tells_it_and_one_that_stops_says_so(
    stored: Stored, tmp_path: Path
) -> None:
    """One of them relays; who follows the other hears of it all the same."""
    root = {"_id": "usr_root", "provider": "test", "sub": "root", "email": "root@example.com"}
    await stored.database["users"].insert_one({**root, "name": "Root", "role": "ADMIN"})
    headers = {"Authorization": f"Bearer {token_for('usr_root', 'ADMIN')}"}
    showtime = await plan(stored.database)
    async with AsyncExitStack() as stack:
        processes = await stack.enter_async_context(
            servers(tmp_path, stored.redis_url, stored.mongo_uri, count=2)
        )
        clients = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=p.url, headers=headers))
            for p in processes
        ]
        sockets = [
            await stack.enter_async_context(connect(f"ws://127.0.0.1:{p.port}{PATH}"))
            for p in processes
        ]
        for client, socket in zip(clients, sockets, strict=True):
            await say_who(socket, await ticket_of(client))
        for seat, client in zip(("A1", "A2"), clients, strict=True):
            assert (await lock(client, showtime, seat)).status_code == 200
            [first], [second] = [await entries(socket, 1) for socket in sockets]
            assert first == second
            assert first["detail"] == {"seats": [seat]}
        await processes[0].stop()
        assert await farewell(sockets[0]) == (1012, "")
        assert (await lock(clients[1], showtime, "A3")).status_code == 200
        [entry] = await entries(sockets[1], 1)
        assert entry["detail"] == {"seats": ["A3"]}
        assert [process.errors() for process in processes] == [[], []]


# -- while MongoDB is away -----------------------------------------------------------------------


async def test_a_page_that_cannot_be_read_is_read_later(stored: Stored) -> None:
    async with feed_on(stored) as feed, feed.following() as socket:
        feed.logs.refusals = 3
        added = await feed.append(2)
        assert await ids(socket, 2) == added
        assert feed.logs.refusals == 0


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stopped for a moment", "stopped for long", "restarted"])
async def test_who_follows_stays_while_mongodb_is_away_and_misses_nothing(
    valkey: EmbeddedValkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(audit_live, "ROLE_SECONDS", 0.1)
    if how == "stopped for long":  # longer than the driver waits
        monkeypatch.setattr(mongo_repo, "_TIMEOUT_MS", 1000)
    async with EmbeddedMongo(tmp_path / "mongo") as mongod, stores(valkey, mongod) as stored:
        async with feed_on(stored) as feed, feed.following() as socket:
            before = await feed.append(3)
            assert await ids(socket, 3) == before
            if how == "restarted":
                await mongod.stop()
                await beats(socket, 20)
                await mongod.start()
            else:
                with stopped(mongod):
                    await beats(socket, 40 if how == "stopped for long" else 15)
            added = await eventually(lambda: appended(feed), within=20)
            assert await ids(socket, len(added)) == added
            assert (await feed.chain())[-len(added) :] == added


async def beats(socket: ClientConnection, count: int) -> None:
    for _ in range(count):
        await heartbeat(socket)


async def appended(feed: Feed) -> list[str]:
    """Append once MongoDB takes it."""
    try:
        await feed.database.command("ping")
    except UNAVAILABLE:
        return []
    return await feed.append(2 * PAGE + 1)


@pytest.mark.slow
@pytest.mark.alone
async def test_who_comes_while_mongodb_is_away_is_asked_to_come_later(
    valkey: EmbeddedValkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_live, "_STORE_SECONDS", 0.5)
    expected = (1013, "a store does not answer; come back later")
    async with EmbeddedMongo(tmp_path / "mongo") as mongod, stores(valkey, mongod) as stored:
        async with feed_on(stored) as feed:
            tickets = [await feed.ticket() for _ in range(2)]
            with stopped(mongod):
                async with feed.connection() as socket:
                    await say_who(socket, tickets[0])
                    assert await farewell(socket) == expected
            monkeypatch.setattr(audit_live, "_STORE_SECONDS", 10.0)
            async with feed.connection() as socket:
                await say_who(socket, tickets[1])
                await heartbeat(socket)
