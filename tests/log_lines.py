"""What Rowlock logs while a test runs, as its JSON lines."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

from server.logs import JsonLines


@contextmanager
def listening() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Yield a function that returns what was logged until now, from INFO on."""
    said, logger = StringIO(), logging.getLogger("rowlock")
    handler, level = logging.StreamHandler(said), logger.level
    handler.setFormatter(JsonLines())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield lambda: [json.loads(line) for line in said.getvalue().splitlines()]
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
