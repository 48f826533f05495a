"""Log lines: readable ones in development, one JSON object each everywhere else.

Only Rowlock's own loggers follow `LOG_LEVEL`. Libraries speak from WARNING on: below it Authlib
writes out the code verifier, httpx and the MongoDB driver what they send, uvicorn every socket.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from server.log_context import JOB, REQUEST_ID
from server.models import rfc3339
from server.settings import Settings

_CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}


def configure(settings: Settings) -> None:
    """Send all logging of this process to stderr; replaces what was set up before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(ReadableLines() if settings.is_development else JsonLines())
    root = logging.getLogger()
    root.handlers = [handler]
    level = logging.getLevelNamesMapping()[settings.log_level]
    root.setLevel(max(level, logging.WARNING))
    for name in ("authlib", "pymongo"):  # they have levels of their own
        logging.getLogger(name).setLevel(root.level)
    logging.getLogger("rowlock").setLevel(level)


class JsonLines(logging.Formatter):
    """`time`, `level`, `logger`, `message`; when known `request_id` or `job`, and `error`, which is
    a traceback. What is given as `extra={"fields": …}` stands beside them: of a request that has
    ended `method`, `path`, `status` and `duration_ms`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": rfc3339(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if request_id := REQUEST_ID.get():
            line["request_id"] = request_id
        if job := JOB.get():
            line["job"] = job
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)  # in ASCII: nothing that a reader takes for the end of a line


class ReadableLines(logging.Formatter):
    """`12:00:00 INFO rowlock.access: GET /health 200 1.0 ms [req_…]`; a message is one line. In the
    brackets is the request, or the job, that it is about."""

    def format(self, record: logging.LogRecord) -> str:
        about = REQUEST_ID.get() or JOB.get()
        line = "{} {} {}: {}{}".format(
            self.formatTime(record, "%H:%M:%S"),
            record.levelname,
            record.name,
            record.getMessage().translate(_CONTROL),
            f" [{about}]" if about else "",
        )
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line
