"""One route described as a value, and the OpenAPI 3.1 document made of all of them.

A description says what is particular to its route. What follows from that is worked out here: the
parameters from the path, the query model and what the route reads; the refusals from who may call
it and what it reads; the schemas from the models.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from server import errors
from server.api.descriptions import headers, parameters, problems
from server.api.hosts import BY_ANY_NAME
from server.errors import RowlockError

Who = Literal["anyone", "session", "maybe a session", "signed in", "staff", "administrator"]
"""`session`: who holds the refresh cookie; `staff`: administrators and the box office."""

Refs = Mapping[Any, dict[str, Any]]
"""From a model to the schema that refers to it."""

JSON = "application/json"
_REF = "#/components/schemas/{model}"

_SECURITY: Mapping[Who, list[dict[str, list[str]]]] = {
    "anyone": [],
    "session": [{"refreshCookie": []}],
    "maybe a session": [{}, {"refreshCookie": []}],
    "signed in": [{"accessToken": []}],
    "staff": [{"accessToken": ["ADMIN", "BOX_OFFICE"]}],
    "administrator": [{"accessToken": ["ADMIN"]}],
}
_REFUSED: Mapping[Who, tuple[type[RowlockError], ...]] = {
    "anyone": (),
    "session": (errors.Unauthenticated,),
    "maybe a session": (),
    "signed in": (errors.Unauthenticated,),
    "staff": (errors.Unauthenticated, errors.Forbidden),
    "administrator": (errors.Unauthenticated, errors.Forbidden),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is no refusal. `body` None: empty, or in JSON's place text of `media_type`."""

    about: str
    body: type[BaseModel] | None = None
    media_type: str = JSON
    also: str = ""
    """The media type of the same as text, for who asks for it by `Accept`."""
    headers: tuple[str, ...] = ()
    """Names of `descriptions.headers` beyond those that every answer has."""


@dataclass(frozen=True)
class Operation:
    """One method of one route. `refusals` are those that its service raises."""

    method: str
    path: str
    name: str
    summary: str
    answers: Mapping[int, Answer]
    who: Who = "anyone"
    about: str = ""
    query: type[BaseModel] | None = None
    free_query: Mapping[str, str] = field(default_factory=dict)
    """Parameters that are text to the route, with what each means; unknown ones are ignored."""
    body: type[BaseModel] | None = None
    example: Any = None
    other_body: str = ""
    """The media type of a body that is no JSON."""
    reads: tuple[str, ...] = ()
    """Request headers, names of `descriptions.headers`."""
    refusals: tuple[type[RowlockError], ...] = ()

    @cached_property
    def errors(self) -> list[type[RowlockError]]:
        """Every refusal that this route can answer with."""
        found = [*self.refusals, *_REFUSED[self.who], errors.BodyTooLarge]
        if self.path not in BY_ANY_NAME:
            found.append(errors.HostNotAllowed)
        if self.path.startswith("/api/"):
            found += [errors.RateLimited, errors.StoreUnavailable]
            if "{" in self.path:
                found.append(errors.NotFound)
            if self.method != "GET" and not self.other_body:  # else a page might send it
                found += [errors.Forbidden, errors.UnsupportedMediaType]
        if self.body:
            found.append(errors.InvalidRequest)
        if self.query:
            found.append(errors.InvalidRequest)
        if "Idempotency-Key" in self.reads:
            found += [
                *(errors.IdempotencyKeyMissing, errors.IdempotencyKeyReused),
                *(errors.IdempotencyInProgress, errors.InvalidRequest),
            ]
        return list(dict.fromkeys(found))

    @property
    def models(self) -> list[type[BaseModel]]:
        bodies = [self.body, *(answer.body for answer in self.answers.values())]
        return [body for body in bodies if body]

    def as_json(self, refs: Refs) -> dict[str, Any]:
        """Return the Operation Object; which refers to its models by `refs`."""
        described = {
            "operationId": self.name,
            "tags": [_tag(self.path)],
            "summary": self.summary,
            "description": self.about,
            "security": _SECURITY[self.who],
            "parameters": [
                *parameters.of_path(self.path),
                *(parameters.of_query(self.query) if self.query else []),
                *parameters.of_text(self.free_query),
                *({"$ref": f"#/components/parameters/{name}"} for name in (*self.reads, _ID)),
            ],
            "requestBody": self._request(refs),
            "responses": self._responses(refs),
        }
        return {name: value for name, value in described.items() if value or name == "security"}

    def _request(self, refs: Refs) -> dict[str, Any]:
        if self.body:
            content = {"schema": refs[self.body], "example": self.example}
            return {"required": True, "content": {JSON: content}}
        if self.other_body:
            return {"required": True, "content": {self.other_body: {"schema": {"type": "string"}}}}
        return {}

    def _responses(self, refs: Refs) -> dict[str, Any]:
        responses = {str(status): _answer(a, refs) for status, a in self.answers.items()}
        by_status: dict[int, list[type[RowlockError]]] = {500: [problems.InternalError]}
        for error in self.errors:
            by_status.setdefault(error.status, []).append(error)
        for status, kinds in by_status.items():
            refused = problems.response(kinds)
            if str(status) in responses:  # an answer and a refusal may share a status: /health
                refused["content"] |= responses[str(status)]["content"]
            responses[str(status)] = refused
        return dict(sorted(responses.items()))


