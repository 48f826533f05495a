"""How requests and seat scripts end: counted on every one of them, so with little effort.

Finding a labelled counter takes longer than counting (measured: 3 µs beside 1 µs), so each is
looked up once. There are only so many: labels come from the route table and from the headers of the
scripts, never from what a caller sends.
"""

from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_NO_ROUTE = "none"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class RequestMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "rowlock_http_request_seconds",
            "Requests by route, method and status, and how long they took.",
            ["route", "method", "status"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._found: dict[tuple[str, str, int], Callable[[float], None]] = {}

    def ended(self, scope: Mapping[str, Any], status: int, seconds: float) -> None:
        """Count a request; `scope` is ASGI's, in which the router has put its route."""
        key = (getattr(scope.get("route"), "path", _NO_ROUTE), scope["method"], status)
        observe = self._found.get(key)
        if observe is None:
            observe = self._labelled(*key)
        observe(seconds)

    def _labelled(self, route: str, method: str, status: int) -> Callable[[float], None]:
        known = method in _METHODS
        child = self._seconds.labels(route, method if known else "other", str(status))
        if known:
            self._found[route, method, status] = child.observe
        return child.observe


class ScriptMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter(
            "rowlock_script_calls",
            "Calls of the scripts in Redis, by script and the word that it answered.",
            ["script", "outcome"],
            registry=registry,
        )
        self._together = Histogram(
            "rowlock_script_calls_together",
            "Writes to Redis, by how many calls of scripts went out in each.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=registry,
        )
        self._found: dict[tuple[str, str], Callable[[], None]] = {}

    def sent(self, calls: int) -> None:
        """Count one write."""
        self._together.observe(calls)

    def ended(self, script: str, outcome: str) -> None:
        count = self._found.get((script, outcome))
        if count is None:
            count = self._found[script, outcome] = self._calls.labels(script, outcome).inc
        count()
