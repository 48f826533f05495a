"""What runs here, and since when."""

import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from server.models import to_ms


@dataclass(frozen=True, slots=True)
class Build:
    version: str
    python: str
    started_at: datetime

    @property
    def uptime_ms(self) -> int:
        return to_ms(datetime.now(UTC)) - to_ms(self.started_at)


def build_now() -> Build:
    """Return what runs, and that it has just started."""
    try:
        ours = version("rowlock")
    except PackageNotFoundError:  # run from a folder, never installed
        ours = "unknown"
    return Build(ours, platform.python_version(), datetime.now(UTC))
