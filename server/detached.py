"""Work that a caller who hangs up does not stop half-way."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Detached:
    """Runs coroutines as tasks of their own and waits for them at shutdown."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work`; when the caller is cancelled, `work` goes on to its end."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def drain(self, seconds: float) -> None:
        """Wait for what is under way, at most so long; the reconciler finishes the rest."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
