"""Lists that come in pages: `?limit=&cursor=` in, `{"items", "next_cursor"}` out.

A cursor is the sort key of the last item seen, so that pages neither repeat nor skip an item
however many share a key, and whatever comes or goes meanwhile.
"""

import base64
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field
from starlette.responses import JSONResponse, Response

from server.models import Model

MAX_LIMIT = 200

T = TypeVar("T")


class PageQuery(Model):
    """The query of a list; a subclass adds `cursor: Annotated[tuple[…], Cursor] | None = None`."""

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 50


def page(
    found: Sequence[T],
    limit: int,
    as_json: Callable[[T], dict[str, Any]],
    position: Callable[[T], tuple[Any, ...]],
) -> Response:
    """Render one page of `found`, of which the caller fetched `limit + 1`.

    The one beyond the limit is not shown: it tells that the list goes on. `position` gives the
    JSON-ready sort key of an item.
    """
    shown = found[:limit]
    more = len(found) > limit
    return JSONResponse(
        {
            "items": [as_json(item) for item in shown],
            "next_cursor": encode_cursor(position(shown[-1])) if more else None,
        }
    )


def encode_cursor(position: tuple[Any, ...]) -> str:
    text = json.dumps(position, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _decode_cursor(text: str) -> tuple[Any, ...]:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return tuple(json.loads(raw))
    except (ValueError, TypeError, RecursionError):
        raise ValueError("this is no cursor that a list gave out") from None


Cursor = BeforeValidator(_decode_cursor)
"""Undoes `encode_cursor`; what a query model then finds in the tuple, it checks like any field."""
