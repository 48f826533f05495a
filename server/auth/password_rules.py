"""Which passwords are taken: long ones that nobody would guess, of any characters.

The yardsticks are ASVS 5.0, chapter V6.2, and NIST SP 800-63B: a length, no rules of composition,
no regular change, nothing from the lists of common passwords, nothing that is known of the owner.
"""

import unicodedata
from collections.abc import Callable, Container, Iterable
from functools import cache
from typing import NamedTuple

from server.errors import WeakPassword

MIN_LENGTH = 12
"""Characters. ASVS demands 8 and recommends 15; whatever is common in spite of its length is found
by MIN_GUESSES."""
MAX_LENGTH = 256

MIN_GUESSES = 10**6
"""How often an attacker who knows the lists must try: years, at the tries that sign-in allows."""

_ESTIMATED = 32
"""Characters that are looked at for it: what follows can only make it harder."""
_LOOKALIKES = str.maketrans("@{[<!|$+", "4(((1157")
"""Of the signs that zxcvbn takes for one letter, one each. It tries all combinations: with these
signs up to 2 seconds for a hostile text, without them 13 ms."""
_HOUSE = ("rowlock",)
_MIN_WORD = 3


def prepared(password: str) -> bytes:
    """Return the bytes to hash.

    As RFC 8265 (OpaqueString) has it: the same text gives the same bytes on every keyboard, and
    nothing else is changed or cut off. NFKC would fold characters that differ.
    """
    spaced = "".join(" " if unicodedata.category(each) == "Zs" else each for each in password)
    return unicodedata.normalize("NFC", spaced).encode(errors="surrogatepass")


def refuse_weak(password: str, personal: Iterable[str] = ()) -> None:
    """Raise WeakPassword, with the reason `too_short`, `common` or `personal`.

    Takes milliseconds; not for the event loop.
    """
    if len(password) < MIN_LENGTH:
        raise WeakPassword(f"A password has {MIN_LENGTH} characters or more.", "too_short")
    plain = unicodedata.normalize("NFKC", password)
    if _is_listed(plain) or _is_guessed(plain):
        raise WeakPassword("Many people use this password, or one like it.", "common")
    if _is_guessed(_without(plain.casefold(), personal)):
        raise WeakPassword("This password says little but who you are, or where.", "personal")


def _without(folded: str, personal: Iterable[str]) -> str:
    """Return what is left of a password when all that belongs to its owner is taken out."""
    known = {part for text in (*personal, *_HOUSE) for part in _words(text)}
    for word in sorted(known, key=len, reverse=True):
        folded = folded.replace(word, "")
    return folded


def _words(text: str) -> set[str]:
    """A text and the words in it, such as the parts of a mail address."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    parts = "".join(each if each.isalnum() else " " for each in folded).split()
    return {part for part in (folded, "".join(parts), *parts) if len(part) >= _MIN_WORD}


def _is_listed(text: str) -> bool:
    return text.casefold() in _lists().common


def _is_guessed(text: str) -> bool:
    looked_at = text.translate(_LOOKALIKES)[:_ESTIMATED]
    return not looked_at or _lists().guesses(looked_at) < MIN_GUESSES


class _Lists(NamedTuple):
    common: Container[str]
    guesses: Callable[[str], float]


@cache
def _lists() -> _Lists:
    """zxcvbn and its lists, of 30,000 passwords and of names and words, loaded at the first use:
    13 MB that a server does without as long as nobody registers."""
    from zxcvbn import zxcvbn
    from zxcvbn.matching import RANKED_DICTIONARIES

    return _Lists(RANKED_DICTIONARIES["passwords"], lambda text: zxcvbn(text)["guesses"])
