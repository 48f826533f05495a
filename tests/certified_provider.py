"""Runs npm `oidc-provider`, a certified OpenID provider, as a process of its own.

Its version is pinned in tests/oidc_provider/package.json.
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

from server import parent_death

SOURCE = Path(__file__).parent / "oidc_provider"
START_SECONDS = 30
_TIED = (sys.executable, parent_death.__file__)
"""Runs a command that ends with the test run, however that ends."""


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
