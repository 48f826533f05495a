"""The problem document of each refusal, and the response that carries it."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, create_model

from server import errors
from server.api.descriptions import headers
from server.api.descriptions.values import MAY_LACK, Shape
from server.booking import BookingStatus
from server.errors import RowlockError
from server.models import SeatId

MEDIA_TYPE = "application/problem+json"


class InternalError(RowlockError):
    """What a bug is answered with; nothing raises it."""

    status, code, title = 500, "internal_error", "Something broke on our side"


class Problem(Shape):
    """RFC 9457."""

    type: Annotated[str, Field(examples=["/docs/problems#not_found"])]
    title: Annotated[str, Field(examples=["There is no such thing here"])]
    status: int
    detail: Annotated[str, Field(examples=["There is no such thing here"])]
    code: str
    request_id: Annotated[str, Field(examples=["req_0191d2"])]


class WrongField(Shape):
    field: str
    message: str


class TakenSeat(Shape):
    seat: SeatId
    state: Literal["locked", "booked", "blocked"]
    retry_in_ms: Annotated[int, MAY_LACK]
    """What is left of a lock."""


class _Invalid(Problem):
    errors: Annotated[list[WrongField], MAY_LACK]


class _UnknownSeats(Problem):
    seats: list[str]


class _Unavailable(Problem):
    unavailable: list[TakenSeat]


class _Limited(Problem):
    limit: int


class _Weak(Problem):
    reason: Literal["too_short", "common", "personal"]


class _InState(Problem):
    booking_status: BookingStatus


_MORE: Mapping[type[RowlockError], type[Problem]] = {
    errors.InvalidRequest: _Invalid,
    errors.UnknownSeats: _UnknownSeats,
    errors.SeatsUnavailable: _Unavailable,
    errors.SeatLimitReached: _Limited,
    errors.ExtensionLimitReached: _Limited,
    errors.BookingState: _InState,
    errors.WeakPassword: _Weak,
}
"""Errors whose document says more than all do."""


_TIME_HEALS = {errors.RateLimited, errors.StoreUnavailable, errors.IdempotencyInProgress}


def _shape_of(error: type[RowlockError]) -> type[BaseModel]:
    """The document of an error: of what all have, status and code are its own."""
    exactly: dict[str, Any] = {
        "status": (Literal[error.status], ...),
        "code": (Literal[error.code], ...),
    }
    base = _MORE.get(error, Problem)
    return create_model(f"{error.__name__}Problem", __base__=base, __doc__=error.title, **exactly)


def every_error(kind: type[RowlockError] = RowlockError) -> list[type[RowlockError]]:
    """Every refusal that has a code, by its code."""
    found = [error for below in kind.__subclasses__() for error in (below, *every_error(below))]
    return sorted({error for error in found if hasattr(error, "code")}, key=lambda e: e.code)


SHAPES = {error.code: _shape_of(error) for error in every_error()}
"""By `code`."""


def response(kinds: Sequence[type[RowlockError]]) -> dict[str, Any]:
    """Return the Response Object of one status, which may stand for several refusals."""
    refs = [f"#/components/schemas/{SHAPES[kind.code].__name__}" for kind in kinds]
    schema: dict[str, Any] = {"$ref": refs[0]}
    if len(kinds) > 1:
        mapping = {kind.code: ref for kind, ref in zip(kinds, refs, strict=True)}
        schema = {
            "oneOf": [{"$ref": ref} for ref in refs],
            "discriminator": {"propertyName": "code", "mapping": mapping},
        }
    return {
        "description": "; ".join(f"`{kind.code}`: {kind.title}" for kind in kinds),
        "headers": headers.answered(*_headers(kinds)),
        "content": {MEDIA_TYPE: {"schema": schema}},
    }


def _headers(kinds: Sequence[type[RowlockError]]) -> list[str]:
    """Those that all of these refusals carry."""
    if set(kinds) <= _TIME_HEALS:
        return ["Retry-After"]
    return ["WWW-Authenticate"] if errors.Unauthenticated in kinds else []
