"""A server process that lives no longer than the process that started it.

- One at a time per directory: a second start is refused, also from another process, which may use
  the first one instead (`address_in`).
- It ends with its parent, even when that is killed (Linux: the parent death signal; elsewhere, and
  while that signal is still at work, the next start ends the leftover first). The kernel ties that
  signal to the starting *thread*: start servers from the main one.
- It has a session of its own, so that Ctrl-C in a terminal reaches only its parent.
- A leftover is known by pid and command line together; no other process is ever signalled.
"""

import asyncio
import fcntl
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Self
from urllib.parse import urlsplit

import psutil

from server import parent_death
from server.binaries import EmbeddedError

LOOPBACK = "127.0.0.1"
ADDRESS_FILE = "address"

_LOCK_S = 5.0
_START_S = 30.0
_STOP_S = 20.0
_POLL_S = 0.02
_PORT_ATTEMPTS = 3


class ChildServer(ABC):
    """One server on a free loopback port; `async with`, or `start` and `stop`.

    Its directory holds its data (`data/`), its log (`server.log`), its pid and its address.
    """

    name: str

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.log_file = self.directory / "server.log"
        self.pid_file = self.directory / "server.pid"
        self.port = 0
        self._address_file = self.directory / ADDRESS_FILE
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def address(self) -> str:
        """The URL under which clients reach the server."""

    @abstractmethod
    def command(self, data: Path) -> list[str]:
        """Return the command line that serves `data` on `self.port` in the foreground.

        It must name `self.pid_file`, where the server itself writes its pid.
        """

    @abstractmethod
    async def answers(self) -> bool:
        """Say whether the server, which listens, also takes clients."""

    @abstractmethod
    async def prepare(self) -> None:
        """Do what the server needs once it answers."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Return once the server does its work; raises EmbeddedError."""
        try:
            self._lock = await _lock_soon(self.directory)
            await self._end_leftover()
            await self._start_on_free_port()
            await self.prepare()
            self._address_file.write_text(self.address)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End the server in order and give the directory back; harmless when not running."""
        if self._process is not None:
            child = self._process
            await _end(child, lambda: child.poll() is None)
            self._process = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def _end_leftover(self) -> None:
        """End the server that an earlier owner of the directory left behind, if it still runs."""
        with suppress(OSError, ValueError, psutil.Error):
            leftover = psutil.Process(int(self.pid_file.read_text()))
            if str(self.pid_file) in leftover.cmdline():
                await _end(leftover, lambda: _runs(leftover))

    async def _start_on_free_port(self) -> None:
        """Take the port of the last run if it is free: MongoDB remembers it."""
        for attempt in range(_PORT_ATTEMPTS):
            self.port = _free_port(self._last_port() if attempt == 0 else 0)
            self._process = self._spawn()
            if await self._comes_up(self._process):
                return
        raise EmbeddedError(f"{self.name} found no free port")

    def _last_port(self) -> int:
        try:
            return urlsplit(self._address_file.read_text()).port or 0
        except (OSError, ValueError):
            return 0

    def _spawn(self) -> subprocess.Popen[bytes]:
        data = self.directory / "data"
        data.mkdir(exist_ok=True)
        with self.log_file.open("wb") as log:
            return subprocess.Popen(  # noqa: S603 - our own command line
                [*parent_death.tied(), *self.command(data)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    async def _comes_up(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait until the server answers; False when another process took the port first."""
        try:
            async with asyncio.timeout(_START_S):
                while process.poll() is None:
                    if _listens(process.pid, self.port) and await self.answers():
                        return True
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise EmbeddedError(f"{self.name} does not answer; see {self.log_file}") from None
        if "already in use" in self.log_file.read_text(errors="replace"):
            return False
        raise EmbeddedError(f"{self.name} ended as soon as it started; see {self.log_file}")


def address_in(directory: Path) -> str | None:
    """Return the address of the server that another process runs in `directory`."""
    try:
        address = (directory / ADDRESS_FILE).read_text()
        _lock(directory).close()
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return address
    return None  # it has stopped


async def _lock_soon(directory: Path) -> IO[str]:
    """Take the directory for this process, for as long as the file is open; raises EmbeddedError.

    Somebody who is being killed, or who only looks (`address_in`), may have it for a moment more.
    """
    give_up = time.monotonic() + _LOCK_S
    while True:
        try:
            return _lock(directory)
        except BlockingIOError:
            if time.monotonic() > give_up:
                raise EmbeddedError(f"{directory} is in use by another Rowlock") from None
        except OSError as error:
            raise EmbeddedError(f"cannot use {directory}: {error.strerror}") from None
        await asyncio.sleep(_POLL_S)


def _lock(directory: Path) -> IO[str]:
    """Raises BlockingIOError when another process, or another server here, has the directory."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = (directory / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        file.close()
        raise
    return file


async def _end(process: psutil.Process | subprocess.Popen[bytes], runs: Callable[[], bool]) -> None:
    """Ask a server to leave, and make it leave when it does not."""
    for ask in (process.terminate, process.kill):
        if not runs():
            return
        ask()
        give_up = time.monotonic() + _STOP_S
        while runs():
            if time.monotonic() > give_up:
                break
            await asyncio.sleep(_POLL_S)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _listens(pid: int, port: int) -> bool:
    """Say whether it is this process that has the port, and no other."""
    try:
        sockets = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return False
    return any(s.status == psutil.CONN_LISTEN and s.laddr.port == port for s in sockets)


def _free_port(wish: int = 0) -> int:
    """Return the port `wish` when nobody listens there, else any free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, wish))
        except OSError:
            probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
