"""What the log says, and what it keeps to itself."""

import json
import logging
import subprocess
import sys
from contextvars import copy_context

import pytest

from server.log_context import JOB, REQUEST_ID
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
    made = record("broken")
    try:
        raise ValueError("why")
    except ValueError:
        made.exc_info = sys.exc_info()
    return made


def formatted(formatter: logging.Formatter, made: logging.LogRecord, **about: str) -> str:
    """Return the line as it is when it is about this request, or job."""

    def line() -> str:
        REQUEST_ID.set(about.get("request_id", ""))
        JOB.set(about.get("job", ""))
        return formatter.format(made)

    return copy_context().run(line)


def test_a_json_line_carries_the_request_id() -> None:
    line = formatted(JsonLines(), record("GET %s", "/é\n"), request_id="req_1")
    assert json.loads(line) == {
        "time": "2027-01-15T08:00:00.250Z",
        "level": "INFO",
        "logger": "rowlock.x",
        "message": "GET /é\n",
        "request_id": "req_1",
    }


def test_a_json_line_carries_the_job_and_fields_of_its_own() -> None:
    made = record("done", fields={"status": 200})
    line = json.loads(formatted(JsonLines(), made, job="audit relay"))
    assert (line["job"], line["status"]) == ("audit relay", 200)
    assert "request_id" not in line


def test_a_json_record_is_one_line_also_with_a_traceback() -> None:
    line = formatted(JsonLines(), failed_record())
    assert "\n" not in line
    assert json.loads(line)["error"].endswith("ValueError: why")


def test_a_readable_line_cannot_be_forged_by_what_a_caller_sends() -> None:
    made = record("GET %s", "/\nERROR \x1b[2J\x85")
    line = formatted(ReadableLines(), made, request_id="req_1")
    assert line.endswith(r"INFO rowlock.x: GET /\x0aERROR \x1b[2J\x85 [req_1]")
    assert formatted(ReadableLines(), failed_record()).endswith("ValueError: why")


def test_a_readable_line_names_the_job() -> None:
    line = formatted(ReadableLines(), record("done"), job="audit relay")
    assert line.endswith("INFO rowlock.x: done [audit relay]")


@pytest.mark.parametrize("environment", ["development", "production"])
def test_libraries_speak_from_warning_on(environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CONFIGURED, environment], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    assert done.stderr.count("info of") == 1
    assert "info of rowlock.x" in done.stderr
    assert done.stderr.count("warning of") == 6


@pytest.mark.parametrize("sign", ["\x85", "\u2028", "\u2029", "\x9b", "\x7f", "\n", "\x0b"])
def test_a_json_line_is_one_line_for_every_reader(sign):
    line = formatted(JsonLines(), record("GET %s", f"/x{sign}forged"))
    assert len(line.splitlines()) == 1
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"] == f"GET /x{sign}forged"
