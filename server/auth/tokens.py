"""Access tokens: short-lived JWTs that carry who calls and with which role (RFC 9068).

A token is accepted in the one form in which it is minted. Its header is compared, never read: there
is one for each key of the ring, and whatever else a header could say (another algorithm, a key of
its own, an address of one) belongs to no key (RFC 8725).
"""

import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated, Any
from uuid import uuid4

import jwt
from pydantic import Field, ValidationError

from server.auth.keys import Key, KeyRing
from server.errors import Unauthenticated
from server.models import Id, Identity, Model, Role
from server.repo.users import User
from server.settings import Settings

AUDIENCE = "rowlock-api"
TYPE = "at+jwt"
_CLOCK_SKEW = 5
"""Seconds by which the clock of another server of ours may run ahead of this one's."""
_LONGEST_LIFE = 86_400
"""Seconds; the most that JWT_TTL may say."""
_LONGEST = 4096
"""Characters."""
_REMEMBERED = 16_384

_INVALID = "The access token is not valid."

Seconds = Annotated[int, Field(ge=0, lt=2**53)]


class _Claims(Model):
    iss: str
    aud: str
    sub: Id
    role: Role
    sid: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{0,64}$")]
    iat: Seconds
    nbf: Seconds
    exp: Seconds
    jti: Id


class AccessTokens:
    """Mints and verifies. A token once verified is remembered until it expires."""

    def __init__(
        self,
        settings: Settings,
        keys: KeyRing | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        keys = keys or KeyRing.from_settings(settings)
        self._ring = keys
        self._keys = {_header_of(key): key for key in keys}
        self._issuer = settings.public_url.rstrip("/") or "rowlock"
        self._ttl = settings.jwt_ttl
        self._clock = clock
        self._jws = jwt.PyJWS(list({key.algorithm for key in keys}))
        self._verified: OrderedDict[str, tuple[Identity, int]] = OrderedDict()

    def mint(self, user: User, session_id: str = "") -> tuple[str, int]:
        """Return a token for `user` and the seconds that it lives."""
        now = int(self._clock())
        claims = {
            "iss": self._issuer,
            "aud": AUDIENCE,
            "sub": user.id,
            "role": user.role,
            "sid": session_id,
            "iat": now,
            "nbf": now,
            "exp": now + self._ttl,
            "jti": uuid4().hex,
        }
        key = self._ring.current
        header = {"typ": TYPE, "kid": key.id}
        return jwt.encode(claims, self._ring.signs, key.algorithm, header), self._ttl

    def verify(self, token: str) -> Identity:
        """Return who `token` speaks for; raises Unauthenticated."""
        known = self._verified.get(token)
        if known is None:
            known = self._decode(token)
            self._remember(token, known)
        identity, expires_at = known
        if expires_at <= self._clock():
            self._verified.pop(token, None)
            raise Unauthenticated("The access token has expired.")
        return identity

    def _remember(self, token: str, known: tuple[Identity, int]) -> None:
        """Tokens live equally long, so that the one remembered first is the first to expire."""
        self._verified[token] = known
        now = self._clock()
        while self._verified:
            expires_at = next(iter(self._verified.values()))[1]
            if expires_at > now and len(self._verified) <= _REMEMBERED:
                break
            self._verified.popitem(last=False)

    def _decode(self, token: str) -> tuple[Identity, int]:
        try:
            claims = self._claims(token)
        except (jwt.PyJWTError, ValidationError, ValueError):
            raise Unauthenticated(_INVALID) from None
        now = self._clock()
        sound = (
            claims.iss == self._issuer
            and claims.aud == AUDIENCE
            and max(claims.iat, claims.nbf) <= now + _CLOCK_SKEW
            and 0 < claims.exp - claims.iat <= _LONGEST_LIFE
        )
        if not sound:
            raise Unauthenticated(_INVALID)
        return Identity(claims.sub, claims.role, claims.sid), claims.exp

    def _claims(self, token: str) -> _Claims:
        """Return what the token claims, if one of our keys signed it in just this form."""
        if len(token) > _LONGEST:
            raise ValueError
        header, payload, signature = token.split(".")
        key = self._keys.get(header)
        if key is None:
            raise ValueError
        _plain(signature)
        claimed = _plain(payload)
        self._jws.decode(token, key.verifies, [key.algorithm])
        claims = _Claims.model_validate_json(claimed)
        if _json(json.loads(claimed)) != claimed:  # a name that stands twice, say
            raise ValueError
        return claims


def _header_of(key: Key) -> str:
    header = {"alg": key.algorithm, "kid": key.id, "typ": TYPE}
    return urlsafe_b64encode(_json(header)).rstrip(b"=").decode()


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _plain(segment: str) -> bytes:
    """Decode base64url; raises ValueError for what has another spelling."""
    decoded = urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    if urlsafe_b64encode(decoded).rstrip(b"=").decode() != segment:
        raise ValueError
    return decoded
