"""Runs `rowlock serve` or `rowlock worker` so that it can be killed between two given steps.

The server knows nothing of it: from outside, named methods of named classes are wrapped, and once
the trap is armed, the n-th call of one of them kills its own process with SIGKILL, before or after
the real call. Before it does, it renames `armed` to `struck`, so that nobody takes another end for
this one.

As a script, `crashing.py DIRECTORY COMMAND` sets the trap that lies in DIRECTORY.
"""

import functools
import importlib
import json
import os
import runpy
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

When = Literal["before", "after"]


class Trap:
    """Lies in a directory of its own, one per process."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._plan, self._armed = directory / "plan", directory / "armed"
        self._struck = directory / "struck"
        self._order: Any = None
        self._calls = 0

    # -- in the test ------------------------------------------------------------------------------

    def set(self, steps: Sequence[str], constants: Mapping[str, float]) -> list[str]:
        """Say which steps can kill and which constants are another number; returns a command line.

        A step is `module:Class.method`, a constant `module:NAME`, in seconds where it is a time.
        """
        self._plan.write_text(json.dumps({"steps": [*steps], "constants": {**constants}}))
        return [sys.executable, "-P", __file__, str(self.directory)]

    def arm(self, step: str, when: When, call: int) -> None:
        """From now on the process dies at that call of `step`, the first one being 1."""
        self._struck.unlink(missing_ok=True)
        written = self.directory / "to-be-armed"
        written.write_text(json.dumps({"step": step, "when": when, "call": call}))
        written.rename(self._armed)

    def disarm(self) -> None:
        self._armed.unlink(missing_ok=True)

    def struck(self) -> Any:
        """Return the order that was carried out last; None when none was since `arm`."""
        return json.loads(self._struck.read_text()) if self._struck.exists() else None

    # -- in the process --------------------------------------------------------------------------

    def lay(self) -> None:
        plan = json.loads(self._plan.read_text())
        for name, value in plan["constants"].items():
            module, constant = place_of(name)
            is_time = isinstance(getattr(module, constant), timedelta)
            setattr(module, constant, timedelta(seconds=value) if is_time else value)
        for step in plan["steps"]:
            owner, method = place_of(step)
            setattr(owner, method, self._wrapped(step, getattr(owner, method)))

    def _wrapped(self, step: str, real: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(real)
        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            when = self._due(step)
            if when == "before":
                self._die()
            try:
                return await real(*args, **kwargs)
            finally:
                if when == "after":
                    self._die()

        return wrapped

    def _due(self, step: str) -> When | None:
        """Count a call; return when to die of it, if it is the one."""
        if not self._armed.exists():
            self._order, self._calls = None, 0
            return None
        self._order = self._order or json.loads(self._armed.read_text())
        if self._order["step"] != step:
            return None
        self._calls += 1
        return self._order["when"] if self._calls == self._order["call"] else None

    def _die(self) -> None:
        self._armed.rename(self._struck)
        os.kill(os.getpid(), signal.SIGKILL)


def place_of(name: str) -> tuple[Any, str]:
    """Return the module or class and the attribute in it that `name` stands for.

    Raises AttributeError when there is no such thing (any more).
    """
    module, _, path = name.partition(":")
    *owners, attribute = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    getattr(owner, attribute)
    return owner, attribute


if __name__ == "__main__":
    from server.parent_death import end_with_parent

    end_with_parent()
    Trap(Path(sys.argv[1])).lay()
    sys.argv = ["rowlock", sys.argv[2]]
    runpy.run_module("server", run_name="__main__")
