"""Several processes that make up one server: kept running, and ended together.

Whoever of them ends without being told to is started again. They end with this process, even when
that is killed (Linux).
"""

import asyncio
import logging
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from server.parent_death import tied

logger = logging.getLogger("rowlock.supervisor")

_AGAIN_SECONDS = 1.0
"""So long after its end a process is started again, so that one that cannot start costs little."""
_LEAVE_SECONDS = 20.0
"""Longer than a server needs to take leave of its sockets and requests."""


class Supervisor:
    def __init__(
        self,
        commands: Sequence[Sequence[str]],
        environment: Mapping[str, str],
        ended: Callable[[int], None],
    ) -> None:
        """`commands` are those of `rowlock`, each a process; `environment` is theirs. `ended` is
        called with the process id of one that has ended by itself."""
        self._commands = commands
        self._environment = environment
        self._ended = ended

    async def run(self) -> None:
        """Keep all of them running until cancelled; then end them in order."""
        async with asyncio.TaskGroup() as group:
            for command in self._commands:
                group.create_task(self._keep(command))

    async def _keep(self, command: Sequence[str]) -> None:
        """Start it again whenever it has ended, or could not be started: there may be no memory, or
        no process left to be had, for a while."""
        while True:
            try:
                await self._run(command)
            except OSError:
                logger.exception("%s could not be started", command[0])
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _run(self, command: Sequence[str]) -> None:
        """Return when it has ended by itself."""
        process = await self._start(command)
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            await _end(process)
            raise
        logger.error("%s (%d) has ended with %d", command[0], process.pid, code)
        self._ended(process.pid)

    async def _start(self, command: Sequence[str]) -> Process:
        return await asyncio.create_subprocess_exec(
            *tied(),
            *(sys.executable, "-m", "server", *command),
            env=self._environment,
            start_new_session=True,  # Ctrl-C in a terminal is for us: we tell them
        )


async def _end(process: Process) -> None:
    """Ask it to leave, and make it leave when it does not."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_LEAVE_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
