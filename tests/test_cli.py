"""The `rowlock` command, as a person or a process manager runs it."""

import asyncio
import gc
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from server import binaries, cli
from server.child_server import address_in
from server.models import new_id
from server.repo import mongo
from server.serving import bind
from server.settings import Settings
from tests.store_processes import left_behind, running_under

Rowlock = Callable[..., subprocess.Popen[str]]

PRODUCTION = {
    "APP_ENV": "production",
    "PUBLIC_URL": "https://rowlock.test",
    "JWT_SECRET": "q4Zf9sVbT1mXhK8rCe2wYd7uPj5nLg0a",
    "GOOGLE_CLIENT_ID": "client",
    "GOOGLE_CLIENT_SECRET": "8b1f0c52d7",
}
NOWHERE = {"REDIS_URL": "redis://127.0.0.1:1", "MONGO_URI": "mongodb://127.0.0.1:1"}


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@pytest.fixture
def rowlock(tmp_path: Path, port: int) -> Iterator[Rowlock]:
    """Start the command in an empty directory with nothing but PORT and what a test sets."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "server", *arguments],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PORT": str(port), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with process:
            process.kill()
    assert left_behind(tmp_path) == []


def wait_until_open(process: subprocess.Popen[str], port: int) -> None:
    """Wait until the server that `process` runs says that it is well."""
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        assert process.poll() is None, process.communicate()
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", timeout=30).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.02)
    raise AssertionError("the server did not open")


def refused(process: subprocess.Popen[str]) -> str:
    """Return the one line with which the command gave up."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, (out, err)
    assert out == ""
    assert err.startswith("rowlock: ")
    assert err.count("\n") == 1
    return err.strip()


def people(directory: Path) -> Any:
    """Return the collection `users` of the embedded MongoDB that runs under `directory`."""
    uri = address_in(directory / ".rowlock" / "mongo")
    assert uri
    return MongoClient(uri).get_database()["users"]


def add_person(directory: Path, email: str) -> None:
    rows = people(directory)
    rows.insert_one(a_person(email))
    rows.database.client.close()


