"""The server processes that keep their data under a directory, as the system sees them."""

import time
from pathlib import Path

import psutil


def running_under(directory: Path) -> list[psutil.Process]:
    """Return those that run; one that has ended and is only not yet reaped does not count."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(f"{directory}/" in part for part in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def left_behind(directory: Path, seconds: float = 20) -> list[psutil.Process]:
    """Return those that still run after a fair time to leave."""
    give_up = time.monotonic() + seconds
    while (found := running_under(directory)) and time.monotonic() < give_up:
        time.sleep(0.02)
    return found
