"""Rowlock as real processes: started on free ports, heard through their log, ended by their pid."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import httpx
import psutil

from server.auth.tokens import AccessTokens
from server.models import Role
from server.repo.users import User
from server.settings import Settings

REPOSITORY = Path(__file__).parent.parent
SECRET = "the-secret-that-the-processes-of-one-test-share"
START_SECONDS = 30.0
WHOLE = os.environ.get("ROWLOCK_FAULTS") == "whole"
"""Whether the fault tests go through all they have, as `make faults` does, or through a part."""

_LAUNCH = """
import ctypes, runpy, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(signal.SIGTERM))  # PR_SET_PDEATHSIG: end with the test run
sys.argv = ["rowlock", sys.argv[1]]
runpy.run_module("server", run_name="__main__")
"""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A planted bug: in `file`, under `server/`, `was` stands once and becomes `instead`."""

    file: str
    was: str
    instead: str


@cache
def token_for(user_id: str, role: Role = "USER") -> str:
    """Return an access token as the processes themselves would mint it, good for an hour."""
    settings = Settings(_env_file=None, jwt_secret=SECRET, jwt_ttl=3600)  # type: ignore[call-arg]
    token, _ = AccessTokens(settings).mint(User(user_id, f"{user_id}@example.com", user_id, role))
    return token


def mutated(directory: Path, mutants: Sequence[Mutant]) -> Path:
    """Copy the server with bugs planted into it; returns the place to import it from."""
    shutil.copytree(
        REPOSITORY / "server", directory / "server", ignore=shutil.ignore_patterns("__pycache__")
    )
    (directory / "frontend").symlink_to(REPOSITORY / "frontend")
    for mutant in mutants:
        path = directory / "server" / mutant.file
        text = path.read_text()
        assert text.count(mutant.was) == 1, f"{mutant.was!r} does not stand once in {mutant.file}"
        path.write_text(text.replace(mutant.was, mutant.instead))
    return directory


class RowlockProcess:
    """One `rowlock serve` or `rowlock worker`; its output goes to `log_file`."""

    def __init__(self, process: "subprocess.Popen[bytes]", log_file: Path) -> None:
        self._process = process
        self.log_file = log_file
        self.port = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def errors(self) -> list[str]:
        """Return the lines in which it owned up to a bug of its own."""
        return [line for line in self.log().splitlines() if " ERROR " in line]

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()

    async def stop(self, seconds: float = 20.0) -> None:
        """End it in order; by force when it does not leave in time."""
        self._process.terminate()
        try:
            await asyncio.to_thread(self._process.wait, seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)

    async def serving(self) -> None:
        """Wait until it answers on the port that it chose."""
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            while True:
                self._still_runs()
                self.port = self.port or _listening_port(self.pid)
                try:
                    if self.port and (await client.get(f"{self.url}/health/live")).is_success:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.02)

    async def ended(self, seconds: float = 20.0) -> int:
        """Wait until it has ended by itself, or by somebody else's hand; returns its exit code."""
        give_up = time.monotonic() + seconds
        while (code := self._process.poll()) is None:
            assert time.monotonic() < give_up, f"it still runs after {seconds} s"
            await asyncio.sleep(0.01)
        return code

    async def said(self, words: str) -> None:
        """Wait until its log holds `words`."""
        while words not in self.log():
            self._still_runs()
            await asyncio.sleep(0.02)

    def _still_runs(self) -> None:
        assert self._process.poll() is None, f"it ended at once:\n{self.log()}"


@asynccontextmanager
async def servers(
    directory: Path,
    redis_url: str,
    mongo_uri: str,
    *,
    count: int = 1,
    source: Path = REPOSITORY,
    **environment: str,
) -> AsyncIterator[list[RowlockProcess]]:
    """Run so many `rowlock serve` on the same stores, from the package that lies in `source`."""
    stores = {"REDIS_URL": redis_url, "MONGO_URI": mongo_uri}
    async with _started(directory, "serve", count, source, stores | environment) as started:
        async with asyncio.timeout(START_SECONDS):
            for process in started:
                await process.serving()
        yield started


@asynccontextmanager
async def workers(
    directory: Path, redis_url: str, mongo_uri: str, *, count: int = 1, **environment: str
) -> AsyncIterator[list[RowlockProcess]]:
    """Run so many `rowlock worker` on the same stores."""
    told = {"REDIS_URL": redis_url, "MONGO_URI": mongo_uri, "LOG_LEVEL": "INFO"}
    async with _started(directory, "worker", count, REPOSITORY, told | environment) as started:
        async with asyncio.timeout(START_SECONDS):
            for process in started:
                await process.said("background work started")
        yield started


@asynccontextmanager
async def _started(
    directory: Path, command: str, count: int, source: Path, environment: dict[str, str]
) -> AsyncIterator[list[RowlockProcess]]:
    async with AsyncExitStack() as stack:
        started = []
        for number in range(count):
            log_file = directory / f"{command}-{number}.log"
            process = start(command, log_file, source, environment)
            stack.push_async_callback(process.stop)
            started.append(process)
        yield started


def start(
    command: str,
    log_file: Path,
    source: Path,
    environment: dict[str, str],
    launcher: Sequence[str] = (sys.executable, "-c", _LAUNCH),
) -> RowlockProcess:
    """Start `rowlock <command>`; whoever calls this ends it."""
    settings = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": str(source),
        "PYTHONDONTWRITEBYTECODE": "1",
        "APP_ENV": "development",
        "HOST": "127.0.0.1",
        "PORT": "0",
        "JWT_SECRET": SECRET,
        "RATE_LIMITS": "off",
        "LOG_LEVEL": "WARNING",
        **environment,
    }
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [*launcher, command],
            cwd=log_file.parent,  # no .env there
            env=settings,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    return RowlockProcess(process, log_file)


def _listening_port(pid: int) -> int:
    """Return the port that the process has taken; 0 while it has none."""
    sockets = psutil.Process(pid).net_connections("tcp")
    return next((s.laddr.port for s in sockets if s.status == psutil.CONN_LISTEN), 0)


async def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until `condition()` holds; fails with `what` after so many seconds."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.02)
