"""What is counted for whoever watches over Rowlock: `GET /metrics`, in Prometheus' text format.

Processes that make up one server (`rowlock serve --workers`) count together: each in files of its
own under the folder that the Prometheus client is told by PROMETHEUS_MULTIPROC_DIR.
"""

from collections.abc import Mapping
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
    values,
)

from server.build_info import Build
from server.process_metrics import ProcessMetrics
from server.request_metrics import RequestMetrics, ScriptMetrics


class Metrics:
    """The counters of one process; docs/metrics.md says what each one means."""

    def __init__(self, build: Build | None = None) -> None:
        """`build`: what runs, to be told with them."""
        self._registry = CollectorRegistry()
        self.alerts = Counter(
            "rowlock_alerts",
            "How often a person was called, by reason.",
            ["reason"],
            registry=self._registry,
        )
        self.payments = Counter(
            "rowlock_payments",
            "Payments by outcome: captured, declined, cancelled, unknown, refunded.",
            ["outcome"],
            registry=self._registry,
        )
        self.requests = RequestMetrics(self._registry)
        self.scripts = ScriptMetrics(self._registry)
        self.process = ProcessMetrics(self._registry, build)
        self.live = LiveMetrics(self._registry)

    def text(self) -> bytes:
        """Return all of them, to be served as `text/plain; version=0.0.4`."""
        if not values.ValueClass._multiprocess:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)


def counting_together(folder: Path) -> Mapping[str, str]:
    """Return what to add to the environment of processes that count together."""
    return {"PROMETHEUS_MULTIPROC_DIR": str(folder)}


def forget(pid: int, folder: Path) -> None:
    """Count no more what a process that has ended had open; what it has done stays counted."""
    multiprocess.mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]


class LiveMetrics:
    """Counts the live maps: what `server.realtime.tally.Tally` asks for."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._watchers = Gauge(
            "rowlock_live_watchers",
            "Who watches a live seat map here now.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._changes = Counter(
            "rowlock_live_changes",
            "Changes of watched showtimes that Redis has announced. Divided by the flushes: how "
            "many go out together.",
            registry=registry,
        )
        self._lag = Histogram(
            "rowlock_live_lag_seconds",
            "From the script that made a change to the last socket it was written to, once a "
            "flush and for the oldest change in it. The clock is that of Redis.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5),
            registry=registry,
        )
        self._flushes = Counter(
            "rowlock_live_flushes",
            "How often those who watch a showtime were told what was new.",
            registry=registry,
        )
        self._deliveries = Counter(
            "rowlock_live_deliveries",
            "Frames with changes that flushes wrote to WebSockets; first frames, steps to catch up "
            "and Server-Sent Events are not among them.",
            registry=registry,
        )
        self._reloads = Counter(
            "rowlock_live_reloads",
            "Seat states that were read anew, by cause: subscribed, hole, lost, went_back.",
            ["cause"],
            registry=registry,
        )
        self._slow = Counter(
            "rowlock_slow_watchers",
            "Live seat maps that were cut off because their reader was too slow.",
            registry=registry,
        )

    def came(self) -> None:
        self._watchers.inc()

    def went(self) -> None:
        self._watchers.dec()

    def heard(self) -> None:
        self._changes.inc()

    def flushed(self, lag: float) -> None:
        self._flushes.inc()
        self._lag.observe(max(0.0, lag))

    def delivered(self, frames: int) -> None:
        self._deliveries.inc(frames)

    def reloaded(self, cause: str) -> None:
        self._reloads.labels(cause).inc()

    def too_slow(self) -> None:
        self._slow.inc()
