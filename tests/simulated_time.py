"""Makes the server's code live by the clock of a simulation, and draw its random ids from its seed.

What a module has imported by name is replaced where it stands: in every module of the server that
asks for the time.
"""

import inspect
import random
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from random import Random
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

from tests.virtual_time import VirtualLoop


class Clock:
    """The time of the simulation that runs just now; `skew` is what the server's clock is off."""

    def __init__(self) -> None:
        self.loop = VirtualLoop(Random(0))
        self.random = Random(0)
        self.skew = 0.0

    def seconds(self) -> float:
        return self.loop.time() + self.skew

    def token_hex(self, count: int) -> str:
        return f"{self.random.getrandbits(8 * count):0{2 * count}x}"


@contextmanager
def lived_by(clock: Clock) -> Iterator[None]:
    """Let all modules of the server that are loaded ask `clock`."""

    class VirtualDatetime(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return moment(clock.seconds())

    virtual_time = SimpleNamespace(time=clock.seconds, monotonic=clock.seconds)
    with ExitStack() as stack:
        stack.enter_context(patch.object(secrets, "token_hex", clock.token_hex))
        for module in _of_the_server():
            source = inspect.getsource(module)
            if getattr(module, "datetime", None) is datetime and "datetime.now(" in source:
                stack.enter_context(patch.object(module, "datetime", VirtualDatetime))
            if getattr(module, "time", None) is time:
                stack.enter_context(patch.object(module, "time", virtual_time))
            if getattr(module, "random", None) is random:
                stack.enter_context(patch.object(module, "random", _Drawn(clock)))
        yield


class _Drawn:
    """In place of the module `random`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clock.random, name)


def moment(seconds: float) -> datetime:
    """Return a time in whole milliseconds, as the stores keep it."""
    return datetime.fromtimestamp(int(seconds * 1000) / 1000, UTC)


def _of_the_server() -> list[ModuleType]:
    return [module for name, module in sorted(sys.modules.items()) if name.startswith("server.")]
