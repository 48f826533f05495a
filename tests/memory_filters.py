"""MongoDB's filters, as far as the repos use them; what is not known raises NotImplementedError."""

from collections.abc import Mapping
from typing import Any

from tests.memory_expressions import Variables, evaluate, truth
from tests.memory_values import MISSING, RANKS, Document, compare


def matches(document: Document, where: Mapping[str, Any], variables: Variables) -> bool:
    for path, wanted in where.items():
        if path[0] == "$":
            if not _logic(path, document, wanted, variables):
                return False
        elif type(wanted) in _SCALARS and "." not in path:  # most of them
            value = document.get(path, MISSING)
            if value is not wanted and not _equals(value, wanted):
                return False
        elif not _condition(_found(document, path), wanted):
            return False
    return True


_SCALARS = {str, int, bool}


def _logic(word: str, document: Document, wanted: Any, variables: Variables) -> bool:
    if word == "$expr":
        return truth(evaluate(wanted, document, variables))
    clauses = (matches(document, clause, variables) for clause in wanted)
    if word == "$or":
        return any(clauses)
    if word == "$and":
        return all(clauses)
    raise NotImplementedError(word)


def _found(document: Document, path: str) -> list[Any]:
    """Return all values that a path of a filter means: through arrays, and by number into them."""
    first, _, rest = path.partition(".")
    value = document.get(first, MISSING)
    if not rest:
        return [value]
    if isinstance(value, dict):
        return _found(value, rest)
    if not isinstance(value, list):
        return [MISSING]
    found = [each for item in value if isinstance(item, dict) for each in _found(item, rest)]
    number, _, last = rest.partition(".")
    if number.isdigit() and int(number) < len(value):
        item = value[int(number)]
        if not last:
            found.append(item)
        elif isinstance(item, dict | list):
            found += _found({"": item}, f".{last}")
    return found


def _condition(values: list[Any], wanted: Any) -> bool:
    if isinstance(wanted, dict) and wanted and next(iter(wanted))[0] == "$":
        return all(_holds(values, word, operand) for word, operand in wanted.items())
    return any(_equals(value, wanted) for value in values)


def _equals(value: Any, wanted: Any) -> bool:
    """Equal, or an array that holds an equal; what is missing equals null."""
    if value is MISSING:
        return wanted is None
    if isinstance(value, list) and not isinstance(wanted, list):
        return any(_same(item, wanted) for item in value)
    return _same(value, wanted)


def _same(value: Any, wanted: Any) -> bool:
    return bool(value == wanted) and (type(value) is bool) == (type(wanted) is bool)


def _holds(values: list[Any], word: str, operand: Any) -> bool:
    if word == "$exists":
        return any(value is not MISSING for value in values) is bool(operand)
    if word == "$in":
        return any(_equals(value, one) for value in values for one in operand)
    if word == "$ne":
        return not any(_equals(value, operand) for value in values)
    if word == "$size":
        return any(isinstance(value, list) and len(value) == operand for value in values)
    accepted = _ORDERED.get(word)
    if accepted is None:
        raise NotImplementedError(word)
    return any(
        RANKS[type(one)] == RANKS[type(operand)] and compare(one, operand) in accepted
        for value in values
        for one in (value if isinstance(value, list) else [value])
    )


_ORDERED = {"$lt": (-1,), "$lte": (-1, 0), "$gt": (1,), "$gte": (1, 0)}
