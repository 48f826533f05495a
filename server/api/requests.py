"""Reading what a client sent: bodies, path ids, query strings."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from server.errors import BodyTooLarge, InvalidRequest, NotFound, UnsupportedMediaType
from server.models import ID

MAX_BODY = 64 * 1024

M = TypeVar("M", bound=BaseModel)


async def read_body(request: Request) -> bytes:
    """Return the raw body; raises BodyTooLarge as soon as it passes MAX_BODY.

    One that declares its length was refused by the middleware already.
    """
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY:
            raise BodyTooLarge
        chunks.append(chunk)
    return b"".join(chunks)


async def parse(request: Request, model: type[M]) -> M:
    """Return the JSON body as `model`.

    Raises UnsupportedMediaType, BodyTooLarge, or InvalidRequest with `errors`: a list of
    `{"field", "message"}`.
    """
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType
    return validate(model, await read_body(request))


def validate(model: type[M], body: bytes) -> M:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error) from None


def invalid(error: ValidationError) -> InvalidRequest:
    problems = [
        {"field": ".".join(str(part) for part in entry["loc"]), "message": entry["msg"]}
        for entry in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    first = problems[0]
    where = f"{first['field']}: " if first["field"] else ""
    return InvalidRequest(f"{where}{first['message']}", errors=problems[:20])


def path_id(request: Request, name: str) -> str:
    """Return an id from the path; one that cannot exist is simply not found."""
    value: str = request.path_params[name]
    if not ID.fullmatch(value):
        raise NotFound
    return value


def query(request: Request, model: type[M]) -> M:
    """Return the query string as `model`; unknown and repeated names are refused."""
    pairs = request.query_params.multi_items()
    values = dict(pairs)
    if len(values) != len(pairs):
        raise InvalidRequest("A query parameter is given twice.")
    try:
        return model.model_validate_strings(values)
    except ValidationError as error:
        raise invalid(error) from None
