"""How Rowlock is: what it depends on, what it was built from, what waits for it to be done."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from server.build_info import Build
from server.models import to_ms
from server.repo.backlogs import Backlog, Backlogs

logger = logging.getLogger("rowlock.health")

PATIENCE_SECONDS = 1.0
"""So long a dependency may take; after that it counts as away."""

T = TypeVar("T")
Ask = Callable[[], Awaitable[str]]
"""Returns the version of a dependency; raises or hangs when it is away."""


@dataclass(frozen=True, slots=True)
class Dependency:
    """`latency_ms` and `version` are None while it is away."""

    latency_ms: float | None
    version: str | None


@dataclass(frozen=True, slots=True)
class Lag:
    """What waits for one job, and for how long already; None while that cannot be read."""

    waiting: int | None
    oldest_ms: int | None


@dataclass(frozen=True, slots=True)
class Report:
    dependencies: Mapping[str, Dependency]
    build: Build
    lag: Mapping[str, Lag]


class Health:
    def __init__(self, dependencies: Mapping[str, Ask], backlogs: Backlogs, build: Build) -> None:
        self._dependencies = dependencies
        self._build = build
        self._backlogs: Mapping[str, Callable[[], Awaitable[Backlog]]] = {
            "audit_relay": backlogs.of_audit_relay,
            "notices": backlogs.of_notices,
            "reconciler": backlogs.of_reconciler,
            "lock_sweeper": backlogs.of_lock_sweeper,
        }

    async def report(self) -> Report:
        """Ask all at once. Never fails, and takes PATIENCE_SECONDS at most."""
        dependencies, lags = await asyncio.gather(
            asyncio.gather(*map(_dependency, self._dependencies.values())),
            asyncio.gather(*map(_lag, self._backlogs.values())),
        )
        return Report(
            dict(zip(self._dependencies, dependencies, strict=True)),
            self._build,
            dict(zip(self._backlogs, lags, strict=True)),
        )


async def _dependency(ask: Ask) -> Dependency:
    began = time.perf_counter()
    found = await _in_time(ask)
    latency = round((time.perf_counter() - began) * 1000, 1)
    return Dependency(latency, found) if found else Dependency(None, None)


async def _lag(read: Callable[[], Awaitable[Backlog]]) -> Lag:
    backlog = await _in_time(read)
    if backlog is None:
        return Lag(None, None)
    now = datetime.now(UTC)
    return Lag(backlog.waiting, max(0, to_ms(now) - to_ms(backlog.since or now)))


async def _in_time(ask: Callable[[], Awaitable[T]]) -> T | None:
    """Return what is answered; None for every way of not answering."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await ask()
    except Exception as error:
        logger.warning("not answered: %r", error)
        return None
