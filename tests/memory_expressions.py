"""MongoDB's aggregation expressions, as far as the repos use them.

What is not known here raises NotImplementedError, so that a repo which learns a new word fails
loudly instead of running on a fiction. Held against the real MongoDB in
`tests/test_memory_mongo.py`.
"""

from collections.abc import Callable
from copy import copy
from datetime import datetime, timedelta
from typing import Any

from tests.memory_values import MISSING, Document, Missing, at, compare

Variables = dict[str, Any]
"""What expressions may name by `$$`: NOW and those of `$map`."""


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
        return at(variables[name], path) if path else variables[name]
    path = expression[1:]
    return at(document, path) if "." in path else document.get(path, MISSING)


def truth(value: Any) -> bool:
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
    chosen = then if truth(evaluate(condition, document, variables)) else otherwise
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
    return any(truth(evaluate(operand, document, variables)) for operand in operands)


def _and(operands: Any, document: Document, variables: Variables) -> bool:
    return all(truth(evaluate(operand, document, variables)) for operand in operands)


def _date_add(operand: Any, document: Document, variables: Variables) -> datetime:
    start = evaluate(operand["startDate"], document, variables)
    moment: datetime = start + timedelta(**{f"{operand['unit']}s": operand["amount"]})
    return moment


def _type(operand: Any, document: Document, variables: Variables) -> str:
    return _TYPES[type(evaluate(operand, document, variables))]


_TYPES = {
    Missing: "missing",
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
