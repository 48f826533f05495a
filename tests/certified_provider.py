"""Runs npm `oidc-provider`, a certified OpenID provider, as a process of its own.

Its version is pinned in tests/oidc_provider/package.json, and installed into pytest's cache once.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import pytest

from server import parent_death

SOURCE = Path(__file__).parent / "oidc_provider"
OLDEST_NODE = 20
INSTALL_SECONDS = 100
START_SECONDS = 30
_TIED = (sys.executable, parent_death.__file__)
"""Runs a command that ends with the test run, however that ends."""


def installed(cache: pytest.Cache) -> Path:
    """Return the folder that the provider runs in; skips the test where it cannot be had.

    With ROWLOCK_REQUIRE_OIDC that is a failure.
    """
    manifest = (SOURCE / "package.json").read_text()
    version = json.loads(manifest)["dependencies"]["oidc-provider"]
    folder = Path(cache.mkdir(f"oidc-provider-{version}"))
    shutil.copy(SOURCE / "package.json", folder)
    shutil.copy(SOURCE / "provider.mjs", folder)
    if problem := _missing() or _install(folder):
        _do_without(problem)
    return folder


def _missing() -> str | None:
    if not shutil.which("node") or not shutil.which("npm"):
        return "node and npm are not installed"
    version = subprocess.check_output(["node", "--version"], text=True).strip()
    if int(version.removeprefix("v").split(".")[0]) < OLDEST_NODE:
        return f"node {version} is too old: the provider needs {OLDEST_NODE}"
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
    if os.environ.get("ROWLOCK_REQUIRE_OIDC"):
        pytest.fail(f"ROWLOCK_REQUIRE_OIDC is set, and {problem}")
    pytest.skip(problem)


@contextmanager
def provider_running(
    folder: Path, client_id: str, client_secret: str, redirect_uri: str, algorithm: str = "RS256"
) -> Iterator[str]:
    """Run the provider with this one client; yields its issuer."""
    client = {
        "client_id": client_id,
        "client_secret": client_secret,
        "redirect_uri": redirect_uri,
        "algorithm": algorithm,
    }
    node = shutil.which("node") or ""
    process = subprocess.Popen(
        [*_TIED, str(os.getpid()), node, "provider.mjs", json.dumps(client)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    too_late = Timer(START_SECONDS, process.kill)
    too_late.start()
    try:
        assert process.stdout is not None
        issuer = process.stdout.readline().strip()
        too_late.cancel()
        assert issuer, "the provider did not start"
        yield issuer
    finally:
        too_late.cancel()
        process.kill()
        process.communicate()
