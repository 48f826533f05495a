"""MongoDB's language as far as the repos speak it: filters, expressions and stages, over plain
dicts.

What is not known here raises NotImplementedError, so that a repo which learns a new word fails
loudly instead of running on a fiction. Held against the real MongoDB in
`tests/test_memory_mongo.py`.
"""

from collections.abc import Callable, Mapping
from copy import copy
from datetime import datetime, timedelta
from typing import Any

Document = dict[str, Any]
Variables = dict[str, Any]
"""What expressions may name by `$$`: NOW, ROOT and those of `$map`."""


class _Missing:
    """No such field: not the same as null, but sorted and compared like it."""

    def __repr__(self) -> str:
        return "missing"


MISSING = _Missing()


# -- values ------------------------------------------------------------------------------------

_RANKS = {
    _Missing: 0,
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
    ranks = _RANKS[type(left)], _RANKS[type(right)]
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
        value = _at(document, path) if "." in path else document.get(path, MISSING)
        rank = max(1, _RANKS[type(value)])  # missing and null are one
        assert rank not in (4, 5), "nobody sorts by objects or arrays"
        return (rank,) if rank <= 1 else (rank, value)

    return key


def _at(document: Any, path: str) -> Any:
    """Return what stands at a dotted path; an array on the way gives the array of what is in it."""
    for step, part in enumerate(parts := path.split(".")):
        if isinstance(document, list):
            rest = ".".join(parts[step:])
            found = [_at(item, rest) for item in document]
            return [item for item in found if item is not MISSING]
        if not isinstance(document, dict):
            return MISSING
        document = document.get(part, MISSING)
    return document


# -- filters -----------------------------------------------------------------------------------


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
        return _truth(evaluate(wanted, document, variables))
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
        _RANKS[type(one)] == _RANKS[type(operand)] and compare(one, operand) in accepted
        for value in values
        for one in (value if isinstance(value, list) else [value])
    )


_ORDERED = {"$lt": (-1,), "$lte": (-1, 0), "$gt": (1,), "$gte": (1, 0)}


# -- expressions -------------------------------------------------------------------------------


def evaluate(expression: Any, document: Document, variables: Variables) -> Any:
    """Return the value of an aggregation expression; MISSING when a field is."""
    kind = type(expression)
    if kind is str:
        return _named(expression, document, variables) if expression[:1] == "$" else expression
    if kind is dict:
        word = next(iter(expression), "")
        if word == "$literal":
            return expression[word]
        if word[:1] == "$":
            operator = _OPERATORS.get(word)
            if operator is None:
                raise NotImplementedError(word)
            return operator(expression[word], document, variables)
        pairs = ((name, evaluate(e, document, variables)) for name, e in expression.items())
        return {name: value for name, value in pairs if value is not MISSING}
    if kind is list:
        values = (evaluate(each, document, variables) for each in expression)
        return [None if value is MISSING else value for value in values]
    return expression


def _named(expression: str, document: Document, variables: Variables) -> Any:
    """Return a field (`$name`) or a variable (`$$name`)."""
    if expression[1] == "$":
        name, _, path = expression[2:].partition(".")
        return _at(variables[name], path) if path else variables[name]
    path = expression[1:]
    return _at(document, path) if "." in path else document.get(path, MISSING)


def _truth(value: Any) -> bool:
    return not (value is MISSING or value is None or value is False or value == 0)


def _compared(accepted: tuple[int, ...]) -> Callable[..., bool]:
    def operator(operands: Any, document: Document, variables: Variables) -> bool:
        left, right = (evaluate(operand, document, variables) for operand in operands)
        return compare(left, right) in accepted

    return operator


def _merge(operands: Any, document: Document, variables: Variables) -> Document:
    merged: Document = {}
    for operand in operands:
        value = evaluate(operand, document, variables)
        merged.update(value if isinstance(value, dict) else {})
    return merged


def _concat(operands: Any, document: Document, variables: Variables) -> list[Any] | None:
    arrays = [evaluate(operand, document, variables) for operand in operands]
    if any(not isinstance(array, list) for array in arrays):
        return None
    return [item for array in arrays for item in array]


def _map(operand: Any, document: Document, variables: Variables) -> list[Any] | None:
    array = evaluate(operand["input"], document, variables)
    if not isinstance(array, list):
        return None
    name, inner = operand.get("as", "this"), copy(variables)
    found = []
    for item in array:
        inner[name] = item
        found.append(evaluate(operand["in"], document, inner))
    return found


def _cond(operands: Any, document: Document, variables: Variables) -> Any:
    condition, then, otherwise = operands
    chosen = then if _truth(evaluate(condition, document, variables)) else otherwise
    return evaluate(chosen, document, variables)


def _if_null(operands: Any, document: Document, variables: Variables) -> Any:
    for operand in operands:
        value = evaluate(operand, document, variables)
        if value is not MISSING and value is not None:
            return value
    return value


def _in(operands: Any, document: Document, variables: Variables) -> bool:
    value, array = (evaluate(operand, document, variables) for operand in operands)
    return any(compare(value, item) == 0 for item in array)


def _or(operands: Any, document: Document, variables: Variables) -> bool:
    return any(_truth(evaluate(operand, document, variables)) for operand in operands)


def _and(operands: Any, document: Document, variables: Variables) -> bool:
    return all(_truth(evaluate(operand, document, variables)) for operand in operands)


def _date_add(operand: Any, document: Document, variables: Variables) -> datetime:
    start = evaluate(operand["startDate"], document, variables)
    moment: datetime = start + timedelta(**{f"{operand['unit']}s": operand["amount"]})
    return moment


def _type(operand: Any, document: Document, variables: Variables) -> str:
    return _TYPES[type(evaluate(operand, document, variables))]


_TYPES = {
    _Missing: "missing",
    type(None): "null",
    int: "int",
    float: "double",
    str: "string",
    dict: "object",
    list: "array",
    bool: "bool",
    datetime: "date",
}

_OPERATORS: dict[str, Callable[[Any, Document, Variables], Any]] = {
    "$eq": _compared((0,)),
    "$ne": _compared((-1, 1)),
    "$lt": _compared((-1,)),
    "$lte": _compared((-1, 0)),
    "$gt": _compared((1,)),
    "$gte": _compared((1, 0)),
    "$mergeObjects": _merge,
    "$concatArrays": _concat,
    "$map": _map,
    "$cond": _cond,
    "$ifNull": _if_null,
    "$in": _in,
    "$or": _or,
    "$and": _and,
    "$dateAdd": _date_add,
    "$type": _type,
}
