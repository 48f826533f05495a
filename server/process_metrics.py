"""How the process itself is: release, memory, processor time, and how late its event loop comes."""

import asyncio

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from server.build_info import Build

_EVERY_SECONDS = 0.1
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class ProcessMetrics:
    def __init__(self, registry: CollectorRegistry, build: Build | None = None) -> None:
        for collector in (GCCollector, PlatformCollector, ProcessCollector):
            collector(registry=registry)
        self._lag = Histogram(
            "rowlock_loop_lag_seconds",
            "How late the event loop comes back to a task that slept: what it was held up for.",
            buckets=_SECONDS,
            registry=registry,
        )
        if build:
            Gauge(
                "rowlock_build_info",
                "What runs.",
                ["version", "python"],
                registry=registry,
                multiprocess_mode="max",
            ).labels(build.version, build.python).set(1)

    async def watch_loop(self) -> None:
        """Measure, ten times a second, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _EVERY_SECONDS
            await asyncio.sleep(_EVERY_SECONDS)
            self._lag.observe(max(0.0, loop.time() - due))
