"""How long to wait before the next attempt, when attempts fail."""

import random

_DOUBLINGS = 10
"""By then every limit is reached; the power itself must not outgrow a float in a long outage."""


def pause(failures: int, low: float, high: float) -> float:
    """Return seconds, jittered: from `low` up to what `failures` have earned, `high` at most."""
    return random.uniform(low, min(high, low * 2 ** min(failures, _DOUBLINGS)))  # noqa: S311
