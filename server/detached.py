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


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks until they have ended.

    Once is not enough: a command of redis-py 8.1 can swallow a cancellation (measured: a task that
    does nothing but PING goes on after `cancel()`), and a loop around it would go on for ever.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=0.1)
