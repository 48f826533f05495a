"""Key rings of every kind for tests, and tokens put together by hand, byte for byte."""

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from server.auth.keys import KeyRing
from server.settings import Settings
from tests.auth_flow import JWT_SECRET, settings_for

Kind = Literal["HS256", "EdDSA", "RS256"]
KINDS: tuple[Kind, ...] = ("HS256", "EdDSA", "RS256")

PREVIOUS_SECRET = "the-secret-before-it-and-good-for-nothing-else"
ED_KEY, OLD_ED_KEY, FOREIGN_ED_KEY = (Ed25519PrivateKey.generate() for _ in range(3))
RSA_KEY, OLD_RSA_KEY, FOREIGN_RSA_KEY = (generate_private_key(65537, 2048) for _ in range(3))

Private = Ed25519PrivateKey | RSAPrivateKey
Signer = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Rung:
    """A ring of one kind, as settings and as who can sign for it."""

    kind: Kind
    settings: Settings
    sign: Signer
    public: Private
    """A key of the ring, whose public half everybody knows."""

    @property
    def keys(self) -> KeyRing:
        return KeyRing.from_settings(self.settings)


def private_pem(key: Any) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: Any) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def file_of(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def rung(kind: Kind, folder: Path) -> Rung:
    """A ring whose current key is of this kind, and which accepts one key of each kind besides."""
    others = [
        file_of(folder, f"{kind}.pem", public_pem(key))
        for kind, key in {"ed": OLD_ED_KEY, "rsa": OLD_RSA_KEY}.items()
    ]
    more = {
        "jwt_previous_secrets": PREVIOUS_SECRET,
        "jwt_previous_public_keys": ",".join(map(str, others)),
    }
    if kind == "HS256":
        return Rung(kind, settings_for(**more), hmac_with(JWT_SECRET), OLD_ED_KEY)
    key = ED_KEY if kind == "EdDSA" else RSA_KEY
    file = file_of(folder, "private.pem", private_pem(key))
    return Rung(kind, settings_for(jwt_private_key_file=file, **more), signer_of(key), key)


def signer_of(key: Private) -> Signer:
    if isinstance(key, RSAPrivateKey):
        return lambda message: key.sign(message, PKCS1v15(), SHA256())
    return key.sign


def hmac_with(key: str | bytes, algorithm: str = "sha256") -> Signer:
    secret = key.encode() if isinstance(key, str) else key
    return lambda message: hmac.new(secret, message, getattr(hashlib, algorithm)).digest()


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def json_of(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()


def compact(header: Any, payload: Any, sign: Signer) -> str:
    """Sign header and payload (values, or bytes as they are) in the compact form."""
    signed = f"{b64(json_of(header))}.{b64(json_of(payload))}"
    return f"{signed}.{b64(sign(signed.encode()))}"
