"""The key ring: one key signs access tokens, and some more are still, or already, accepted.

Each key has an id and one algorithm, whatever a token says (RFC 8725, section 3.1). HMAC with
SHA-256 by default, because the server that signs is the one that verifies. With a private key in
JWT_PRIVATE_KEY_FILE others can verify too: EdDSA for Ed25519, RS256 for RSA; JWT_SECRET then signs
no token and none that it signed is accepted.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from joserfc.jwk import OKPKey, RSAKey

from server.settings import Settings, SettingsError

MIN_RSA_BITS = 2048

_PRIVATE, _PUBLIC = "JWT_PRIVATE_KEY_FILE", "JWT_PREVIOUS_PUBLIC_KEYS"
_KINDS = f"needs an Ed25519 or RSA key of {MIN_RSA_BITS} bits or more, as PEM without a password"

PrivateKey = Ed25519PrivateKey | RSAPrivateKey
PublicKey = Ed25519PublicKey | RSAPublicKey


@dataclass(frozen=True, slots=True)
class Key:
    id: str
    algorithm: Literal["HS256", "EdDSA", "RS256"]
    verifies: str | PublicKey = field(repr=False)
    jwk: dict[str, str] | None = None
    """The public half (RFC 7517); there is none of a secret."""


class KeyRing:
    """Iterates over all keys that are accepted; no two of them have the same id."""

    def __init__(self, current: Key, signs: str | PrivateKey, *others: Key) -> None:
        """`signs` is the secret half of `current`."""
        self.current, self.signs = current, signs
        self._keys: dict[str, Key] = {}
        for key in (current, *others):
            self._keys.setdefault(key.id, key)

    @classmethod
    def from_settings(cls, settings: Settings) -> "KeyRing":
        """Read the keys; raises SettingsError with one line that names the variable."""
        file = settings.jwt_private_key_file
        signs = _private_key(file) if file else settings.jwt_secret.get_secret_value()
        return cls(
            _symmetric(signs) if isinstance(signs, str) else _asymmetric(signs.public_key()),
            signs,
            *(_symmetric(each.get_secret_value()) for each in settings.jwt_previous_secrets),
            *(_verifying(Path(name)) for name in settings.jwt_previous_public_keys),
        )

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys.values())

    @property
    def public(self) -> list[dict[str, str]]:
        """The public keys, as in a JWK Set."""
        return [key.jwk for key in self if key.jwk]


def _symmetric(secret: str) -> Key:
    key_id = hashlib.sha256(f"kid:{secret}".encode()).hexdigest()[:16]
    return Key(key_id, "HS256", secret)


def _asymmetric(public: PublicKey) -> Key:
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    edwards = isinstance(public, Ed25519PublicKey)
    jwk = OKPKey.import_key(pem) if edwards else RSAKey.import_key(pem)
    algorithm: Literal["EdDSA", "RS256"] = "EdDSA" if edwards else "RS256"
    members = {name: str(value) for name, value in jwk.as_dict(private=False).items()}
    members |= {"kid": jwk.thumbprint(), "use": "sig", "alg": algorithm}  # RFC 7638
    return Key(members["kid"], algorithm, public, members)


def _verifying(file: Path) -> Key:
    try:
        public = load_pem_public_key(_read(_PUBLIC, file))
    except (ValueError, UnsupportedAlgorithm):
        raise SettingsError(
            f"{_PUBLIC}: {file} holds no public key (openssl pkey -pubout)"
        ) from None
    if not isinstance(public, PublicKey) or _is_short(public):
        raise SettingsError(f"{_PUBLIC}: {file} {_KINDS}")
    return _asymmetric(public)


def _private_key(file: Path) -> PrivateKey:
    try:
        private = load_pem_private_key(_read(_PRIVATE, file), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SettingsError(f"{_PRIVATE}: {_KINDS}") from None
    if not isinstance(private, PrivateKey) or _is_short(private):
        raise SettingsError(f"{_PRIVATE}: {_KINDS}")
    return private


def _is_short(key: PrivateKey | PublicKey) -> bool:
    return isinstance(key, RSAPrivateKey | RSAPublicKey) and key.key_size < MIN_RSA_BITS


def _read(variable: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise SettingsError(f"{variable}: cannot read {file}: {error.strerror}") from None