def a_person(email: str, **changes: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    row = {"_id": email, "email": email, "email_verified": True, "name": "", "role": "USER"}
    row |= {"provider": "test", "sub": email, "created_at": now, "signed_in_at": now}
    return row | changes


def granted_role_in_audit_log(directory: Path, email: str) -> str:
    """Return the actor of the entry that says so, which the running server has yet to copy."""
    rows = people(directory)
    where = {"action": "admin.role_changed", "target.user_id": email, "detail.after": "ADMIN"}
    deadline = time.monotonic() + 10
    while not (entry := rows.database["audit_logs"].find_one(where)):
        assert time.monotonic() < deadline, "the audit log does not know of it"
        time.sleep(0.05)
    rows.database.client.close()
    return str(entry["actor"])


def person(directory: Path, email: str) -> Any:
    rows = people(directory)
    row = rows.find_one({"_id": email})
    rows.database.client.close()
    return row


@pytest.mark.slow
class TestDev:
    def test_it_opens_with_a_catalogue_tells_where_and_leaves_on_ctrl_c(
        self, rowlock: Rowlock, port: int, tmp_path: Path
    ) -> None:
        process = rowlock("dev")
        wait_until_open(process, port)
        shown = httpx.get(f"http://127.0.0.1:{port}/api/showtimes").json()["items"]
        assert shown
        assert len(running_under(tmp_path)) == 2
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole group
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        assert f"http://localhost:{port}\n" in out
        for mail in ("ada@example.com   (ADMIN)", "bob@example.com", "eve@example.com"):
            assert mail in out
        assert "Traceback" not in err
        assert running_under(tmp_path) == []

    def test_data_is_kept_from_run_to_run(
        self, rowlock: Rowlock, port: int, tmp_path: Path
    ) -> None:
        first = rowlock("dev")
        wait_until_open(first, port)
        add_person(tmp_path, "ada@example.com")
        first.terminate()
        assert first.wait(timeout=30) == 0
        second = rowlock("dev")
        wait_until_open(second, port)
        assert person(tmp_path, "ada@example.com")

    def test_after_a_kill_the_next_run_starts_at_once_and_finds_everything(
        self, rowlock: Rowlock, port: int, tmp_path: Path
    ) -> None:
        first = rowlock("dev")
        wait_until_open(first, port)
        add_person(tmp_path, "ada@example.com")
        orphans = {process.pid for process in running_under(tmp_path)}
        first.kill()
        second = rowlock("dev")
        wait_until_open(second, port)
        assert person(tmp_path, "ada@example.com")
        running = {process.pid for process in running_under(tmp_path)}
        assert len(running) == 2
        assert not orphans & running

    @pytest.mark.skipif(sys.platform != "linux", reason="the parent death signal is Linux's")
    def test_as_a_child_of_make_it_leaves_when_make_is_killed(
        self, rowlock: Rowlock, port: int, tmp_path: Path
    ) -> None:
        (tmp_path / "Makefile").write_text(
            f"run:\n\t@{sys.executable} -m server dev --with-parent\n"
        )
        make = subprocess.Popen(
            ["make", "run"],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PORT": str(port)},
            stdout=subprocess.PIPE,
            text=True,
        )
        with make:
            wait_until_open(make, port)
            make.kill()
        assert left_behind(tmp_path) == []
        wait_until_open(rowlock("dev"), port)

    def test_ctrl_c_while_it_starts_leaves_nothing_behind(
        self, rowlock: Rowlock, tmp_path: Path
    ) -> None:
        process = rowlock("dev")
        while not running_under(tmp_path):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (0, "", "")
        assert running_under(tmp_path) == []

    def test_a_data_directory_is_for_one_at_a_time(
        self, rowlock: Rowlock, port: int, tmp_path: Path
    ) -> None:
        first = rowlock("dev")
        wait_until_open(first, port)
        line = refused(rowlock("dev", PORT="0"))
        assert line == f"rowlock: {tmp_path}/.rowlock/valkey is in use by another Rowlock"
        wait_until_open(first, port)

    def test_given_addresses_are_used_instead_of_embedded_servers(
        self, rowlock: Rowlock, port: int, tmp_path: Path, valkey_url: str, database: Any
    ) -> None:
        host, db = database.client.address, database.name
        uri = f"mongodb://{host[0]}:{host[1]}/{db}?replicaSet=rs0"
        process = rowlock("dev", REDIS_URL=valkey_url, MONGO_URI=uri)
        wait_until_open(process, port)
        assert httpx.get(f"http://127.0.0.1:{port}/api/showtimes").json()["items"]
        assert running_under(tmp_path) == []
        assert os.listdir(tmp_path / ".rowlock") == ["jwt_secret"]


@pytest.mark.slow
class TestServe:
    def test_in_production_it_logs_json_with_the_request_id(
        self, rowlock: Rowlock, port: int, valkey_url: str, mongo_uri: str
    ) -> None:
        process = rowlock("serve", **PRODUCTION, REDIS_URL=valkey_url, MONGO_URI=mongo_uri)
        wait_until_open(process, port)
        headers = {"X-Request-ID": "from-the-caller"}
        assert httpx.get(f"http://127.0.0.1:{port}/health", headers=headers).status_code == 200
        process.terminate()
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0
        assert out == ""
        lines = [json.loads(line) for line in err.splitlines()]
        assert {"from-the-caller"} <= {line.get("request_id") for line in lines}
        assert PRODUCTION["JWT_SECRET"] not in err

    def test_in_development_it_runs_its_own_stores_and_no_demo(
        self, rowlock: Rowlock, port: int, tmp_path: Path
    ) -> None:
        process = rowlock("serve")
        wait_until_open(process, port)
        assert len(running_under(tmp_path)) == 2
        assert httpx.get(f"http://127.0.0.1:{port}/api/showtimes").json()["items"] == []

    def test_a_worker_works_until_it_is_told_to_stop(
        self, rowlock: Rowlock, valkey_url: str, mongo_uri: str
    ) -> None:
        process = rowlock("worker", REDIS_URL=valkey_url, MONGO_URI=mongo_uri)
        assert process.stderr
        assert "background work started" in process.stderr.readline()
        process.terminate()
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.slow
class TestSingleSteps:
    def test_seed_and_indexes_can_be_repeated(
        self, rowlock: Rowlock, valkey_url: str, mongo_uri: str
    ) -> None:
        stores = {"REDIS_URL": valkey_url, "MONGO_URI": mongo_uri}
        for step in ("indexes", "seed", "seed"):
            process = rowlock(step, **stores)
            out, err = process.communicate(timeout=60)
            assert (process.returncode, err) == (0, "")
            assert out.endswith("in place.\n")
        with MongoClient(mongo_uri) as client:
            stored = client.get_database()
            assert stored["showtimes"].count_documents({}) > 0
            assert "claims_guard" in stored["bookings"].index_information()
            client.drop_database(stored.name)

    def test_grant_admin_works_beside_a_running_server(
        self, rowlock: Rowlock, port: int, tmp_path: Path
    ) -> None:
        wait_until_open(rowlock("dev"), port)
        add_person(tmp_path, "bob@example.com")
        process = rowlock("grant-admin", "bob@example.com")
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        assert out == "bob@example.com is ADMIN from the next token on.\n"
        assert person(tmp_path, "bob@example.com")["role"] == "ADMIN"
        assert granted_role_in_audit_log(tmp_path, "bob@example.com") == "system"

    def test_grant_admin_of_nobody_is_refused(
        self, rowlock: Rowlock, valkey_url: str, mongo_uri: str
    ) -> None:
        process = rowlock("grant-admin", "x@y.z", REDIS_URL=valkey_url, MONGO_URI=mongo_uri)
        assert refused(process) == "rowlock: nobody has signed in as x@y.z yet"

    @pytest.mark.parametrize(
        ("state", "line"),
        [
            (
                {"email_verified": False},
                "rowlock: nobody has proven to own EMAIL: it takes a provider's verified address",
            ),
            (
                {"blocked": True},
                "rowlock: EMAIL is blocked: another administrator has to let them in first",
            ),
        ],
        ids=["unverified", "blocked"],
    )
    def test_grant_admin_of_who_cannot_use_it_says_why(
        self, rowlock: Rowlock, valkey_url: str, mongo_uri: str, state: dict[str, bool], line: str
    ) -> None:
        email = f"{new_id('x')}@example.com"
        with MongoClient(mongo_uri) as client:
            users = client.get_database("rowlock")["users"]
            users.insert_one(a_person(email, **state))
            process = rowlock("grant-admin", email, REDIS_URL=valkey_url, MONGO_URI=mongo_uri)
            assert refused(process) == line.replace("EMAIL", email)
            row = users.find_one({"_id": email})
        assert row is not None
        assert row["role"] == "USER"


class TestRefusals:
    """One clear line for what a person can put right; these run in the process of the test."""

    @pytest.fixture(autouse=True)
    def kept_logging(self) -> Iterator[None]:
        loggers = [logging.getLogger(name) for name in (None, "rowlock", "authlib", "pymongo")]
        before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
        yield
        for logger, level, handlers in before:
            logger.setLevel(level)
            logger.handlers = handlers

    @pytest.fixture
    def line_of(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> Callable[..., str]:
        """Run a command that is to give up; return what it said."""
        monkeypatch.chdir(tmp_path)
        for name in Settings.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)

        def line_of(command: str, **environment: str) -> str:
            for name, value in {"PORT": "0", **environment}.items():
                monkeypatch.setenv(name, value)
            assert cli.main([command]) == 1
            out, err = capsys.readouterr()
            assert out == ""
            assert err.startswith("rowlock: ")
            assert err.count("\n") == 1
            return err.strip()

        return line_of

    @pytest.mark.parametrize("command", ["dev", "serve"])
    def test_a_taken_port_before_any_store_is_started(
        self, line_of: Callable[..., str], tmp_path: Path, command: str
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            line = line_of(command, PORT=str(port))
        assert line == f"rowlock: cannot listen on 127.0.0.1 port {port}: Address already in use"
        assert os.listdir(tmp_path / ".rowlock") == ["jwt_secret"]

    @pytest.mark.parametrize(
        ("name", "environment"),
        [
            ("PORT: ", {"PORT": "http"}),
            ("APP_ENV: ", {"APP_ENV": "prod"}),
            ("MONGO_URI: ", {"APP_ENV": "production"}),
            ("JWT_SECRET: ", {**PRODUCTION, **NOWHERE, "JWT_SECRET": "change-me" * 8}),
            ("APP_ENV: ", {**PRODUCTION, **NOWHERE}),
            ("DATA_DIR: ", {"DATA_DIR": "/dev/null/x"}),
            ("cannot listen on nowhere.invalid", {"HOST": "nowhere.invalid"}),
            ("REDIS_URL: ", {**NOWHERE, "REDIS_URL": "127.0.0.1:6379"}),
            ("REDIS_URL: ", {**NOWHERE, "REDIS_URL": "redis://:hush#1@127.0.0.1:1"}),
            ("REDIS_URL: ", {**NOWHERE, "REDIS_URL": "redis://:hush@127.0.0.1:1"}),
        ],
    )
    def test_what_cannot_be_used_is_named(
        self, line_of: Callable[..., str], name: str, environment: dict[str, str]
    ) -> None:
        line = line_of("dev", **environment)
        assert line.startswith(f"rowlock: {name}")
        assert "hush" not in line

    @pytest.fixture
    def on_loopback(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever HOST says, no test is to be reached from elsewhere."""
        monkeypatch.setattr(cli, "bind", lambda _, port, **how: bind("127.0.0.1", port, **how))

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "rowlock.test"])
    def test_no_server_lets_the_network_sign_in_as_whoever_it_likes(
        self, line_of: Callable[..., str], tmp_path: Path, host: str
    ) -> None:
        line = line_of("serve", HOST=host, **NOWHERE)
        assert line.startswith("rowlock: APP_ENV: ")
        assert f"HOST is {host}" in line
        assert os.listdir(tmp_path / ".rowlock") == ["jwt_secret"]

    @pytest.mark.parametrize(
        "environment",
        [
            {"HOST": "localhost"},
            {"HOST": "127.0.0.1"},
            {"HOST": "0.0.0.0", "GOOGLE_CLIENT_ID": "client"},
            {"HOST": "0.0.0.0", **PRODUCTION},
        ],
        ids=["by name", "by address", "a provider elsewhere", "production"],
    )
    def test_a_server_that_does_not_goes_on_to_its_stores(
        self, line_of: Callable[..., str], on_loopback: None, environment: dict[str, str]
    ) -> None:
        assert line_of("serve", **NOWHERE, **environment).startswith("rowlock: REDIS_URL: ")

    def test_the_demo_may_for_the_sake_of_containers_and_says_so(
        self,
        on_loopback: None,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        for name, value in {**NOWHERE, "HOST": "0.0.0.0", "PORT": "0"}.items():
            monkeypatch.setenv(name, value)
        assert cli.main(["dev"]) == 1
        warning, refusal = capsys.readouterr().err.splitlines()
        assert warning.endswith("HOST: whoever reaches 0.0.0.0 may sign in as ADMIN")
        assert refusal.startswith("rowlock: REDIS_URL: ")

    @pytest.mark.parametrize("uri", ["127.0.0.1", "mongodb://u:hush@127.0.0.1:1/rowlock"])
    def test_a_mongodb_that_cannot_be_reached_is_named(
        self,
        line_of: Callable[..., str],
        valkey_url: str,
        uri: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(mongo, "_TIMEOUT_MS", 300)
        line = line_of("serve", REDIS_URL=valkey_url, MONGO_URI=uri)
        assert line.startswith("rowlock: MONGO_URI: ")
        assert "hush" not in line

    def test_a_missing_server_is_told_with_the_way_out(
        self, line_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(binaries, "find_spec", lambda name: None)
        assert "docker compose up" in line_of("dev", PATH="")

    def test_without_the_embedded_extra_the_way_out_is_told(
        self, line_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("psutil", "server.child_server", "server.embedded"):
            monkeypatch.setitem(sys.modules, name, None)
        assert "pip install 'rowlock[embedded]'" in line_of("seed")

    def test_a_step_that_is_interrupted_does_not_report_success(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def interrupted(database: object) -> None:
            signal.raise_signal(signal.SIGTERM)
            await asyncio.sleep(30)

        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(cli.demo, "seed", interrupted)
        assert cli.main(["seed"]) == cli.STOPPED


def test_what_the_start_has_made_is_out_of_every_later_collection() -> None:
    try:
        cli._opened(Settings(_env_file=None))  # type: ignore[call-arg]
        assert gc.get_freeze_count() > 10_000
    finally:
        gc.unfreeze()
