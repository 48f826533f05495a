"""What surrounds the code: the example of a configuration, the image, the wheel, make."""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path
from threading import Thread

import pytest
from packaging.requirements import Requirement

from server import settings
from server.settings import Settings, SettingsError

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def example() -> dict[str, str]:
    """Return `.env.example` as the names and values it sets."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


class TestExample:
    def test_it_names_every_variable_and_says_what_each_is_for(self) -> None:
        assert set(example()) == {name.upper() for name in Settings.model_fields}
        lines = (ROOT / ".env.example").read_text().splitlines()
        told = False
        for line in lines:
            assert told or line.startswith("#") or not line
            told = bool(line)

    def test_its_values_are_the_defaults(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in example():
            monkeypatch.delenv(name, raising=False)
        defaults = Settings(_env_file=None)
        shown = Settings(_env_file=ROOT / ".env.example")
        assert shown.google_client_secret.get_secret_value() == "change-me"
        assert shown.model_copy(update={"google_client_secret": defaults.google_client_secret}) == (
            defaults
        )

    @pytest.mark.parametrize("environment", ["staging", "production"])
    @pytest.mark.parametrize(
        ("filled_in", "refused"),
        [
            ((), "MONGO_URI"),
            (("MONGO_URI", "REDIS_URL", "PUBLIC_URL"), "JWT_SECRET"),
            (
                ("MONGO_URI", "REDIS_URL", "PUBLIC_URL", "JWT_SECRET", "GOOGLE_CLIENT_ID"),
                "GOOGLE_CLIENT_SECRET",
            ),
        ],
    )
    def test_it_does_not_start_outside_development_until_it_is_filled_in(
        self,
        environment: str,
        filled_in: tuple[str, ...],
        refused: str,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        real = "https://q4Zf9sVbT1mXhK8r.Ce2wYd7uPj5nLg0a"
        for name, value in {**example(), **dict.fromkeys(filled_in, real)}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("APP_ENV", environment)
        with pytest.raises(SettingsError, match=f"^{refused}: "):
            settings.load()


class TestImage:
    def test_it_runs_as_nobody_in_particular(self) -> None:
        final = DOCKERFILE.rpartition("\nFROM ")[2]
        assert re.search(r"^USER ([1-9]\d*):([1-9]\d*)$", final, re.MULTILINE)
        assert 'ENTRYPOINT ["rowlock"]\nCMD ["serve"]' in final
        assert "EXPOSE 8000" in final

    def test_its_health_check_follows_the_answer_of_the_server(
        self, answering: Callable[[int], int]
    ) -> None:
        found = re.search(r"^HEALTHCHECK .* CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
        assert found
        command = [sys.executable, *json.loads(found[1])[1:]]
        for status, code in ((200, 0), (503, 1)):
            environment = {**os.environ, "PORT": str(answering(status))}
            done = subprocess.run(command, env=environment, capture_output=True, check=False)
            assert done.returncode == code

    @pytest.fixture
    def answering(self) -> Iterator[Callable[[int], int]]:
        """Start servers that give one status at `/health`: call it with that, it returns a port."""
        servers: list[HTTPServer] = []

        def start(status: int) -> int:
            class Handler(BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    self.send_response(status if self.path == "/health" else 404)
                    self.end_headers()

                def log_message(self, *arguments: object) -> None:
                    pass

            server = HTTPServer(("127.0.0.1", 0), Handler)
            servers.append(server)
            Thread(target=server.serve_forever, daemon=True).start()
            return server.server_port

        yield start
        for server in servers:
            server.shutdown()
            server.server_close()


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this tree, as an installation would lay it out."""
    place = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place / "unpacked")
    return place / "unpacked"


class TestWheel:
    def test_it_holds_every_file_of_the_server_and_the_page(self, unpacked: Path) -> None:
        def files(folder: Path) -> set[str]:
            return {
                str(path.relative_to(folder))
                for path in folder.rglob("*")
                if path.is_file() and "__pycache__" not in path.parts
            }

        page = {f"frontend/{name}" for name in files(ROOT / "frontend")}
        assert files(unpacked / "server") == files(ROOT / "server") | page

    def test_it_finds_its_own_page_and_scripts(self, unpacked: Path, tmp_path: Path) -> None:
        code = "import server.api.frontend as page; from server import lua; "
        code += "print(page.FOLDER, lua.names())"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONPATH": str(unpacked)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.startswith(f"{unpacked}/server/frontend ")
        assert "lock_seats" in done.stdout


class TestConstraints:
    def pins(self) -> dict[str, str]:
        lines = (ROOT / "constraints.txt").read_text().splitlines()
        return {
            _normal(name): pinned for name, _, pinned in (line.partition("==") for line in lines)
        }

    def test_each_line_is_one_exact_version(self) -> None:
        for line in (ROOT / "constraints.txt").read_text().splitlines():
            assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9._+!-]+", line)

    def test_each_requirement_is_pinned_to_a_version_that_it_allows(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        extras = project["optional-dependencies"].values()
        for text in (*project["dependencies"], *(text for extra in extras for text in extra)):
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate():
                assert self.pins()[_normal(requirement.name)] in requirement.specifier

    def test_what_runs_here_is_what_is_pinned(self) -> None:
        for name in ("starlette", "uvicorn", "redis", "motor", "pymongo", "pydantic", "authlib"):
            assert version(name) == self.pins()[name]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class TestMake:
    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        """A place with nothing installed."""
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            (tmp_path / name).write_bytes((ROOT / name).read_bytes())
        return tmp_path

    def test_it_lists_its_targets(self) -> None:
        out = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        declared = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert declared
        assert re.findall(r"^  make ([a-z]+) +\S", out, re.MULTILINE) == declared[1].split()

    @pytest.mark.parametrize(
        ("python", "line"),
        [
            ("", "Rowlock needs Python 3.11 or newer: install python3.11."),
            ("./old", "Rowlock needs Python 3.11 or newer, and ./old is older."),
            ("./bare", "./bare lacks the venv module: install python3-venv."),
        ],
    )
    def test_a_python_that_will_not_do_is_told_in_one_line(
        self, place: Path, python: str, line: str
    ) -> None:
        for name, script in {
            "old": "exit 1",
            "bare": 'case "$2" in *venv*) exit 1;; esac',
        }.items():
            (place / name).write_text(f"#!/bin/sh\n{script}\n")
            (place / name).chmod(0o755)
        done = subprocess.run(
            ["make", "--silent", "install", f"PYTHON={python}"],
            cwd=place,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
        told = [
            text for text in done.stderr.splitlines() if not re.match(r"make(\[\d+\])?: ", text)
        ]
        assert told == [line]
        assert not (place / ".venv").exists()
