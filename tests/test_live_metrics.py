"""What is counted of the live maps: on a real store, as Prometheus would read it."""

import json
from collections.abc import AsyncIterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from server.metrics import Metrics
from server.realtime.hub import Hub
from tests.seat_stores import SHOWTIME
from tests.test_audience import Pipe
from tests.test_hub import StoreSource, change, deaf_to, eventually, source

__all__ = ["source"]


class Read:
    """What /metrics says now."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def __call__(self, name: str, **labels: str) -> float:
        families = text_string_to_metric_families(self._metrics.text().decode())
        samples = [sample for family in families for sample in family.samples]
        return sum(s.value for s in samples if (s.name, s.labels) == (name, labels))


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def hub(valkey_url: str, source: StoreSource, metrics: Metrics) -> AsyncIterator[Hub]:
    hub = Hub(valkey_url, source, tail_check_seconds=3600.0, tally=metrics.live)
    hub.start()
    yield hub
    await hub.stop()


async def test_what_goes_out_is_counted(hub: Hub, source: StoreSource, metrics: Metrics) -> None:
    read = Read(metrics)
    with hub.watched(SHOWTIME) as channel, hub.watched(SHOWTIME):
        assert read("rowlock_live_watchers") == 2
        assert await channel.ready(5)
        pipes = [Pipe() for _ in range(3)]
        for pipe in pipes:
            pipe.watcher = channel.join(pipe, "", 0)
        await change(source.stores, "A1", "A2", "A3", "A4")
        await eventually(lambda: json.loads(pipes[0].frames[-1][4:])["seq"] == channel.mirror.seq)
        await eventually(lambda: not channel._telling)
        flushes = read("rowlock_live_flushes_total")
        assert read("rowlock_live_changes_total") == 4
        assert 1 <= flushes <= 4
        assert read("rowlock_live_deliveries_total") == 3 * flushes
        assert read("rowlock_live_lag_seconds_count") == flushes
        assert 0 <= read("rowlock_live_lag_seconds_sum") < flushes
        pipes[0].buffered = 1 << 30
        pipes[0].fill()
        assert read("rowlock_slow_watchers_total") == 1
    assert read("rowlock_live_watchers") == 0


async def test_each_cause_of_a_reload_is_counted(
    hub: Hub, source: StoreSource, metrics: Metrics
) -> None:
    read = Read(metrics)
    with hub.watched(SHOWTIME) as channel:
        assert await channel.ready(5)
        assert read("rowlock_live_reloads_total", cause="subscribed") == 1
        deaf_to(hub, 1)
        await change(source.stores, "A1", "A2")
        await eventually(lambda: read("rowlock_live_reloads_total", cause="hole") == 1)
        await eventually(lambda: channel._loading is None)
        channel.mirror.seq += 5
        await hub._check_all()
        assert read("rowlock_live_reloads_total", cause="went_back") == 1
        await eventually(lambda: channel._loading is None)
        await source.stores.redis.flushall()
        await hub._check_all()
        assert read("rowlock_live_reloads_total", cause="lost") == 1
        await eventually(lambda: channel._loading is None)
