"""The people that the built-in OpenID provider knows: a few by name, and whoever says so."""

import hashlib
import re
from dataclasses import dataclass
from typing import Any

_INSTANT_DOMAIN = "@example.com"
_EMAIL = re.compile(r"[a-z0-9._%+-]{1,64}@[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63}){1,4}")
_MAX_NAME = 100


@dataclass(frozen=True, slots=True)
class Account:
    email: str
    name: str

    @property
    def claims(self) -> dict[str, Any]:
        """What ID tokens and the userinfo endpoint say about this person.

        `sub` follows from the address, so that it is the same in every process and after a restart.
        """
        return {
            "sub": hashlib.sha256(f"rowlock:{self.email}".encode()).hexdigest()[:24],
            "email": self.email,
            "email_verified": True,
            "name": self.name,
        }


ADMIN = Account("ada@example.com", "Ada")
DEMO_PEOPLE = (ADMIN, Account("bob@example.com", "Bob"), Account("eve@example.com", "Eve"))


def account_of(email: str, name: str = "") -> Account | None:
    """Return the account of an address, or None when it is not one."""
    email = email.strip().lower()
    if not _EMAIL.fullmatch(email):
        return None
    return Account(email, name.strip()[:_MAX_NAME] or email.partition("@")[0].title())


def hinted_account(hint: str) -> Account | None:
    """Return whom a login hint signs in at once: addresses of a domain that nobody can own."""
    return account_of(hint) if hint.strip().lower().endswith(_INSTANT_DOMAIN) else None
