"""Is a secret one? What can be said of a text without knowing how it was made."""

import math
import re
from collections import Counter
from itertools import pairwise

_PLACEHOLDER = re.compile(
    r"change|placeholder|example|secret-here|your[-_]|\btodo\b|x{6}|replace|dummy|fixme|"
    r"^<.*>$|\{\{|\$\{",
    re.IGNORECASE,
)
_WORDS = re.compile(
    "password|passwd|passphrase|secret|rowlock|admin|administrator|letmein|welcome|default|"
    "production|staging|development|server|signing|private|public|token|access|refresh|cinema|"
    "booking|ticket|super|very|long|strong|secure|random|string|local|host|test|demo|jwt|key|"
    "qwertz|qwerty|asdf|zxcv|iloveyou|monkey|dragon|master|root|user|login|hello|world|"
    "please|this|that|with|must|should|have|characters|least|thirty|two|the|for|and|not|our|my"
)
_SIGNING_BITS = 80
"""Below the 115 or so that 32 random hexadecimal digits show, above what people make up."""

SIGNING_LENGTH = 32
_ISSUED_LENGTH = 8
_ISSUED_LETTERS = 5


def signing_weakness(secret: str) -> str:
    """Say what is wrong with a secret that an operator makes up, or ""; never quotes it."""
    if placeholder := placeholder_in(secret):
        return placeholder
    if len(secret) < SIGNING_LENGTH:
        return f"needs at least {SIGNING_LENGTH} characters"
    text = secret.lower()
    if _repeats(text):
        return "repeats itself; make one with `openssl rand -base64 48`"
    if _bits(_without_runs(_WORDS.sub("", text))) < _SIGNING_BITS:
        return "is too easy to guess; make one with `openssl rand -base64 48`"
    return ""


def issued_weakness(secret: str) -> str:
    """The same of a secret that somebody else has issued, whose form is theirs to choose."""
    if placeholder := placeholder_in(secret):
        return placeholder
    text = _WORDS.sub("", secret.lower())
    if len(secret) < _ISSUED_LENGTH or len(set(text)) < _ISSUED_LETTERS:
        return "is too easy to guess"
    return ""


def placeholder_in(secret: str) -> str:
    """The same, where all that can be told is that nobody has filled it in."""
    return "still holds a placeholder" if _PLACEHOLDER.search(secret) else ""


def _repeats(text: str) -> bool:
    """Say whether `text` is one piece over and over, the last time perhaps cut short."""
    pieces = (text[:size] for size in range(1, len(text) // 2 + 1))
    return any((piece * len(text)).startswith(text) for piece in pieces)


def _without_runs(text: str) -> str:
    """Drop what follows from the two characters before it: the rest of `aaaa`, `abcd`, `4321`."""
    codes = [ord(letter) for letter in text]
    steps = [0, 0, *(after - before for before, after in pairwise(codes))]
    return "".join(
        letter
        for place, letter in enumerate(text)
        if place < 2 or steps[place + 1] != steps[place] or abs(steps[place]) > 1
    )


def _bits(text: str) -> float:
    """Shannon's entropy of the characters, times their number."""
    counts, total = Counter(text), len(text)
    return sum(count * math.log2(total / count) for count in counts.values())
