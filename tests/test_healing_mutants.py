"""Wrong on purpose: what is lost on the way is healed, and where the healing is broken as well, the
very check by which `test_healing` judges finds it out."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from server.embedded import EmbeddedMongo, EmbeddedValkey
from server.events import ChangeSet
from server.realtime import audience
from server.realtime.channel import Channel
from server.realtime.framed import FramedProtocol
from server.realtime.hub import Hub
from server.realtime.mirror import Mirror
from server.repo.keys import showtime_keys
from server.repo.redis import Scripts
from server.repo.seat_answers import SeatStates
from server.repo.seats import SeatStore
from tests.healing import LOCK_SECONDS, NotHealed, healed
from tests.live_crowd import Crowd, Watcher
from tests.running import HALL, Running, eventually, lock, running

WATCHERS = 20
TAIL_CHECK_SECONDS = 1.0
AT_THE_NEXT_TAIL_CHECK = 1.2 * TAIL_CHECK_SECONDS + 1.0
"""Seconds: it comes up to a fifth late, and then there is a connection to be made."""


@dataclass
class Loss:
    """Swallows so many of the next messages of one kind: `left` are still to be lost."""

    left: int = 0
    lost: list[Any] = field(default_factory=list)

    def strikes(self, what: Any) -> bool:
        if self.left:
            self.left -= 1
            self.lost.append(what)
            return True
        return False


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> Loss:
    """What Redis announces and the listener does not pass on."""
    loss, heard = Loss(), Hub._heard

    def hear(self: Hub, name: str, payload: bytes) -> None:
        if not loss.strikes(payload):
            heard(self, name, payload)

    monkeypatch.setattr(Hub, "_heard", hear)
    return loss


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Loss:
    """Frames that a server believes it has sent."""
    loss, write = Loss(), FramedProtocol.write.fget

    def lossy(self: FramedProtocol) -> Callable[[bytes], None]:
        send = write(self)
        return lambda frame: None if loss.strikes(frame) else send(frame)

    monkeypatch.setattr(FramedProtocol, "write", property(lossy))
    return loss


@dataclass
class House:
    server: Running
    crowd: Crowd
    seats: SeatStore

    async def change(self, *seats: str) -> None:
        """Lock each of `seats`, one after another."""
        for seat in seats:
            answer = await lock(self.server.bob, self.crowd.showtime, seat)
            assert answer.status_code == 200, answer.text

    async def stored(self) -> SeatStates:
        states = await self.seats.read(self.crowd.showtime)
        assert states
        return states

    async def healed(self, within: float = 2.0) -> float:
        return await healed(self.crowd, HALL, self.stored, within)

    async def kill_subscriptions(self) -> None:
        assert await self.server.stored.redis.client_kill_filter(_type="pubsub") == 1

    async def subscriptions(self) -> int:
        """Return how many listen to what Redis tells of this showtime."""
        channel = showtime_keys(self.crowd.showtime)["channel"]
        [[_, count]] = await self.server.stored.redis.pubsub_shardnumsub(channel)
        return int(count)


@asynccontextmanager
async def house(valkey: EmbeddedValkey, mongo: EmbeddedMongo) -> AsyncIterator[House]:
    """A server and twenty who watch; the first change has been told to all."""
    async with running(valkey, mongo) as server:
        client = server.stored.redis
        seats = SeatStore(client, Scripts(client), ttl_seconds=LOCK_SECONDS, max_seats_per_user=10)
        crowd = Crowd(
            await server.showtime(), HALL.seat_ids, [server.address[1]], lock_seconds=LOCK_SECONDS
        )
        opened = House(server, crowd, seats)
        await crowd.join("reading", WATCHERS)
        try:
            await opened.change("A1")
            await opened.healed()
            yield opened
            assert crowd.problems == []
        finally:
            crowd.dismiss(crowd.watchers)


# -- a message in the middle -----------------------------------------------------------------------


async def test_a_lost_message_is_healed_at_the_next(
    valkey: EmbeddedValkey, mongo: EmbeddedMongo, messages: Loss
) -> None:
    """The mirror sees the hole and reads anew: no watcher has to come back for it."""
    async with house(valkey, mongo) as opened:
        connects = opened.crowd.counts["connects"]
        messages.left = 1
        await opened.change("A2", "A3")
        await opened.healed()
        assert len(messages.lost) == 1
        assert opened.crowd.counts["connects"] == connects


async def test_a_mirror_that_overlooks_a_hole_is_found_out(
    valkey: EmbeddedValkey, mongo: EmbeddedMongo, messages: Loss, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = Mirror._apply

    def overlook(self: Mirror, change: ChangeSet) -> Any:
        self.seq = max(self.seq, change.seq - 1)
        return apply(self, change)

    async with house(valkey, mongo) as opened:
        monkeypatch.setattr(Mirror, "_apply", overlook)
        messages.left = 1
        await opened.change("A2", "A3")
        with pytest.raises(NotHealed):
            await opened.healed()
        assert len(messages.lost) == 1


# -- the last message ------------------------------------------------------------------------------


async def test_a_lost_last_message_is_healed_at_the_tail_check(
    valkey: EmbeddedValkey, mongo: EmbeddedMongo, messages: Loss, monkeypatch: pytest.MonkeyPatch
) -> None:
    _soon(monkeypatch)
    async with house(valkey, mongo) as opened:
        messages.left = 1
        await opened.change("A2")
        await opened.healed(AT_THE_NEXT_TAIL_CHECK)
        assert len(messages.lost) == 1


async def test_without_the_tail_check_a_lost_last_message_is_found_out(
    valkey: EmbeddedValkey, mongo: EmbeddedMongo, messages: Loss, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing_amiss(self: Channel, asked: object, stored: object) -> bool:
        return False

    _soon(monkeypatch)
    monkeypatch.setattr(Channel, "is_behind", nothing_amiss)
    async with house(valkey, mongo) as opened:
        messages.left = 1
        await opened.change("A2")
        with pytest.raises(NotHealed):
            await opened.healed(AT_THE_NEXT_TAIL_CHECK)
        assert len(messages.lost) == 1


def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the tails checked every second."""
    monkeypatch.setitem(Hub.__init__.__kwdefaults__, "tail_check_seconds", TAIL_CHECK_SECONDS)


