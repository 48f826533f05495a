"""What is counted for whoever watches over Rowlock: `GET /metrics`, in Prometheus' text format."""

from prometheus_client import CollectorRegistry, Counter, generate_latest

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
        self.slow_watchers = Counter(
            "rowlock_slow_watchers",
            "Live seat maps that were cut off because their reader was too slow.",
            registry=self._registry,
        )

    def text(self) -> bytes:
        """Return all of them, to be served as `text/plain; version=0.0.4`."""
        return generate_latest(self._registry)
