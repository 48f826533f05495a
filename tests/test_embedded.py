"""Embedded servers: data stays, processes do not."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pymongo import MongoClient
from redis.asyncio import Redis

from server import binaries, child_server
from server.binaries import BinaryMissing, EmbeddedError
from server.child_server import address_in
from server.embedded import EmbeddedMongo, EmbeddedValkey
from server.repo.mongo import Collection, connect, leave
from tests.store_processes import left_behind, running_under

PARENT = """
import asyncio, sys
from pathlib import Path
from server.embedded import EmbeddedMongo, EmbeddedValkey

async def main(directory):
    async with EmbeddedValkey(directory / "valkey"), EmbeddedMongo(directory / "mongo"):
        print("up", flush=True)
        await asyncio.sleep(120)

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that runs both servers under `tmp_path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        yield process
        process.kill()


@pytest.fixture
async def foreign() -> AsyncIterator[subprocess.Popen[bytes]]:
    """A process that is none of ours."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


async def written_value(valkey: EmbeddedValkey) -> str | None:
    async with Redis.from_url(valkey.url, decode_responses=True) as client:
        return await client.get("seat")


async def write_value(valkey: EmbeddedValkey) -> None:
    async with Redis.from_url(valkey.url) as client:
        await client.set("seat", "A1")


@asynccontextmanager
async def rows_of(uri: str) -> AsyncIterator[Collection]:
    database = connect(uri)
    yield database["rows"]
    await leave(database)


async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def test_valkey_keeps_its_data_and_never_evicts(tmp_path: Path) -> None:
    async with EmbeddedValkey(tmp_path) as valkey:
        await write_value(valkey)
        async with Redis.from_url(valkey.url, decode_responses=True) as client:
            assert await client.config_get("maxmemory-policy", "append*") == {
                "maxmemory-policy": "noeviction",
                "appendonly": "yes",
                "appendfsync": "everysec",
                "appendfilename": "appendonly.aof",
                "appenddirname": "appendonlydir",
            }
    async with EmbeddedValkey(tmp_path) as valkey:
        assert await written_value(valkey) == "A1"


async def test_mongo_keeps_its_data_and_writes_by_majority_on_another_port(tmp_path: Path) -> None:
    async with EmbeddedMongo(tmp_path) as mongo:
        async with rows_of(mongo.uri) as rows:
            await rows.insert_one({"_id": "first"})
        port = mongo.port
    async with await asyncio.start_server(hang_up, "127.0.0.1", port), EmbeddedMongo(tmp_path) as m:
        assert m.port != port
        async with rows_of(m.uri) as rows:
            await rows.insert_one({"_id": "second"})
            assert await rows.distinct("_id") == ["first", "second"]
    assert running_under(tmp_path) == []


async def test_a_port_is_kept_from_run_to_run_while_it_is_free(tmp_path: Path) -> None:
    async with EmbeddedValkey(tmp_path) as valkey:
        port = valkey.port
    async with EmbeddedValkey(tmp_path) as valkey:
        assert valkey.port == port


async def test_servers_of_a_killed_parent_leave_and_the_next_start_finds_the_data(
    parent: subprocess.Popen[str], tmp_path: Path
) -> None:
    url, uri = address_in(tmp_path / "valkey"), address_in(tmp_path / "mongo")
    assert url
    assert uri
    async with Redis.from_url(url) as client:
        await client.set("seat", "A1")
    async with rows_of(uri) as rows:
        await rows.insert_one({"_id": "first"})
    orphans = running_under(tmp_path)
    parent.kill()
    async with EmbeddedValkey(tmp_path / "valkey") as valkey:
        assert await written_value(valkey) == "A1"
        async with EmbeddedMongo(tmp_path / "mongo") as mongo, rows_of(mongo.uri) as rows:
            assert await rows.distinct("_id") == ["first"]
            assert not {process.pid for process in orphans} & {
                process.pid for process in running_under(tmp_path)
            }


@pytest.mark.skipif(sys.platform != "linux", reason="the parent death signal is Linux's")
def test_servers_of_a_killed_parent_leave_without_a_next_start(
    parent: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert len(running_under(tmp_path / "valkey")) == len(running_under(tmp_path / "mongo")) == 1
    parent.kill()
    assert left_behind(tmp_path) == []


async def test_a_leftover_that_nobody_told_to_leave_is_ended_first(tmp_path: Path) -> None:
    """As on systems without a parent death signal."""
    left = EmbeddedValkey(tmp_path)
    (tmp_path / "data").mkdir()
    left.port = child_server._free_port()
    with subprocess.Popen(left.command(tmp_path / "data"), stdout=subprocess.DEVNULL) as process:
        try:
            while not await left.answers():
                await asyncio.sleep(0.01)
            await write_value(left)
            async with EmbeddedValkey(tmp_path) as valkey:
                assert process.poll() is not None
                assert await written_value(valkey) == "A1"
        finally:
            process.kill()


async def test_a_foreign_process_with_the_pid_of_a_leftover_is_left_alone(
    tmp_path: Path, foreign: subprocess.Popen[bytes]
) -> None:
    (tmp_path / "server.pid").write_text(str(foreign.pid))
    async with EmbeddedValkey(tmp_path):
        assert foreign.poll() is None


@pytest.mark.parametrize("rubbish", ["", "x", "-1", "0", "99999999999999999999"])
async def test_a_broken_pid_file_does_no_harm(tmp_path: Path, rubbish: str) -> None:
    (tmp_path / "server.pid").write_text(rubbish)
    async with EmbeddedValkey(tmp_path) as valkey:
        assert await valkey.answers()


async def test_ctrl_c_in_the_terminal_does_not_reach_a_server(tmp_path: Path) -> None:
    async with EmbeddedValkey(tmp_path):
        (server,) = running_under(tmp_path)
        assert os.getsid(server.pid) != os.getsid(0)
        assert os.getpgid(server.pid) != os.getpgid(0)


async def test_one_directory_is_for_one_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_server, "_LOCK_S", 0.1)
    async with EmbeddedValkey(tmp_path) as first:
        with pytest.raises(EmbeddedError, match="in use by another Rowlock"):
            await EmbeddedValkey(tmp_path).start()
        assert await first.answers()
        assert address_in(tmp_path) == first.url
    assert address_in(tmp_path) is None


async def test_the_address_of_a_killed_server_is_not_given_out(
    parent: subprocess.Popen[str], tmp_path: Path
) -> None:
    parent.kill()
    parent.wait()
    assert (tmp_path / "mongo" / "address").exists()
    assert address_in(tmp_path / "mongo") is None


@pytest.mark.parametrize("kind", [EmbeddedValkey, EmbeddedMongo])
async def test_a_port_lost_to_another_process_is_replaced(
    kind: type[EmbeddedValkey | EmbeddedMongo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken: int = other.getsockname()[1]
        ports = iter([taken, child_server._free_port()])
        monkeypatch.setattr(child_server, "_free_port", lambda wish=0: next(ports))
        async with kind(tmp_path) as server:
            assert server.port != taken


async def test_a_server_that_ends_at_once_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "data" / "appendonlydir").mkdir(parents=True)
    manifest = tmp_path / "data" / "appendonlydir" / "appendonly.aof.manifest"
    manifest.write_text("this is no manifest\n")
    with pytest.raises(EmbeddedError, match=r"Valkey ended as soon as it started; see .*\.log$"):
        await EmbeddedValkey(tmp_path).start()
    manifest.unlink()
    async with EmbeddedValkey(tmp_path):  # the directory was given back
        pass


async def test_a_server_that_will_not_leave_is_made_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_server, "_STOP_S", 0.2)
    valkey = EmbeddedValkey(tmp_path)
    await valkey.start()
    (server,) = running_under(tmp_path)
    server.send_signal(signal.SIGSTOP)
    await valkey.stop()
    assert not server.is_running()


async def test_an_interrupted_start_leaves_nothing_behind(tmp_path: Path) -> None:
    starting = asyncio.create_task(EmbeddedMongo(tmp_path).start())
    while not running_under(tmp_path):
        await asyncio.sleep(0.01)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert running_under(tmp_path) == []


async def test_a_mongod_that_is_not_primary_leaves_without_waiting_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_server, "_STOP_S", 8.0)  # it would wait for 15 s
    async with EmbeddedMongo(tmp_path) as mongo:
        with MongoClient(mongo.uri) as client:
            client.admin.command("replSetStepDown", 60, force=True)
    assert "Now exiting" in mongo.log_file.read_text()


async def test_a_directory_that_cannot_be_used_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedError, match=r"^cannot use .*/file/valkey: Not a directory$"):
        await EmbeddedValkey(tmp_path / "file" / "valkey").start()


class TestBinaries:
    @pytest.fixture
    def path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A PATH that holds only what a test puts there; no wheels."""
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(binaries, "find_spec", lambda name: None)
        return tmp_path

    def test_none_at_all_is_told_with_the_way_out(self, path: Path) -> None:
        with pytest.raises(BinaryMissing, match="REDIS_URL"):
            binaries.find_valkey()
        with pytest.raises(BinaryMissing, match="docker compose up"):
            binaries.find_mongod()

    def test_valkey_goes_before_redis(self, path: Path) -> None:
        redis = _program(path / "redis-server", "echo 'Redis server v=7.0.15 sha=0'")
        assert binaries.find_valkey() == redis
        valkey = _program(path / "valkey-server", "")
        assert binaries.find_valkey() == valkey

    def test_a_redis_older_than_7_does_not_count(self, path: Path) -> None:
        _program(path / "redis-server", "echo 'Redis server v=6.2.14 sha=0'")
        assert binaries.find_redis() is None
        with pytest.raises(BinaryMissing):
            binaries.find_valkey()

    def test_mongod_of_the_path_goes_before_the_wheel(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert binaries.find_mongod().parts[-3:] == ("db", "bin", "mongod")
        mongod = _program(tmp_path / "mongod", "")
        assert binaries.find_mongod() == mongod

    def test_a_wheel_that_lost_its_run_bit_is_made_runnable(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program = tmp_path / "wheel" / "db" / "bin" / "mongod"
        program.parent.mkdir(parents=True)
        _program(program, "").chmod(0o644)
        (tmp_path / "wheel" / "__init__.py").touch()
        monkeypatch.syspath_prepend(tmp_path)
        found = binaries._in_wheel("wheel", "db/bin/mongod")
        assert found == program
        assert subprocess.run([program], check=False).returncode == 0


def _program(path: Path, line: str) -> Path:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return path
