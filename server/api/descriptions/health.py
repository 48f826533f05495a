"""Health and metrics."""

from typing import Literal

from server.api.descriptions.values import Shape
from server.api.openapi import Answer, Operation


class Health(Shape):
    status: Literal["ok", "unavailable"]
    checks: dict[str, Literal["ok", "unavailable"]]


class Alive(Shape):
    status: Literal["ok"]


OPERATIONS = [
    Operation(
        "GET",
        "/health",
        "health",
        "Are the stores there?",
        {200: Answer("All answer.", Health), 503: Answer("One does not.", Health)},
    ),
    Operation(
        "GET", "/health/live", "alive", "Does this process answer?", {200: Answer("Yes.", Alive)}
    ),
    Operation(
        "GET",
        "/metrics",
        "metrics",
        "Counters, for Prometheus",
        {200: Answer("Them.", media_type="text/plain")},
    ),
]
