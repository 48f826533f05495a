"""Values as MongoDB sees them: what is missing, how types are ordered, what stands at a path."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

Document = dict[str, Any]


class Missing:
    """No such field: not the same as null, but sorted and compared like it."""

    def __repr__(self) -> str:
        return "missing"


MISSING = Missing()


RANKS = {
    Missing: 0,
    type(None): 1,
    int: 2,
    float: 2,
    str: 3,
    dict: 4,
    list: 5,
    bytes: 6,
    bool: 8,
    datetime: 9,
}
"""The order of types in BSON."""


def compare(left: Any, right: Any) -> int:
    """Order any two values as MongoDB does: by type, then by value."""
    ranks = RANKS[type(left)], RANKS[type(right)]
    if ranks[0] != ranks[1]:
        return -1 if ranks[0] < ranks[1] else 1
    if isinstance(left, list):
        compared = (compare(a, b) for a, b in zip(left, right, strict=False))
        return next((found for found in compared if found), _sign(len(left), len(right)))
    if isinstance(left, dict):
        return 0 if left == right else 1
    if ranks[0] <= 1 or left == right:
        return 0
    return _sign(left, right)


def _sign(left: Any, right: Any) -> int:
    return (left > right) - (left < right)


def sort_key(path: str) -> Callable[[Document], Any]:
    """Return a key that sorts documents as `$sort` does by one field."""

    def key(document: Document) -> Any:
        value = at(document, path) if "." in path else document.get(path, MISSING)
        rank = max(1, RANKS[type(value)])  # missing and null are one
        assert rank not in (4, 5), "nobody sorts by objects or arrays"
        return (rank,) if rank <= 1 else (rank, value)

    return key


def at(document: Any, path: str) -> Any:
    """Return what stands at a dotted path; an array on the way gives the array of what is in it."""
    for step, part in enumerate(parts := path.split(".")):
        if isinstance(document, list):
            rest = ".".join(parts[step:])
            found = [at(item, rest) for item in document]
            return [item for item in found if item is not MISSING]
        if not isinstance(document, dict):
            return MISSING
        document = document.get(part, MISSING)
    return document
