"""Whom the claims of a provider name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.auth.refusals import SignInFailed

_MAX_NAME = 100
_MAX_EMAIL = 320


@dataclass(frozen=True, slots=True)
class Person:
    """Who signed in, in the provider's words. (`provider`, `sub`) is the identity."""

    provider: str
    sub: str
    email: str
    email_verified: bool
    name: str


def person_of(claims: Mapping[str, Any]) -> Person:
    """Return the person; raises SignInFailed when the claims leave open who it is."""
    sub, email = claims["sub"], _line(claims.get("email"))
    if not sub or not 3 <= len(email) <= _MAX_EMAIL or "@" not in email:
        raise SignInFailed("identity_invalid")
    return Person(
        provider=claims["iss"],
        sub=sub,
        email=email,
        email_verified=claims.get("email_verified") is True and _is_plain(email, claims["email"]),
        name=_line(claims.get("name"))[:_MAX_NAME] or email.partition("@")[0],
    )


def _is_plain(email: str, told: object) -> bool:
    """Say whether it is the very address that the provider vouches for, and stays so in lower case.

    An invisible character that was left out, or the sign for kelvin, whose lower case is a "k",
    would make the proven address of one person look like that of another.
    """
    return email == told and not any(
        character.lower()[0].isascii() for character in email if not character.isascii()
    )


def _line(value: object) -> str:
    """Return a claim as one line of visible text."""
    words = value.split() if isinstance(value, str) else []
    return "".join(character for character in " ".join(words) if character.isprintable())
