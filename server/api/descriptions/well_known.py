"""The keys by which others verify our access tokens."""

from typing import Any

from server.api.descriptions.values import Shape
from server.api.openapi import Answer, Operation


class KeySet(Shape):
    keys: list[dict[str, Any]]


OPERATIONS = [
    Operation(
        "GET",
        "/.well-known/jwks.json",
        "jwks",
        "The public keys of access tokens (RFC 7517)",
        {200: Answer("The keys; none, when a secret signs.", KeySet)},
    ),
]