_ID = "X-Request-ID"


def _answer(answer: Answer, refs: Refs) -> dict[str, Any]:
    described: dict[str, Any] = {
        "description": answer.about,
        "headers": headers.answered(*answer.headers),
    }
    if answer.body:
        described["content"] = {answer.media_type: {"schema": refs[answer.body]}}
    for text in {answer.media_type, answer.also} - {JSON, ""}:
        described.setdefault("content", {})[text] = {"schema": {"type": "string"}}
    return described


def _tag(path: str) -> str:
    """The first word after /api; what is not there, the server has for its own sake."""
    return path.split("/")[2] if path.startswith("/api/") else "server"


def document(operations: Iterable[Operation], cookie: str) -> dict[str, Any]:
    """Return the OpenAPI document of these routes; `cookie` is the refresh cookie's name."""
    described = list(operations)
    kinds = {error for operation in described for error in operation.errors}
    codes = {problems.InternalError.code, *(kind.code for kind in kinds)}
    shapes = [problems.SHAPES[code] for code in sorted(codes)]
    models = dict.fromkeys(model for operation in described for model in operation.models)
    found, schemas = models_json_schema(
        [(model, "validation") for model in (*models, *shapes)], ref_template=_REF
    )
    refs: Refs = {model: ref for (model, _), ref in found.items()}
    paths: dict[str, dict[str, Any]] = {}
    for operation in described:
        path = re.sub(r":\w+}", "}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = operation.as_json(refs)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Rowlock", "version": "1", "description": _ABOUT},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in sorted({_tag(path) for path in paths})],
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "headers": headers.COMPONENTS,
            "parameters": headers.PARAMETERS,
            "securitySchemes": {
                "accessToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": _BEARER,
                },
                "refreshCookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": cookie,
                    "description": "Set at sign-in, changed at each use. HttpOnly.",
                },
            },
        },
    }


_BEARER = """\
What `POST /api/auth/login`, `POST /api/auth/register` and `POST /api/auth/refresh` give, good for
minutes."""

_ABOUT = """\
Seat booking in real time.

- Every refusal is a problem document (RFC 9457); its `code` says which.
- Times are RFC 3339 in UTC; a deadline comes with the milliseconds that are left of it.
- Lists come in pages: hand `next_cursor` back as `cursor`.
- A route that answers GET answers HEAD too.
- The live seat map and the live audit log are WebSockets: /asyncapi.json describes them.
"""
