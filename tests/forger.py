"""What forged access tokens are made from: a ring, and a sound token of it."""

import json
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from typing import Any

from tests.signing import Rung, compact

Named = Iterator[tuple[str, str]]
"""Forgeries, each after its name."""

ABSENT = object()


class Forger:
    def __init__(self, ring: Rung, sound: str) -> None:
        """`sound` is a token that the ring has minted."""
        self.ring, self.sound = ring, sound
        self.parts = sound.split(".")
        self.header, self.claims = (json.loads(unb64(part)) for part in self.parts[:2])
        self.now = int(time.time())

    def signed(self, header: Any = None, payload: Any = None) -> str:
        """A token with this header or payload, signed as sound ones are."""
        header = self.header if header is None else header
        return compact(header, self.claims if payload is None else payload, self.ring.sign)


def with_(values: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    """`values` with one member changed, in its place; or without it."""
    if value is ABSENT:
        return {each: kept for each, kept in values.items() if each != name}
    return values | {name: value}


def misread(text: bytes) -> dict[str, bytes]:
    """Ways to write a JSON object that two readers may read in two ways, or one not at all."""
    return {
        "spaced": text.replace(b":", b": "),
        "led by space": b" " + text,
        "ended by a line": text + b"\n",
        "ended by nul": text + b"\0",
        "escaped": text.replace(b'"a', b'"\\u0061', 1),
        "bom": b"\xef\xbb\xbf" + text,
        "utf-16": text.decode().encode("utf-16"),
        "broken utf-8": text[:-2] + b'\xff"}',
        "two values": text + text,
        "cut": text[:-1],
        "nothing": b"",
        "null": b"null",
        "list": b"[" + text + b"]",
        "text": json.dumps(text.decode()).encode(),
        "number": b"1",
        "single quotes": text.replace(b'"', b"'"),
        "comment": text + b"/**/",
        "deep": b'{"x":' + b"[" * 900 + b"]" * 900 + b"," + text[1:],
        "long number": text[:-1] + b',"x":' + b"9" * 900 + b"}",
        "prototype": text[:-1] + b',"__proto__":{"role":"ADMIN"},"role":"ADMIN"}',
    }


def shown(value: Any) -> str:
    return "absent" if value is ABSENT else ascii(value)[:40]


def unb64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
