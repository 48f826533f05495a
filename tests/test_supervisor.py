"""`rowlock serve --workers N`: several processes on one port, kept running, ended together."""

import asyncio
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from server import supervisor
from server.repo import mongo
from server.supervisor import Supervisor
from tests.processes import REPOSITORY, SECRET, token_for, until
from tests.sale import hall, plan

pytestmark = pytest.mark.slow

SOCKETS = 200


class Together:
    """One `rowlock serve --workers 2`, as the system sees it."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log
        self.url = f"http://127.0.0.1:{port}"

    def children(self, command: str) -> list[psutil.Process]:
        """Return those that run `rowlock <command>`."""
        found = psutil.Process(self.process.pid).children()
        return [child for child in found if command in _cmdline(child)]


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


async def planned(mongo_uri: str) -> str:
    database = mongo.connect(mongo_uri)
    try:
        return await plan(database, hall(10))
    finally:
        await mongo.leave(database)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def together(directory: Path, valkey_url: str, mongo_uri: str) -> AsyncIterator[Together]:
    port, log = free_port(), directory / "serve.log"
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(REPOSITORY),
        "PORT": str(port),
        "REDIS_URL": valkey_url,
        "MONGO_URI": mongo_uri,
        "JWT_SECRET": SECRET,
        "RATE_LIMITS": "off",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "server", "serve", "--workers", "2"],
            cwd=directory,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    found = Together(process, port, log)
    try:
        await until(lambda: log.read_text().count("open at") == 2, 30, "both are open")
        yield found
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 30)


async def test_sockets_spread_evenly_and_both_processes_show_the_same_map(
    tmp_path: Path, valkey_url: str, mongo_uri: str
) -> None:
    showtime = await planned(mongo_uri)
    async with together(tmp_path, valkey_url, mongo_uri) as server:
        live = f"ws://127.0.0.1:{server.port}/api/showtimes/{showtime}/live"
        sockets = await asyncio.gather(*(connect(live) for _ in range(SOCKETS)))
        await asyncio.gather(*(one.recv() for one in sockets))
        shares = [_connections(child) for child in server.children("serve")]
        assert sum(shares) >= SOCKETS
        assert min(shares) > 0.3 * SOCKETS, shares  # even odds: fewer once in 10^8 runs
        for _ in range(8):  # whichever process answers
            assert await _watchers(server) == SOCKETS
        async with httpx.AsyncClient(base_url=server.url) as client:
            answer = await client.post(
                f"/api/showtimes/{showtime}/seats/lock",
                json={"seats": ["R1-1"]},
                headers={"Authorization": f"Bearer {token_for('usr_ann')}"},
            )
        assert answer.status_code == 200, answer.text
        told = await asyncio.gather(*(_news(one) for one in sockets))
        assert all('"seat.locked","seats":["R1-1"]' in frame for frame in told)

        server.process.terminate()
        codes = await asyncio.gather(*(_closed_with(one) for one in sockets))
        assert Counter(codes) == {1012: SOCKETS}
        assert await asyncio.to_thread(server.process.wait, 30) == 0


async def _news(socket: ClientConnection) -> str:
    """Return the next frame that is no heartbeat."""
    while '"type":"heartbeat"' in (frame := str(await socket.recv())):
        pass
    return frame


async def _watchers(server: Together) -> float:
    async with httpx.AsyncClient(base_url=server.url) as client:
        text = (await client.get("/metrics")).text
    (line,) = (line for line in text.splitlines() if line.startswith("rowlock_live_watchers "))
    return float(line.split()[1])


def _connections(process: psutil.Process) -> int:
    """Return how many connections of clients a server has."""
    sockets = process.net_connections("tcp")
    (port,) = {each.laddr.port for each in sockets if each.status == psutil.CONN_LISTEN}
    return sum(
        each.laddr.port == port and each.status == psutil.CONN_ESTABLISHED for each in sockets
    )


async def _closed_with(one) -> int:
    try:
        while True:
            await one.recv()
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 1006


async def test_who_dies_is_started_again_and_the_background_work_is_there_once(
    tmp_path: Path, valkey_url: str, mongo_uri: str
) -> None:
    showtime = await planned(mongo_uri)
    async with together(tmp_path, valkey_url, mongo_uri) as server:
        (worker,) = server.children("worker")
        live = f"ws://127.0.0.1:{server.port}/api/showtimes/{showtime}/live"
        sockets = await asyncio.gather(*(connect(live) for _ in range(20)))
        await asyncio.gather(*(one.recv() for one in sockets))
        assert await _watchers(server) == 20
        for victim in (server.children("serve")[0], worker):
            victim.kill()
            await until(
                lambda gone=victim: (
                    len(server.children("serve")) == 2
                    and len(server.children("worker")) == 1
                    and gone.pid not in psutil.pids()
                ),
                15,
                "another took its place",
            )
        assert f"({worker.pid}) has ended with -9" in server.log.read_text()
        left = 20 - sum(one.state is State.CLOSED for one in sockets)
        assert 0 < left < 20
        assert await _watchers(server) == left
        await asyncio.gather(*(one.close() for one in sockets))
        await until(lambda: server.log.read_text().count("open at") == 3, 15, "it is open")
        async with httpx.AsyncClient(base_url=server.url) as client:
            for _ in range(10):
                assert (await client.get("/health")).status_code == 200


async def test_the_port_is_theirs_alone_and_nobody_is_left_when_the_first_process_is_killed(
    tmp_path: Path, valkey_url: str, mongo_uri: str
) -> None:
    async with together(tmp_path, valkey_url, mongo_uri) as server:
        for arguments in (["serve", "--workers", "2"], ["serve"]):
            stores = {"REDIS_URL": valkey_url, "MONGO_URI": mongo_uri, "JWT_SECRET": SECRET}
            second = await asyncio.to_thread(rowlock, tmp_path, arguments, server.port, **stores)
            assert second.returncode == 1
            assert second.stderr == (
                f"rowlock: cannot listen on 127.0.0.1 port {server.port}: Address already in use\n"
            )
        children = server.children("serve") + server.children("worker")
        assert len(children) == 3
        server.process.kill()
        _, alive = await asyncio.to_thread(psutil.wait_procs, children, 20)
        assert alive == []


async def test_nobody_is_left_of_a_server_that_is_killed_while_it_starts(
    tmp_path: Path, valkey_url: str, mongo_uri: str
) -> None:
    """Its processes have not even read their own code by then."""
    with (tmp_path / "serve.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "server", "serve", "--workers", "2"],
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(REPOSITORY),
                "PORT": str(free_port()),
                "REDIS_URL": valkey_url,
                "MONGO_URI": mongo_uri,
                "JWT_SECRET": SECRET,
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    parent = psutil.Process(process.pid)
    await until(lambda: len(parent.children()) == 3, 30, "all are started")
    children = parent.children()
    process.kill()
    process.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, children, 10)
    assert alive == []


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_a_number_that_is_none_is_refused(tmp_path: Path, count: str) -> None:
    refused = rowlock(tmp_path, ["serve", "--workers", count], 0)
    assert refused.returncode == 2
    assert "--workers" in refused.stderr


def rowlock(
    directory: Path, arguments: list[str], port: int, **environment: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "server", *arguments],
        cwd=directory,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(REPOSITORY),
            "PORT": str(port),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )


async def test_a_process_that_cannot_be_started_is_tried_again_and_ends_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There may be no memory for it just now."""
    monkeypatch.setattr(supervisor, "_AGAIN_SECONDS", 0.01)
    tries = 0

    async def no_memory(*command: object, **options: object) -> None:
        nonlocal tries
        tries += 1
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", no_memory)
    running = asyncio.create_task(Supervisor([["serve"], ["worker"]], {}, lambda pid: None).run())
    async with asyncio.timeout(5):
        while tries < 10:
            await asyncio.sleep(0.01)
    assert not running.done()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
