"""Answers for a spreadsheet: `text/csv` (RFC 4180, UTF-8), streamed, and without formulas.

A cell that begins like a formula is run by the spreadsheet that opens it, whoever wrote it; so is
one that begins so after a character at which some spreadsheet splits, or after the quote that such
a spreadsheet takes for its beginning. An apostrophe makes it text.
"""

import csv
import io
import re
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from starlette.responses import StreamingResponse

T = TypeVar("T")
Cell = str | int

_BREAKS = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]+")
_FORMULA = re.compile(r"(^|[,;|])([\s\x22]*)([=+\-@\uff1d\uff0b\uff0d\uff20])")


def wants_csv(accept: str) -> bool:
    """Say whether an Accept header names text/csv, and not JSON before it."""
    csv_quality, json_quality = _quality(accept, "text/csv"), _quality(accept, "application/json")
    return csv_quality > 0 and csv_quality >= json_quality


def spreadsheet(
    name: str,
    header: Sequence[str],
    batches: AsyncIterator[list[T]],
    cells: Callable[[T], Sequence[Cell]],
) -> StreamingResponse:
    """Answer with a file `name-<today>.csv`: the header, then a line of `cells` for each item."""

    async def lines() -> AsyncIterator[str]:
        yield _csv([header])
        async for batch in batches:
            yield _csv([cells(item) for item in batch])

    file = f"{name}-{datetime.now(UTC):%Y-%m-%d}.csv"
    headers = {
        "Content-Disposition": f'attachment; filename="{file}"',
        "Cache-Control": "no-store",
        "Vary": "Accept",
    }
    return StreamingResponse(lines(), 200, headers, "text/csv; charset=utf-8")


def harmless(cell: Cell) -> Cell:
    """Return text on one line that no spreadsheet takes for a formula; numbers as they are."""
    if isinstance(cell, int):
        return cell
    return _FORMULA.sub(r"\1\2'\3", _BREAKS.sub(" ", cell))


def _csv(rows: Sequence[Sequence[Cell]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerows([harmless(cell) for cell in row] for row in rows)
    return text.getvalue()


def _quality(accept: str, media_type: str) -> float:
    """Return the weight of a media type that is named in full; 0 when it is not."""
    for part in accept.lower().split(","):
        named, *parameters = (piece.strip() for piece in part.split(";"))
        if named == media_type:
            weights = [p.removeprefix("q=") for p in parameters if p.startswith("q=")]
            return _number(weights[0]) if weights else 1.0
    return 0.0


def _number(text: str) -> float:
    return float(text) if re.fullmatch(r"[01](\.[0-9]{0,3})?", text) else 0.0
