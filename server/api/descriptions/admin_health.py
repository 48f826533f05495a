"""How Rowlock is, for administrators."""

from typing import Annotated, Literal

from pydantic import Field

from server.api.descriptions.values import Shape, Time
from server.api.openapi import Answer, Operation


class StoreHealth(Shape):
    status: Literal["ok", "unavailable"]
    latency_ms: Annotated[
        float | None, Field(description="How long it took to answer; null when it did not.")
    ]
    version: str | None


class Provider(Shape):
    provider: Annotated[str, Field(examples=["smtp"])]


class Dependencies(Shape):
    redis: StoreHealth
    mongodb: StoreHealth
    mail: Annotated[Provider, Field(description="`smtp`, `files` or `none`.")]
    payments: Annotated[Provider, Field(description="`demo` or `stripe`.")]


class Build(Shape):
    version: str
    python: str
    started_at: Time
    uptime_ms: int


class Lag(Shape):
    waiting: Annotated[int | None, Field(description="How much waits; null while a store is away.")]
    oldest_ms: Annotated[
        int | None, Field(description="For how long the oldest of it has waited; 0 if none does.")
    ]


class Lags(Shape):
    audit_relay: Annotated[Lag, Field(description="What the audit log does not have yet.")]
    notices: Annotated[Lag, Field(description="What people are to be told by mail.")]
    reconciler: Annotated[Lag, Field(description="Bookings past their deadline.")]
    lock_sweeper: Annotated[Lag, Field(description="Locks past their deadline.")]


class Live(Shape):
    watchers: Annotated[int, Field(description="Live seat maps that this process serves.")]
    mirrors: Annotated[int, Field(description="Showtimes that it follows for them.")]


class SystemHealth(Shape):
    status: Literal["ok", "unavailable"]
    dependencies: Dependencies
    build: Build
    lag: Lags
    live: Live


OPERATIONS = [
    Operation(
        "GET",
        "/api/admin/health",
        "systemHealth",
        "What Rowlock depends on, what runs, and what waits to be done",
        {200: Answer("How it is; also when a store is away.", SystemHealth)},
        who="administrator",
        about="While MongoDB does not answer, an access token with the role is enough.",
    ),
]
