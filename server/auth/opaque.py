"""Opaque secrets: 256 random bits for whoever carries them, and only their hash in the store.

A reader of the database can therefore use none of them. A plain SHA-256 is enough, because there
is nothing to guess in 256 random bits.
"""

import hashlib
import re
import secrets

SECRET = re.compile(r"[A-Za-z0-9_-]{43}")


def new_secret() -> str:
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """Return the form in which a secret is stored and looked up."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
