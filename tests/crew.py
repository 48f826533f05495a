"""Servers and workers that are started again whenever they have died, as a supervisor does."""

import asyncio
import itertools
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Literal

from tests.processes import REPOSITORY, START_SECONDS, RowlockProcess, start

Command = Literal["serve", "worker"]

_PAUSE_SECONDS = 0.2

_LINE = re.compile(r"^\d\d:\d\d:\d\d [A-Z]+ ", re.MULTILINE)
_EXPECTED = re.compile(
    r" <- .*(StoreUnavailable|AutoReconnect|NetworkTimeout|NotPrimaryError)"
    r"|audit relay failed <- .*BulkWriteError.* n_1 dup key"
)
"""A store is away; or two relays met, and the chain has refused one of them."""


class Crew:
    """`deaths` counts the kills that struck, `starts` how often a process was started."""

    def __init__(
        self, directory: Path, launcher: Sequence[str], environment: dict[str, str]
    ) -> None:
        self.deaths: Counter[str] = Counter()
        self.starts: Counter[str] = Counter()
        self._directory = directory
        self._launcher = launcher
        self._environment = environment
        self._number = itertools.count()
        self._at_work: dict[Command, list[RowlockProcess]] = {"serve": [], "worker": []}
        self._all: list[RowlockProcess] = []
        self._shifts: list[asyncio.Task[None]] = []

    def port(self) -> int:
        """Return where one of the servers answers; 0 when none does."""
        serving = self._at_work["serve"]
        return random.choice(serving).port if serving else 0

    async def open(self, *commands: Command) -> None:
        self._shifts = [asyncio.create_task(self._keep(command)) for command in commands]
        wanted = Counter(commands)
        async with asyncio.timeout(START_SECONDS):
            while any(len(self._at_work[name]) < count for name, count in wanted.items()):
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        for shift in self._shifts:
            shift.cancel()
        await asyncio.gather(*self._shifts, return_exceptions=True)
        await asyncio.gather(*(process.stop() for process in self._all))

    async def kill(self, command: Command) -> bool:
        """Kill one that is at work; says whether there was one to die of it."""
        if not self._at_work[command]:
            return False
        process = random.choice(self._at_work[command])
        self._at_work[command].remove(process)
        process.kill()
        struck = await process.ended() == -9
        self.deaths[command] += struck
        return struck

    def bugs(self) -> list[str]:
        """Return what they logged as errors, each with its last line, unless it is expected."""
        found = [error for process in self._all for error in _errors_in(process.log())]
        return [error for error in found if not _EXPECTED.search(error)]

    async def _keep(self, command: Command) -> None:
        while True:
            process = self._start(command)
            with suppress(AssertionError, TimeoutError):  # it ended at once: a store is away
                async with asyncio.timeout(START_SECONDS):
                    await (process.serving() if command == "serve" else _works(process))
                self._at_work[command].append(process)
                await process.ended(float("inf"))
            if process in self._at_work[command]:
                self._at_work[command].remove(process)
            await asyncio.sleep(_PAUSE_SECONDS)

    def _start(self, command: Command) -> RowlockProcess:
        log = self._directory / f"{command}-{next(self._number)}.log"
        level = "INFO" if command == "worker" else "WARNING"
        environment = {"LOG_LEVEL": level, **self._environment}
        process = start(command, log, REPOSITORY, environment, self._launcher)
        self.starts[command] += 1
        self._all.append(process)
        return process


def _errors_in(log: str) -> list[str]:
    starts = [match.start() for match in _LINE.finditer(log)] + [len(log)]
    records = [log[start:end].strip().splitlines() for start, end in pairwise(starts)]
    return [f"{lines[0]} <- {lines[-1]}" for lines in records if " ERROR " in lines[0]]


async def _works(process: RowlockProcess) -> None:
    await process.said("background work started")


@asynccontextmanager
async def crew(
    directory: Path,
    redis_url: str,
    mongo_uri: str,
    *commands: Command,
    launcher: Sequence[str],
    **environment: str,
) -> AsyncIterator[Crew]:
    """Keep one process per command alive; `launcher` is a command line from `Trap.set`."""
    stores = {"REDIS_URL": redis_url, "MONGO_URI": mongo_uri}
    opened = Crew(directory, launcher, stores | environment)
    try:
        await opened.open(*commands)
        yield opened
    finally:
        await opened.close()
