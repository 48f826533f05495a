"""Parameters, from the path and from the models that read the query."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

_ID = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
_EXAMPLES = {"movies": "mov_a", "showtimes": "sho_a", "bookings": "bk_a", "users": "usr_a"}
_CURSOR = {"type": "string", "description": "`next_cursor` of the page before."}


def of_path(path: str) -> list[dict[str, Any]]:
    """One for each `{name}`; below /api all are ids, and a page looks at them itself."""
    schema = _ID if path.startswith("/api/") else {"type": "string", "minLength": 1}
    return [
        {
            "name": match["name"],
            "in": "path",
            "required": True,
            "schema": schema,
            "example": _EXAMPLES.get(match["noun"], "id_a"),
        }
        for match in re.finditer(r"(?P<noun>[\w-]+)/{(?P<name>\w+)(:\w+)?}", path)
    ]


def of_query(model: type[BaseModel]) -> list[dict[str, Any]]:
    """One for each field. A list is written `?seats=A1,A2`; a cursor is opaque."""
    schema = model.model_json_schema()
    required = schema.get("required", [])
    return [
        _parameter(name, _CURSOR if name == "cursor" else _stated(field), name in required)
        for name, field in schema.get("properties", {}).items()
    ]


def of_text(meanings: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        _parameter(name, {"type": "string", "description": about}, required=False)
        for name, about in meanings.items()
    ]


def _stated(field: dict[str, Any]) -> dict[str, Any]:
    """A field's schema without null: who does not mean a parameter leaves it out."""
    kinds = [kind for kind in field.get("anyOf", []) if kind.get("type") != "null"]
    schema = {**field, **kinds[0]} if kinds else field
    default = {} if field.get("default") is None else {"default": field["default"]}
    left_out = ("anyOf", "title", "default")
    return {k: v for k, v in schema.items() if k not in left_out} | default


def _parameter(name: str, schema: dict[str, Any], required: bool) -> dict[str, Any]:
    about = schema.get("description")
    described = {"name": name, "in": "query", "schema": schema, "required": required}
    if schema.get("type") == "array":
        described |= {"style": "form", "explode": False}
    return described | ({"description": about} if about else {})
