"""Device marks: how a browser shows that an account was signed in to from it before.

Whoever guesses passwords has no such mark, so the tries of a marked browser are counted apart from
all others, and nobody can use up those of the owner (OWASP, "Slow Down Online Guessing Attacks
with Device Cookies"). A mark opens nothing, and is good for one mail address alone.
"""

import hmac
import re

from server.auth.opaque import SECRET, keyed_digest, new_secret

MARK_TTL = 180 * 86_400
"""Seconds for which a browser keeps its mark after a sign-in."""

_MARK = re.compile(rf"(?P<device>{SECRET.pattern})\.(?P<proof>{SECRET.pattern})")


class Devices:
    def __init__(self, key: bytes) -> None:
        """`key` is secret; who has it can make marks."""
        self._key = key

    def mark(self, email: str) -> str:
        """Return a mark for a browser that has just signed in to the account of `email`."""
        device = new_secret()
        return f"{device}.{self._proof(device, email)}"

    def known(self, mark: str, email: str) -> str | None:
        """Return the name of the device if `mark` is ours and for `email`."""
        match = _MARK.fullmatch(mark)
        if match is None or not hmac.compare_digest(
            match["proof"], self._proof(match["device"], email)
        ):
            return None
        return match["device"]

    def _proof(self, device: str, email: str) -> str:
        return keyed_digest(self._key, f"device:{device}:{email}")
