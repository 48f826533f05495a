"""One connection for all calls: who shares a write, and what becomes of whom when it goes wrong."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.exceptions import ResponseError

from server.errors import SeatsUnavailable, StoreUnavailable
from server.redis_connection import ErrorReply
from server.repo import redis_server
from server.repo.keys import showtime_keys
from server.repo.wire import SharedWire, Wire
from tests.seat_stores import SHOWTIME, Stores, opened
from tests.toxic_proxy import ToxicProxy


class Peer(asyncio.Protocol):
    """A Redis that says +1, +2 ... when it is told to, one for each command that has come."""

    def __init__(self):
        self.reads = []
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.reads.append(data)

    def answer(self, text):
        self.transport.write(text)


@asynccontextmanager
async def wired(patience=5.0) -> AsyncIterator[tuple[Wire, Peer]]:
    loop, peers = asyncio.get_running_loop(), []

    def accepted():
        peers.append(Peer())
        return peers[-1]

    server = await loop.create_server(accepted, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport, wire = await loop.create_connection(lambda: Wire(patience), "127.0.0.1", port)
    try:
        async with asyncio.timeout(5):
            while not peers:
                await asyncio.sleep(0.001)
            yield wire, peers[0]
    finally:
        transport.abort()
        for peer in peers:
            peer.transport.abort()
        server.close()
        await asyncio.sleep(0)


async def until(found):
    async with asyncio.timeout(5):
        while not found():
            await asyncio.sleep(0.001)


async def test_the_calls_of_one_turn_are_one_write_and_each_gets_its_own_reply():
    async with wired() as (wire, peer):
        calls = [wire.call("ECHO", n) for n in range(20)]
        await until(lambda: peer.reads)
        assert len(peer.reads) == 1
        assert peer.reads[0].count(b"ECHO") == 20
        peer.answer(b"".join(b"+%d\r\n" % n for n in range(20)))
        assert await asyncio.gather(*calls) == [str(n) for n in range(20)]


async def test_one_who_is_cancelled_does_not_shift_the_replies_of_the_others():
    async with wired() as (wire, peer):
        first, gone, last = (wire.call("ECHO", n) for n in "abc")
        gone.cancel()
        await until(lambda: peer.reads)
        peer.answer(b"+a\r\n+b\r\n+c\r\n")
        assert (await first, await last) == ("a", "c")


async def test_a_refusal_is_the_outcome_of_one_call_alone():
    async with wired() as (wire, peer):
        calls = [wire.call("ECHO", n) for n in "abc"]
        await until(lambda: peer.reads)
        peer.answer(b"+a\r\n-NOSCRIPT No matching script.\r\n+c\r\n")
        before, refused, after = await asyncio.gather(*calls)
        assert (before, after) == ("a", "c")
        assert isinstance(refused, ErrorReply)


async def test_a_lost_connection_is_told_to_all_who_wait_and_answered_calls_keep_their_answers():
    async with wired() as (wire, peer):
        calls = [wire.call("ECHO", n) for n in "abc"]
        await until(lambda: peer.reads)
        peer.answer(b"+a\r\n")
        await calls[0]
        peer.transport.abort()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert outcomes[0] == "a"
        assert [type(each) for each in outcomes[1:]] == [ConnectionError] * 2
        assert not wire.is_open
        with pytest.raises(ConnectionError):
            await wire.call("ECHO", "d")


async def test_answers_in_time_keep_a_connection_however_long_it_lives():
    patience = 1.0
    async with wired(patience) as (wire, peer):
        over, n = time.monotonic() + 1.5 * patience, 0
        while time.monotonic() < over:
            call = wire.call("ECHO", n)
            await until(lambda n=n: len(peer.reads) > n)
            peer.answer(b"+%d\r\n" % n)
            assert await call == str(n)
            n += 1
        assert wire.is_open


async def test_a_connection_that_owes_a_reply_for_too_long_is_given_up():
    async with wired(patience=0.1) as (wire, _):
        late = [wire.call("ECHO", n) for n in "xy"]
        async with asyncio.timeout(5):
            outcomes = await asyncio.gather(*late, return_exceptions=True)
        assert [type(each) for each in outcomes] == [TimeoutError] * 2
        assert not wire.is_open


async def test_a_wire_is_opened_once_for_all_who_need_it_and_again_when_it_was_lost():
    opened_so_far = []
    async with wired() as (wire, peer):

        async def open_wire():
            opened_so_far.append(1)
            await asyncio.sleep(0.01)
            return wire

        shared = SharedWire(open_wire)
        gone = asyncio.create_task(shared.call("ECHO", "z"))
        calls = [asyncio.create_task(shared.call("ECHO", n)) for n in range(3)]
        await asyncio.sleep(0)
        gone.cancel()
        await until(lambda: b"".join(peer.reads).count(b"ECHO") == 3)
        peer.answer(b"+0\r\n+1\r\n+2\r\n")
        assert await asyncio.gather(*calls) == ["0", "1", "2"]
        assert len(opened_so_far) == 1
        wire.abort()
        await until(lambda: not wire.is_open)
        with pytest.raises(ConnectionError):
            await shared.call("ECHO", "again")
        assert len(opened_so_far) == 2


# -- the seat store on it ------------------------------------------------------------------------


@pytest.fixture
async def stores(redis_url: str) -> AsyncIterator[Stores]:
    async with opened(redis_url) as stores:
        await stores.load()
        yield stores


async def lock_all(stores: Stores, people: int) -> list[object]:
    """Let so many people lock a seat each, in one turn."""
    async with asyncio.timeout(10):
        return await asyncio.gather(
            *(stores.seats.lock(SHOWTIME, f"u{n}", [f"A{n}"], "req") for n in range(people)),
            return_exceptions=True,
        )


async def test_many_locks_of_one_turn_need_one_read_of_the_server(stores: Stores) -> None:
    await stores.seats.lock(SHOWTIME, "ann", ["B1"], "req")  # the wire and the script are there
    before = await stores.redis.info("stats")
    locks = await lock_all(stores, 50)
    after = await stores.redis.info("stats")
    assert {lock.seats[0] for lock in locks} == {f"A{n}" for n in range(50)}
    reads = after["total_reads_processed"] - before["total_reads_processed"]
    assert reads <= 10  # the question itself is one; 50 calls of 1 kB may come in a few


async def test_a_broken_key_breaks_the_calls_that_touch_it_and_no_others(stores: Stores) -> None:
    await stores.redis.set(showtime_keys("sho_broken")["meta_key"], "no hash")
    broken = stores.seats.lock("sho_broken", "ann", ["A1"], "req")
    outcomes = await asyncio.gather(
        *(stores.seats.lock(SHOWTIME, f"u{n}", [f"A{n}"], "req") for n in range(3)),
        broken,
        stores.seats.lock(SHOWTIME, "eve", ["A0"], "req"),
        return_exceptions=True,
    )
    assert [outcome.seats for outcome in outcomes[:3]] == [["A0"], ["A1"], ["A2"]]
    assert isinstance(outcomes[3], ResponseError)
    assert isinstance(outcomes[4], SeatsUnavailable)


async def test_a_killed_connection_costs_nobody_an_answer(stores: Stores) -> None:
    """What was under way is asked again by the driver, and means the same the second time."""
    began_at = await stores.seq()
    for round_ in range(5):
        waiting = asyncio.create_task(lock_all(stores, 20))
        await asyncio.sleep(0)
        await stores.redis.client_kill_filter(_type="normal", skipme=False)
        locks = await waiting
        assert not [each for each in locks if isinstance(each, BaseException)], round_
        assert len(await stores.taken()) == 20
    assert await stores.seq() == began_at + 20  # each was locked once


@pytest.mark.alone
async def test_a_store_that_says_nothing_is_unavailable_in_time_and_used_again_after(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_server, "TIMEOUT_S", 0.3)
    address = stores.redis.connection_pool.connection_kwargs
    async with (
        ToxicProxy(address["port"]) as proxy,
        opened(f"redis://127.0.0.1:{proxy.port}/{address.get('db', 0)}") as far,
    ):
        await far.seats.lock(SHOWTIME, "ann", ["A1"], "req")
        proxy.black_hole()
        began = time.monotonic()
        outcomes = await lock_all(far, 10)
        assert time.monotonic() - began < 2.0
        assert [type(each) for each in outcomes] == [StoreUnavailable] * 10
        assert proxy.swallowed
        proxy.cut()
        proxy.heal()
        lock = await far.seats.lock(SHOWTIME, "ann", ["A2"], "req")
        assert lock.seats == ["A1", "A2"]
