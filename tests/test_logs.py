"""What the log says, and what it keeps to itself."""

import json
import logging
import subprocess
import sys

import pytest

from server.logs import JsonLines, ReadableLines

CONFIGURED = """
import logging, sys
from authlib.integrations.starlette_client import OAuth
from server import app, logs
from server.settings import Settings
logs.configure(Settings(app_env=sys.argv[1], log_level="DEBUG", _env_file=None))
for name in ("authlib", "httpx", "httpcore", "pymongo.command", "uvicorn.error", "rowlock.x"):
    logging.getLogger(name).info("info of %s", name)
    logging.getLogger(name).warning("warning of %s", name)
"""


def record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("rowlock.x", logging.INFO, __file__, 1, message, arguments, None)
    made.created = 1_800_000_000.25
    made.__dict__.update(extra)
    return made


def failed_record() -> logging.LogRecord:
    made = record("broken", request_id="req_1")
    try:
        raise ValueError("why")
    except ValueError:
        made.exc_info = sys.exc_info()
    return made


def test_a_json_line_carries_the_request_id() -> None:
    assert json.loads(JsonLines().format(record("GET %s", "/é\n", request_id="req_1"))) == {
        "time": "2027-01-15T08:00:00.250Z",
        "level": "INFO",
        "logger": "rowlock.x",
        "message": "GET /é\n",
        "request_id": "req_1",
    }


def test_a_json_record_is_one_line_also_with_a_traceback() -> None:
    line = JsonLines().format(failed_record())
    assert "\n" not in line
    assert json.loads(line)["error"].endswith("ValueError: why")


def test_a_readable_line_cannot_be_forged_by_what_a_caller_sends() -> None:
    line = ReadableLines().format(record("GET %s", "/\nERROR \x1b[2J\x85", request_id="req_1"))
    assert line.endswith(r"INFO rowlock.x: GET /\x0aERROR \x1b[2J\x85 [req_1]")
    assert ReadableLines().format(failed_record()).endswith("ValueError: why")


@pytest.mark.parametrize("environment", ["development", "production"])
def test_libraries_speak_from_warning_on(environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CONFIGURED, environment], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    assert done.stderr.count("info of") == 1
    assert "info of rowlock.x" in done.stderr
    assert done.stderr.count("warning of") == 6
