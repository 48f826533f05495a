"""What the crowd has seen and done: counted, told once a second, and summed up at the end."""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial

_FINE = 40
"""Steps per e-fold: a figure is within 1.3 % of what was measured."""


class Spread:
    """How long things took, in ms. However many they are, it stays small."""

    def __init__(self) -> None:
        self._steps: Counter[int] = Counter()

    def add(self, ms: float) -> None:
        self._steps[round(math.log(max(ms, 0.01)) * _FINE)] += 1

    def take(self, other: "Spread") -> None:
        self._steps += other._steps

    def at(self, share: float) -> float:
        """Return what `share` of them did not exceed; NaN when there is none."""
        left = share * self._steps.total()
        for step in sorted(self._steps):
            left -= self._steps[step]
            if left <= 0:
                return math.exp(step / _FINE)
        return math.nan

    def __str__(self) -> str:
        """The median and the 99th percentile."""
        return f"{_short(self.at(0.5))}/{_short(self.at(0.99))} ms" if self._steps else "-"


class Figures:
    """Counts by name: `frames`, `changes`, `reconnects`, `gaps`, `locked`, `refused`, and so on.

    `refused` are locks, `turned away` are watchers.
    """

    def __init__(self, watchers: int, timer: Callable[[], float] = time.monotonic) -> None:
        self.counts: Counter[str] = Counter()
        self.connected = 0
        self.lag, self._lag_before = Spread(), Spread()
        self.calls: defaultdict[str, Spread] = defaultdict(Spread)
        self._watchers = watchers
        self._timer = timer
        self._began = self._told_at = timer()
        self._told: Counter[str] = Counter()
        self._furthest = ("", 0)

    def reached(self, epoch: str, seq: int) -> None:
        """A watcher has come so far. Each change counts once, however many see it."""
        known, furthest = self._furthest
        if epoch != known:
            self._furthest = (epoch, seq)
        elif seq > furthest:
            self.counts["changes"] += seq - furthest
            self._furthest = (epoch, seq)

    def line(self) -> str:
        """Return what happened since the last line, rates per second."""
        now, counts = self._timer(), self.counts
        passed = max(now - self._told_at, 0.001)
        rate = partial(_rate, counts - self._told, passed)
        text = (
            f"{now - self._began:4.0f} s  {self.connected}/{self._watchers} watching"
            f"  changes {rate('changes')}/s  frames {rate('frames')}/s  lag {self.lag}"
            f"  locks {rate('locked')}/s, {rate('refused')}/s refused, {self.calls['lock']}"
            f"  booked {counts['booked']}"
            f"  reconnects {counts['reconnects']}  gaps {counts['gaps']}"
        )
        self._told_at, self._told = now, counts.copy()
        self._lag_before.take(self.lag)
        self.lag = Spread()
        return text

    def summary(self) -> str:
        """Return all of it, a few lines."""
        counts = self.counts
        self._lag_before.take(self.lag)
        lines = [
            f"{self._told_at - self._began:.0f} s",
            f"map       {_listed(counts, 'changes', 'frames', 'reconnects', 'gaps')}"
            f"; lag {self._lag_before}",
            f"locks     {_listed(counts, 'locked', 'refused', 'extended', 'released', 'left')}",
            f"bookings  {_listed(counts, 'booked', 'declined', 'unsettled', 'cancelled')}",
            f"trouble   {_listed(counts, 'limited', 'turned away', 'unanswered', 'odd')}",
            "median and 99th percentile of each call:",
        ]
        lines += [f"{name:9} {spread}" for name, spread in sorted(self.calls.items())]
        return "\n".join(f"  {line}" for line in lines)


def _rate(counts: Counter[str], seconds: float, name: str) -> str:
    per_second = counts[name] / seconds
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.1f}"


def _listed(counts: Counter[str], *names: str) -> str:
    return ", ".join(f"{counts[name]:,} {name}" for name in names)


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"
