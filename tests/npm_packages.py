"""Packages of npm that Rowlock is held against: pinned in a folder's package.json, installed once,
into pytest's cache."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

OLDEST_NODE = 20
INSTALL_SECONDS = 100


def installed(cache: pytest.Cache, source: Path) -> Path:
    """Return a folder with the files of `source` and what its package.json asks for; skips the test
    where it cannot be had. With ROWLOCK_REQUIRE_NPM that is a failure.
    """
    ((name, version),) = json.loads((source / "package.json").read_text())["dependencies"].items()
    folder = Path(cache.mkdir(f"{name.replace('/', '-')}-{version}"))
    for file in source.iterdir():
        shutil.copy(file, folder)
    if problem := _missing() or _install(folder):
        _do_without(problem)
    return folder


def _missing() -> str | None:
    if not shutil.which("node") or not shutil.which("npm"):
        return "node and npm are not installed"
    version = subprocess.check_output(["node", "--version"], text=True).strip()
    if int(version.removeprefix("v").split(".")[0]) < OLDEST_NODE:
        return f"node {version} is too old: it takes {OLDEST_NODE}"
    return None


def _install(folder: Path) -> str | None:
    """Install into `folder`, unless that was done before; returns what is in the way."""
    if (folder / "installed").exists():
        return None
    quiet = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
    try:
        done = subprocess.run(
            ["npm", "install", *quiet],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return "npm install takes too long"
    if done.returncode:
        return f"npm install failed: {done.stderr[-500:]}"
    (folder / "installed").touch()
    return None


def _do_without(problem: str) -> None:
    if os.environ.get("ROWLOCK_REQUIRE_NPM"):
        pytest.fail(f"ROWLOCK_REQUIRE_NPM is set, and {problem}")
    pytest.skip(problem)
