"""Listener, channel and hub on a real store: whatever is lost on the way, the mirror heals."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from server.catalogue import Layout, Row, Seat
from server.embedded import EmbeddedValkey
from server.errors import NotFound, StoreUnavailable
from server.realtime import shard_wire
from server.realtime.channel import Channel
from server.realtime.hub import Hub
from server.realtime.shard import Shard, probe_channel
from server.redis_address import read_address
from server.redis_connection import ErrorReply
from server.repo.keys import showtime_keys
from server.repo.redis import connect
from server.repo.seat_answers import SeatStates, ShowtimeNotLoaded, StoredPosition
from tests.seat_stores import SHOWTIME, Stores, opened
from tests.toxic_proxy import ToxicProxy

LAYOUT = Layout((Row("A", tuple(Seat(f"A{n}", n) for n in range(40))),))


class StoreSource:
    """The seat store alone as the source of truth; counts how often it is read."""

    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self.reads = 0
        self.renewed: list[str] = []
        self.names = {SHOWTIME}

    async def states(self, showtime_id: str) -> tuple[Layout, SeatStates]:
        if showtime_id not in self.names:
            raise NotFound
        self.reads += 1
        try:
            states = await self.stores.seats.read(SHOWTIME)
        except ShowtimeNotLoaded:
            await self.stores.load()
            states = await self.stores.seats.read(SHOWTIME)
        assert states is not None
        return LAYOUT, states

    async def positions(self, showtime_ids: list[str]) -> list[StoredPosition]:
        return await self.stores.seats.positions(showtime_ids)

    async def renew(self, showtime_id: str, stale_epoch: str) -> None:
        self.renewed.append(stale_epoch)
        await self.stores.load(stale_epoch=stale_epoch)


@pytest.fixture
async def source(valkey_url: str) -> AsyncIterator[StoreSource]:
    async with opened(valkey_url) as stores:
        await stores.load()
        yield StoreSource(stores)


@asynccontextmanager
async def running(url: str, source: StoreSource, **options: Any) -> AsyncIterator[Hub]:
    hub = Hub(url, source, **{"tail_check_seconds": 3600.0, **options})
    hub.start()
    try:
        yield hub
    finally:
        await hub.stop()


async def eventually(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def agree(channel: Channel, stores: Stores, seconds: float = 15.0) -> None:
    """Wait until the mirror stands where the store stands, and compare what it shows."""
    async with asyncio.timeout(seconds):
        while True:
            states = await stores.seats.read(SHOWTIME)
            assert states is not None
            if (channel.mirror.epoch, channel.mirror.seq) == (states.epoch, states.seq):
                break
            await asyncio.sleep(0.01)
    shown = dict(zip(LAYOUT.seat_ids, channel.mirror.states, strict=True))
    assert {seat: state for seat, state in shown.items() if state != "."} == states.taken


def deaf_to(hub: Hub, *numbers: int) -> list[int]:
    """Make the hub lose the messages that come at those places (1 is the next one)."""
    heard, real = [0], hub._heard
    lost: list[int] = []

    def hear(name: str, payload: bytes) -> None:
        heard[0] += 1
        if heard[0] in numbers:
            lost.append(heard[0])
        else:
            real(name, payload)

    hub._listener._on_message = hear
    return lost


async def change(stores: Stores, *seats: str, user: str = "ann") -> None:
    for seat in seats:
        await stores.seats.lock(SHOWTIME, user, [seat], "")


async def test_a_channel_begins_with_what_the_store_has(
    source: StoreSource, valkey_url: str
) -> None:
    await change(source.stores, "A1")
    async with running(valkey_url, source) as hub:
        with hub.watched(SHOWTIME) as channel:
            assert await channel.ready(5)
            assert channel.mirror.states[:3] == ".l."


async def test_changes_arrive_in_order(source: StoreSource, valkey_url: str) -> None:
    async with running(valkey_url, source) as hub:
        with hub.watched(SHOWTIME) as channel:
            assert await channel.ready(5)
            await change(source.stores, *(f"A{n}" for n in range(10)))
            await agree(channel, source.stores)
            assert source.reads == 1


async def test_a_thousand_joiners_cost_one_read(source: StoreSource, valkey_url: str) -> None:
    async with running(valkey_url, source) as hub:

        async def join() -> str:
            with hub.watched(SHOWTIME) as channel:
                assert await channel.ready(5)
                step = channel.step("", 0)
                assert step is not None
                return step.frame

        frames = await asyncio.gather(*(join() for _ in range(1000)))
    assert source.reads == 1
    assert len({id(frame) for frame in frames}) == 1  # built once, shared by all


async def test_a_lost_message_shows_at_the_next_one(source: StoreSource, valkey_url: str) -> None:
    async with running(valkey_url, source) as hub:
        with hub.watched(SHOWTIME) as channel:
            assert await channel.ready(5)
            lost = deaf_to(hub, 2)
            await change(source.stores, "A1", "A2", "A3")
            await agree(channel, source.stores)
            assert lost == [2]
            assert source.reads == 2


async def test_a_lost_last_message_shows_at_the_tail_check(
    source: StoreSource, valkey_url: str
) -> None:
    async with running(valkey_url, source, tail_check_seconds=0.2) as hub:
        with hub.watched(SHOWTIME) as channel:
            assert await channel.ready(5)
            lost = deaf_to(hub, 1)
            await change(source.stores, "A1")
            await agree(channel, source.stores)
            assert lost == [1]


async def test_without_the_tail_check_a_lost_last_message_stays_lost(
    source: StoreSource, valkey_url: str
) -> None:
    """The other half of the test above: it is the tail check that heals."""
    async with running(valkey_url, source) as hub:
        with hub.watched(SHOWTIME) as channel:
            assert await channel.ready(5)
            lost = deaf_to(hub, 1)
            await change(source.stores, "A1")
            await eventually(lambda: lost == [1])
            with pytest.raises(TimeoutError):
                await agree(channel, source.stores, seconds=0.5)


async def test_a_killed_connection_loses_nothing_for_long(
    source: StoreSource, valkey_url: str
) -> None:
    async with running(valkey_url, source) as hub:
        with hub.watched(SHOWTIME) as channel:
            assert await channel.ready(5)
            for n in range(5):
                assert await source.stores.redis.client_kill_filter(_type="pubsub") == 1
                await change(source.stores, f"A{n}")
                await agree(channel, source.stores)


async def test_a_connection_that_is_alive_and_delivers_nothing_is_replaced(
    source: StoreSource, valkey: EmbeddedValkey, valkey_url: str
) -> None:
    async with ToxicProxy(valkey.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        async with running(url, source, probe_seconds=0.2) as hub:
            with hub.watched(SHOWTIME) as channel:
                assert await channel.ready(5)
                (shard,) = hub._listener.shards
                await asyncio.sleep(0.5)
                assert shard.misses == 0  # it hears itself
                proxy.deafen()
                await change(source.stores, "A1")
                await agree(channel, source.stores, seconds=8)
                assert proxy.swallowed > 0
                assert shard.misses == 1


async def test_without_its_own_messages_a_deaf_connection_stays(
    source: StoreSource, valkey: EmbeddedValkey, valkey_url: str
) -> None:
    """The other half of the test above: it is the probe that heals."""
    async with ToxicProxy(valkey.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        async with running(url, source) as hub:
            with hub.watched(SHOWTIME) as channel:
                assert await channel.ready(5)
                proxy.deafen()
                await change(source.stores, "A1")
                await eventually(lambda: proxy.swallowed > 0)
                with pytest.raises(TimeoutError):
                    await agree(channel, source.stores, seconds=1)


async def test_the_tails_of_all_mirrors_are_asked_for_at_once(
    source: StoreSource, valkey_url: str
) -> None:
    asked: list[list[str]] = []
    real = source.positions

    async def positions(showtime_ids: list[str]) -> list[StoredPosition]:
        asked.append(showtime_ids)
        return await real(showtime_ids)

    source.positions = positions  # type: ignore[method-assign]
    source.names = {SHOWTIME, *(f"sho_{n}" for n in range(20))}
    async with running(valkey_url, source) as hub, contextlib.AsyncExitStack() as stack:
        for name in source.names:
            channel = stack.enter_context(hub.watched(name))
            assert await channel.ready(5)
        await hub._check_all()
        assert [set(names) for names in asked] == [source.names]


async def test_a_server_that_says_nothing_stops_no_other_tail_check(
    source: StoreSource, valkey_url: str
) -> None:
    """A position that is not told is passed over; the others are compared, and it is looked for."""
    real = source.positions

    async def positions(showtime_ids: list[str]) -> list[StoredPosition]:
        told = await real(showtime_ids)
        return [
            StoreUnavailable() if name == "sho_gone" else at
            for name, at in zip(showtime_ids, told, strict=True)
        ]

    source.positions = positions  # type: ignore[method-assign]
    source.names = {SHOWTIME, "sho_gone"}
    async with running(valkey_url, source, tail_check_seconds=0.2) as hub:
        with hub.watched("sho_gone") as gone, hub.watched(SHOWTIME) as channel:
            assert await gone.ready(5)
            assert await channel.ready(5)
            lost = deaf_to(hub, 1)
            await change(source.stores, "A1")
            await agree(channel, source.stores)
            assert lost == [1]


async def test_a_wipe_begins_a_new_epoch(source: StoreSource, valkey_url: str) -> None:
    async with running(valkey_url, source, tail_check_seconds=0.2) as hub:
        with hub.watched(SHOWTIME) as channel:
            assert await channel.ready(5)
            await change(source.stores, "A1")
            await agree(channel, source.stores)
            epoch = channel.mirror.epoch
            await source.stores.redis.flushall()
            await eventually(lambda: channel.mirror.epoch != epoch)
            await agree(channel, source.stores)
            step = channel.step(epoch, 2)
            assert step is not None
            assert '"type":"snapshot"' in step.frame


async def test_a_store_that_went_back_in_time_gets_a_new_epoch(
    source: StoreSource, valkey_url: str
) -> None:
    async with running(valkey_url, source, tail_check_seconds=0.2) as hub:
        with hub.watched(SHOWTIME) as channel:
            assert await channel.ready(5)
            await change(source.stores, "A1", "A2")
            await agree(channel, source.stores)
            epoch = channel.mirror.epoch
            await source.stores.redis.hincrby(showtime_keys(SHOWTIME)["meta_key"], "seq", -1)
            await eventually(lambda: source.renewed == [epoch])
            await eventually(lambda: channel.mirror.epoch != epoch)
            await agree(channel, source.stores)


async def test_a_healthy_tail_check_disturbs_nothing(source: StoreSource, valkey_url: str) -> None:
    """Under constant change the check neither reloads nor begins a new epoch."""
    async with running(valkey_url, source, tail_check_seconds=0.01) as hub:
        with hub.watched(SHOWTIME) as channel:
            assert await channel.ready(5)
            for _ in range(300):
                await change(source.stores, "A1")
                await source.stores.seats.release(SHOWTIME, "ann", [], "")
            await agree(channel, source.stores)
            assert (source.reads, source.renewed) == (1, [])


async def test_an_unknown_showtime_is_missing_and_soon_forgotten(
    source: StoreSource, valkey_url: str
) -> None:
    async with running(valkey_url, source) as hub:
        with hub.watched("sho_none") as channel:
            assert await channel.ready(5)
            assert channel.missing
        await eventually(lambda: hub._channels == {})


async def test_a_mirror_outlives_its_last_watcher_for_a_while(
    source: StoreSource, valkey_url: str
) -> None:
    async with running(valkey_url, source, keep_seconds=0.2) as hub:
        with hub.watched(SHOWTIME) as first:
            assert await first.ready(5)
        with hub.watched(SHOWTIME) as again:
            assert again is first
        await eventually(lambda: hub._channels == {})
        with hub.watched(SHOWTIME) as second:
            assert second is not first
            assert await second.ready(5)
    assert source.reads == 2


async def test_a_while_begins_with_the_last_one_to_leave(
    source: StoreSource, valkey_url: str
) -> None:
    async with running(valkey_url, source, keep_seconds=2.0) as hub:
        with hub.watched(SHOWTIME) as first:
            assert await first.ready(5)
        for _ in range(4):
            await asyncio.sleep(0.6)
            with hub.watched(SHOWTIME) as again:
                assert again is first
        assert source.reads == 1
        await eventually(lambda: hub._channels == {})


async def test_a_store_that_comes_late_is_awaited(source: StoreSource) -> None:
    """No connection is no error: the channel is ready once there is one."""
    async with running("redis://127.0.0.1:1/0", source) as hub:
        with hub.watched(SHOWTIME) as channel:
            assert not await channel.ready(0.2)


async def test_a_burst_is_told_in_few_frames(source: StoreSource, valkey_url: str) -> None:
    """First change at once, the rest gathered: far fewer steps than changes."""
    async with running(valkey_url, source) as hub:
        with hub.watched(SHOWTIME) as channel:
            assert await channel.ready(5)
            epoch, seq, steps = channel.mirror.epoch, channel.mirror.seq, 0

            async def watch() -> None:
                nonlocal seq, steps
                while True:
                    await channel.changed()
                    if step := channel.step(epoch, seq):
                        seq, steps = step.seq, steps + 1

            watcher = asyncio.create_task(watch())
            await asyncio.sleep(0)
            for _ in range(200):
                await change(source.stores, "A1")
                await source.stores.seats.release(SHOWTIME, "ann", [], "")
            await agree(channel, source.stores)
            await eventually(lambda: seq == channel.mirror.seq)
            watcher.cancel()
            assert 1 <= steps < 100


class Nobody:
    """Ears of a shard without showtimes."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, channel: str, payload: bytes) -> None:
        self.messages.append(channel)

    def subscribed(self, channel: str) -> None: ...

    def moved(self, slot: int, node: tuple[str, int]) -> None: ...

    def trouble(self) -> None: ...


