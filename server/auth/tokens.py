"""Access tokens: short-lived JWTs that carry who calls and with which role (RFC 9068).

HMAC with SHA-256, because the server that signs is the one that verifies. The algorithm is pinned,
whatever a token's header says (RFC 8725).
"""

import hashlib
import time
from collections.abc import Callable
from uuid import uuid4

import jwt
from cachetools import LRUCache

from server.errors import Unauthenticated
from server.models import Identity
from server.repo.users import User
from server.settings import Settings

AUDIENCE = "rowlock-api"
TYPE = "at+jwt"
_ALGORITHM = "HS256"
_CLAIMS = ["iss", "aud", "sub", "role", "iat", "nbf", "exp", "jti"]
_CLOCK_SKEW = 5
"""Seconds by which the clock of another server of ours may run ahead of this one's."""
_REMEMBERED = 16_384


class AccessTokens:
    """Mints and verifies. A token once verified is remembered until it expires."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._key = settings.jwt_secret.get_secret_value()
        self._key_id = hashlib.sha256(f"kid:{self._key}".encode()).hexdigest()[:8]
        self._issuer = settings.public_url.rstrip("/") or "rowlock"
        self._ttl = settings.jwt_ttl
        self._clock = clock
        self._verified: LRUCache[str, tuple[Identity, float]] = LRUCache(_REMEMBERED)

    def mint(self, user: User) -> tuple[str, int]:
        """Return a token for `user` and the seconds that it lives."""
        now = int(self._clock())
        claims = {
            "iss": self._issuer,
            "aud": AUDIENCE,
            "sub": user.id,
            "role": user.role,
            "iat": now,
            "nbf": now,
            "exp": now + self._ttl,
            "jti": uuid4().hex,
        }
        header = {"typ": TYPE, "kid": self._key_id}
        return jwt.encode(claims, self._key, _ALGORITHM, header), self._ttl

    def verify(self, token: str) -> Identity:
        """Return who `token` speaks for; raises Unauthenticated."""
        known = self._verified.get(token)
        if known is None:
            known = self._verified[token] = self._decode(token)
        identity, expires_at = known
        if expires_at <= self._clock():
            raise Unauthenticated("The access token has expired.")
        return identity

    def _decode(self, token: str) -> tuple[Identity, float]:
        try:
            decoded = jwt.decode_complete(
                token,
                self._key,
                algorithms=[_ALGORITHM],
                audience=AUDIENCE,
                issuer=self._issuer,
                leeway=_CLOCK_SKEW,
                options={"require": _CLAIMS, "strict_aud": True},
            )
        except (jwt.PyJWTError, ValueError):
            raise Unauthenticated("The access token is not valid.") from None
        header, claims = decoded["header"], decoded["payload"]
        known_key = header.get("kid") == self._key_id
        if not known_key or header.get("typ") != TYPE or claims["role"] not in ("USER", "ADMIN"):
            raise Unauthenticated("The access token is not valid.")
        return Identity(claims["sub"], claims["role"]), float(claims["exp"])
