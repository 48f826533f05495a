"""Opaque secrets: 256 random bits for whoever carries them, and only their hash in the store.

A reader of the database can therefore use none of them. A plain SHA-256 is enough, because there
is nothing to guess in 256 random bits.
"""

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode

SECRET = re.compile(r"[A-Za-z0-9_-]{43}")


def new_secret() -> str:
    return secrets.token_urlsafe(32)


def keyed_digest(key: bytes, secret: str) -> str:
    """Return another secret that follows from `secret`, for those alone who have `key`."""
    hashed = hmac.digest(key, secret.encode(errors="surrogatepass"), "sha256")
    return urlsafe_b64encode(hashed).rstrip(b"=").decode()


def digest(secret: str) -> str:
    """Return the form in which a secret is stored and looked up."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
