"""The background work: each job again and again, whatever happens to it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from server.detached import end
from server.errors import StoreUnavailable
from server.log_context import JOB

logger = logging.getLogger("rowlock.workers")

_PAUSE_AFTER_FAILURE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Job:
    """`run_once` does what there is to do; it is called every `every_seconds`."""

    name: str
    run_once: Callable[[], Awaitable[object]]
    every_seconds: float


class Workers:
    def __init__(self, jobs: list[Job], unavailable: tuple[type[Exception], ...]) -> None:
        """`unavailable`: errors that mean a store is away, worth a line and no stack trace."""
        self._jobs = jobs
        self._unavailable: tuple[type[Exception], ...] = (StoreUnavailable, *unavailable)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._repeat(job), name=job.name) for job in self._jobs]

    async def joined(self) -> None:
        """Wait for the jobs, which never end by themselves."""
        await asyncio.gather(*self._tasks)

    async def stop(self) -> None:
        await end(*self._tasks)

    async def _repeat(self, job: Job) -> None:
        JOB.set(job.name)
        failing = False
        while True:
            pause = job.every_seconds
            try:
                await job.run_once()
                failing = False
            except Exception as error:
                pause = max(pause, _PAUSE_AFTER_FAILURE_SECONDS)
                if not isinstance(error, self._unavailable):
                    logger.exception("%s failed", job.name)
                elif not failing:
                    logger.warning("%s waits for a store: %r", job.name, error)
                failing = True
            await asyncio.sleep(pause)
