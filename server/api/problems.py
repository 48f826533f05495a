"""Every error answer is a problem document (RFC 9457)."""

import json
import logging
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ExceptionHandler

from server import errors
from server.models import Caller, Identity

logger = logging.getLogger("rowlock.api")

_BY_STATUS: Mapping[int, type[errors.RowlockError]] = {
    404: errors.NotFound,
    405: errors.MethodNotAllowed,
}


def problem(
    status: int, code: str, title: str, detail: str, request_id: str, **fields: object
) -> bytes:
    """Return a problem document; `fields` are the extra members that belong to `code`."""
    body = {
        "type": f"/docs/problems#{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }
    return json.dumps({**body, **fields}, ensure_ascii=False).encode()


def render(error: errors.RowlockError, request_id: str) -> Response:
    body = problem(error.status, error.code, error.title, error.detail, request_id, **error.fields)
    return Response(body, error.status, error.headers, "application/problem+json")


def render_unexpected(request_id: str) -> Response:
    """The answer to a bug: nothing of its inside leaves the house."""
    body = problem(
        500, "internal_error", "Something broke on our side", "Try again later.", request_id
    )
    return Response(body, 500, media_type="application/problem+json")


def request_id_of(request: Request) -> str:
    request_id: str = request.scope["state"]["request_id"]
    return request_id


def caller_of(request: Request, identity: Identity) -> Caller:
    """Return who acts, for what is told to the audit log."""
    return Caller(identity.user_id, request_id_of(request))


async def _on_rowlock_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.RowlockError)
    return render(error, request_id_of(request))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = _BY_STATUS.get(error.status_code, errors.InvalidRequest)
    response = render(known(), request_id_of(request))
    if error.status_code == 405:
        response.headers["Allow"] = ", ".join(_methods_of(request)) or "GET, HEAD"  # or a file
    return response


def _methods_of(request: Request) -> list[str]:
    """Every method of this address; the route that refused knows only its own."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    here = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in here for method in route.methods or ()})


async def _on_store_unavailable(request: Request, error: Exception) -> Response:
    logger.warning("store unavailable: %s", type(error).__name__)
    return render(errors.StoreUnavailable(), request_id_of(request))


def exception_handlers(
    unavailable: tuple[type[Exception], ...],
) -> dict[int | type[Exception], ExceptionHandler]:
    """Map every expected exception to its problem document.

    `unavailable` names the driver errors that mean "a store does not answer".
    """
    handlers: dict[int | type[Exception], ExceptionHandler] = {
        errors.RowlockError: _on_rowlock_error,
        HTTPException: _on_http_exception,
    }
    return handlers | dict.fromkeys(unavailable, _on_store_unavailable)
