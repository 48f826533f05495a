"""On whose behalf something runs: a request, or a job of the background work. Log lines name it.

What a task starts inherits it, so whoever takes over for many starts anew: a job at its start, and
a live connection, which is no request, has none.
"""

from contextvars import ContextVar

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
JOB: ContextVar[str] = ContextVar("job", default="")