async def test_a_refused_sign_in_is_told_before_anything_is_asked(valkey_url: str) -> None:
    """The default user has no password, so that one is wrong."""
    address = read_address(valkey_url.replace("://", "://ann:wrong@"))
    (node,) = address.nodes
    with pytest.raises(ConnectionRefusedError, match="WRONGPASS"):
        await shard_wire.connect(address, node, lambda reply: None)
    with pytest.raises(ConnectionRefusedError, match="WRONGPASS"):
        await shard_wire.call(address, node, b"PING")


async def test_a_message_of_our_own_proves_even_if_another_channel_was_taken_meanwhile(
    valkey_url: str,
) -> None:
    ears, address = Nobody(), read_address(valkey_url)
    (node,) = address.nodes
    shard = Shard(address, node, ears, probe=probe_channel("a"), probe_seconds=3600)
    try:
        await eventually(lambda: shard.settled)
        proof = asyncio.create_task(shard._delivers())
        await asyncio.sleep(0)  # it is on its way to the first channel
        shard.prove_by(probe_channel("b"))
        assert await proof
        assert await shard._delivers()
        assert ears.messages == []
    finally:
        await shard.stop()


async def test_a_user_without_a_password_signs_in_all_the_same(valkey_url: str) -> None:
    redis = connect(valkey_url)
    name = "nopass"
    await redis.acl_setuser(name, enabled=True, nopass=True, commands=["+ping"])
    address = read_address(valkey_url.replace("://", f"://{name}@"))
    (node,) = address.nodes
    try:
        told = await shard_wire.call(address, node, b"PING")
        assert told == b"PONG"
        refused = await shard_wire.call(address, node, b"GET", b"a")
        assert str(refused).startswith("NOPERM")  # it is not the default user
    finally:
        await redis.acl_deluser(name)
        await redis.aclose()


async def test_what_was_left_is_forgotten_once_the_server_has_said_so(valkey_url: str) -> None:
    ears, address = Nobody(), read_address(valkey_url)
    (node,) = address.nodes
    shard = Shard(address, node, ears, probe=probe_channel("a"), probe_seconds=3600)
    try:
        await eventually(lambda: shard.settled)
        for number in range(100):
            shard.subscribe(f"{{a}}{number}")
            shard.unsubscribe(f"{{a}}{number}")
        await eventually(lambda: not shard._leaving)
    finally:
        await shard.stop()


async def test_a_server_that_is_busy_is_asked_again_and_kept(
    valkey_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    ears, address = Nobody(), read_address(valkey_url)
    (node,) = address.nodes
    shard = Shard(address, node, ears, probe=probe_channel("a"), probe_seconds=3600)
    try:
        await eventually(lambda: shard.settled)
        shard._heard(ErrorReply("BUSY Valkey is busy running a script."))
        shard.wanted.add("{a}1")
        shard.pending.add("{a}1")
        shard.ask_again()
        await eventually(lambda: shard.settled)
        assert caplog.records == []
    finally:
        await shard.stop()
