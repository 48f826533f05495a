"""Device marks: how a browser shows that an account was signed in to from it before.

Whoever guesses passwords has no such mark, so the tries of a marked browser are counted apart from
all others, and nobody can use up those of the owner (OWASP, "Slow Down Online Guessing Attacks
with Device Cookies"). A mark opens nothing. It is good for one mail address, for as long as that
account has the password with which it was earned, and for half a year at most.
"""

import hmac
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from server.auth.opaque import SECRET, keyed_digest, new_secret
from server.models import to_ms

MARK_TTL = 180 * 86_400
"""Seconds for which a mark is good."""

_MARK = re.compile(
    rf"(?P<name>{SECRET.pattern})\.(?P<until>[0-9]{{1,12}})\.(?P<proof>{SECRET.pattern})"
)


@dataclass(frozen=True, slots=True)
class Device:
    name: str
    until: int
    """Unix seconds."""


class Devices:
    def __init__(self, key: bytes, clock: Callable[[], float] = time.time) -> None:
        """`key` is secret; who has it can make marks."""
        self._key = key
        self._clock = clock

    def mark(self, email: str, since: datetime, name: str = "") -> str:
        """Return a mark for a browser that has just signed in to the account of `email`, whose
        password was chosen at `since`; `name` is that of a browser which had one before."""
        device = Device(name or new_secret(), int(self._clock()) + MARK_TTL)
        return f"{device.name}.{device.until}.{self._proof(device, email, since)}"

    def known(self, mark: str, email: str, since: datetime | None) -> Device | None:
        """Return the device if `mark` is ours, for this account, and still good."""
        match = _MARK.fullmatch(mark)
        if match is None or since is None:
            return None
        device = Device(match["name"], int(match["until"]))
        if not hmac.compare_digest(match["proof"], self._proof(device, email, since)):
            return None
        return device if self._clock() < device.until else None

    def renewed(self, device: Device | None, mark: str, email: str, since: datetime) -> str:
        """Return what the browser keeps from now on: its mark, or another before that one ends."""
        if device and device.until - self._clock() > MARK_TTL / 2:
            return mark
        return self.mark(email, since, device.name if device else "")

    def _proof(self, device: Device, email: str, since: datetime) -> str:
        return keyed_digest(
            self._key, f"device:{device.name}:{device.until}:{to_ms(since)}:{email}"
        )