# -- a connection to Redis -------------------------------------------------------------------------


async def test_what_a_killed_connection_missed_is_read(
    valkey: EmbeddedValkey, mongo: EmbeddedMongo
) -> None:
    async with house(valkey, mongo) as opened:
        await opened.kill_subscriptions()
        await opened.change("A2")
        await opened.healed()


async def test_a_channel_that_trusts_a_new_connection_is_found_out(
    valkey: EmbeddedValkey, mongo: EmbeddedMongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Subscribed again, it goes on as if nothing had been said in between."""
    async with house(valkey, mongo) as opened:
        monkeypatch.setattr(Channel, "reload", lambda self, why: None)
        await opened.kill_subscriptions()
        await opened.change("A2")
        with pytest.raises(NotHealed):
            await opened.healed()
        assert await opened.subscriptions() == 1


# -- a frame to one watcher ------------------------------------------------------------------------


async def test_a_lost_frame_is_a_gap_and_the_watcher_comes_back(
    valkey: EmbeddedValkey, mongo: EmbeddedMongo, written: Loss
) -> None:
    async with house(valkey, mongo) as opened:
        await _lose_one_frame(opened, written)
        await opened.change("A3")
        await opened.healed()
        assert opened.crowd.counts["gaps"] == opened.crowd.counts["resumed"] == 1


async def test_a_watcher_that_ignores_a_gap_is_found_out(
    valkey: EmbeddedValkey, mongo: EmbeddedMongo, written: Loss, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watcher, "_again", lambda self, why: None)
    async with house(valkey, mongo) as opened:
        await _lose_one_frame(opened, written)
        await opened.change("A3")
        with pytest.raises(NotHealed, match=r"^1 of 20 "):
            await opened.healed()


async def test_a_lost_last_frame_is_healed_at_the_heartbeat(
    valkey: EmbeddedValkey, mongo: EmbeddedMongo, written: Loss, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audience, "HEARTBEAT_SECONDS", 1.0)
    async with house(valkey, mongo) as opened:
        await _lose_one_frame(opened, written)
        await opened.healed()
        assert opened.crowd.counts["gaps"] == 1


async def _lose_one_frame(opened: House, written: Loss) -> None:
    """Change a seat, and let one watcher not hear of it."""
    written.left = 1
    await opened.change("A2")
    seq = (await opened.stored()).seq

    async def all_others_know() -> bool:
        known = [each.map.seq for each in opened.crowd.watchers if each.map]
        return sorted(known)[1:] == [seq] * (WATCHERS - 1)

    await eventually(all_others_know)
    assert len(written.lost) == 1
    assert b"A2" in written.lost[0]
