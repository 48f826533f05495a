"""An event loop whose time is a number and whose order of events is drawn from a seed.

Time stands still while anything can run and then leaps to the next timer. Among the callbacks that
can run a random one is taken: the same seed gives the same run, another seed another interleaving.
There is no input or output; whatever waits for some waits for ever, and that is an error here.
"""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")


class Owner:
    """Whose work it is. Callbacks of an owner that is not alive any more are dropped, those of one
    that is asleep wait."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.asleep_until = 0.0
        self.context = copy_context()
        self.context.run(_OWNER.set, self)


_OWNER: ContextVar[Owner | None] = ContextVar("owner", default=None)


class Stuck(Exception):
    """Nothing can run and no timer is set, and what was to be waited for is not done."""


class _Handle:
    """A callback to come; like asyncio's, as far as asyncio's own code asks for it."""

    __slots__ = ("args", "callback", "context", "in_world", "owner", "postponed", "when")

    def __init__(
        self,
        callback: Callable[..., object] | None,
        args: tuple[Any, ...],
        context: Context | None,
        owner: Owner | None,
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.owner = owner
        self.when = 0.0
        self.in_world = self.postponed = False

    def cancel(self) -> None:
        self.callback = None
        self.args = ()

    def cancelled(self) -> bool:
        return self.callback is None


class VirtualLoop(asyncio.AbstractEventLoop):
    def __init__(self, random: Random, start: float = 0.0) -> None:
        """`start`: seconds since 1970 at which time begins."""
        self._draw = random.random
        self._now = start
        self._ready: list[_Handle] = []
        self._timers: list[tuple[float, int, _Handle]] = []
        self._count = 0
        self._owner: Owner | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._dismissing = False
        self._dropped: list[_Handle] = []
        self.steps = 0
        self.unhandled: list[dict[str, Any]] = []

    # -- what asyncio asks of a loop --------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: Context | None = None
    ) -> "asyncio.Task[Any]":
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.add(task)  # one that vanishes in a crash must not be collected half-way
        task.add_done_callback(self._tasks.discard)
        return task

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Handle:
        owner = self._owner if context is None else context.get(_OWNER)
        handle = _Handle(callback, args, context, owner)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> _Handle:
        owner = self._owner if context is None else context.get(_OWNER)
        handle = _Handle(callback, args, context, owner)
        handle.when = when = self._now + delay
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle))
        return handle

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> _Handle:
        owner = self._owner if context is None else context.get(_OWNER)
        handle = _Handle(callback, args, context, owner)
        handle.when = when
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle))
        return handle

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.unhandled.append(context)

    # -- running ----------------------------------------------------------------------------------

    def at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        owner: Owner | None = None,
    ) -> None:
        """Let something happen at a moment: to a process, or in the world, whoever dies by then."""
        handle = _Handle(callback, args, None, owner)
        handle.in_world = owner is None
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle))

    def next_event(self) -> float | None:
        """Return when the next of the things that `at` has announced will happen in the world."""
        moments = [handle_at for handle_at, _, handle in self._timers if handle.in_world]
        return min(moments, default=None)

    def spawn(self, owner: Owner, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Run `work` as a task that ends with its owner."""
        return self.create_task(work, context=owner.context.copy())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run until `work` is done; raises Stuck when it never will be."""
        asyncio._set_running_loop(self)
        try:
            task = self.create_task(work)
            self._run_until(task.done)
            return task.result()
        finally:
            asyncio._set_running_loop(None)

    def dismiss(self) -> None:
        """Cancel what is left, of the dead too, so that nothing is collected half-way."""
        asyncio._set_running_loop(self)
        self._dismissing = True
        self._ready += self._dropped
        try:
            for _ in range(10):
                self._ready += [handle for *_, handle in self._timers if handle.postponed]
                self._timers.clear()
                if not self._tasks:
                    return
                for task in list(self._tasks):
                    task.cancel()
                self._run_until(lambda: not self._ready)
            raise Stuck(f"tasks that will not end: {self._tasks}")
        finally:
            asyncio._set_running_loop(None)

    def _run_until(self, done: Callable[[], bool]) -> None:
        ready, draw = self._ready, self._draw
        while not done():
            if not ready:
                self._leap()
            last = len(ready) - 1
            chosen = int(draw() * (last + 1)) if last else 0
            handle = ready[chosen]
            ready[chosen] = ready[last]
            ready.pop()
            callback, owner = handle.callback, handle.owner
            if callback is None:
                continue
            if owner is not None and not self._dismissing:
                if not owner.alive:
                    self._dropped.append(handle)
                    continue
                if owner.asleep_until > self._now:
                    self._postpone(handle, owner.asleep_until)
                    continue
            self.steps += 1
            self._owner = owner
            if handle.context is None:
                callback(*handle.args)
            else:
                handle.context.run(callback, *handle.args)
        self._owner = None

    def _postpone(self, handle: _Handle, until: float) -> None:
        handle.in_world = handle.postponed = True  # it will come, whatever is waited for
        self._count += 1
        heapq.heappush(self._timers, (until, self._count, handle))

    def _leap(self) -> None:
        """Go to the next moment at which something happens."""
        if not self._timers:
            raise Stuck("nothing is left that could happen")
        when, _, handle = heapq.heappop(self._timers)
        if when > self._now:
            self._now = when
        self._ready.append(handle)
        while self._timers and self._timers[0][0] <= self._now:
            self._ready.append(heapq.heappop(self._timers)[2])
