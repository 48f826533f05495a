"""What a JSON document points to inside itself."""

from collections.abc import Iterator
from typing import Any


def references(value: Any) -> Iterator[str]:
    """Yield every `$ref` below `value`."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for below in value.values():
            yield from references(below)
    elif isinstance(value, list):
        for below in value:
            yield from references(below)
