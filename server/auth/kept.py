"""An answer from elsewhere that is kept for a while."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """What `fetch` returned, for `ttl` seconds. Callers at the same time share one fetch.

    `newer` fetches before that, but not again within `pause` seconds, so that nobody can make this
    server hammer another one.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[T]],
        ttl: float,
        pause: float,
        clock: Callable[[], float],
    ) -> None:
        self._fetch = fetch
        self._ttl = ttl
        self._pause = pause
        self._clock = clock
        self._answer: tuple[T, float] | None = None
        self._renewal: asyncio.Task[T] | None = None
        self._pause_ends = float("-inf")

    async def get(self) -> T:
        """Return the answer; raises what `fetch` raises, and keeps no failure."""
        if self._answer is None or self._clock() >= self._answer[1]:
            return await self._renew()
        return self._answer[0]

    async def newer(self) -> T:
        """Return an answer that is as new as `pause` allows."""
        now = self._clock()
        if self._renewal is None and now < self._pause_ends:
            return await self.get()
        self._pause_ends = now + self._pause
        return await self._renew()

    async def _renew(self) -> T:
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._fetch_once())
            self._renewal.add_done_callback(self._renewed)
        # One caller that gives up must not take the answer from the others.
        return await asyncio.shield(self._renewal)

    async def _fetch_once(self) -> T:
        answer = await self._fetch()
        self._answer = answer, self._clock() + self._ttl
        return answer

    def _renewed(self, task: asyncio.Task[T]) -> None:
        self._renewal = None
        if not task.cancelled():
            task.exception()  # told to those who waited, if anybody still did
