"""What is counted for whoever watches over Rowlock: `GET /metrics`, in Prometheus' text format."""

from prometheus_client import CollectorRegistry, Counter, generate_latest


class Metrics:
    """The counters of one process."""

    def __init__(self) -> None:
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

        self.slow_watchers = Counter(
            "rowlock_slow_watchers",
            "Live seat maps that were cut off because their reader was too slow.",
            registry=self._registry,
        )

    def text(self) -> bytes:
        """Return all of them, to be served as `text/plain; version=0.0.4`."""
        return generate_latest(self._registry)
