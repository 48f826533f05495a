"""An HTTP client that costs the test less than the server: one connection, kept open.

It knows just what our servers send: a status line, headers, a body of `Content-Length` bytes.
"""

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """`sent_at` and `answered_at` are ms since 1970 by this machine's clock, which Redis shares."""

    status: int
    headers: dict[str, str]
    body: Any
    sent_at: float
    answered_at: float


class Connection:
    """To one server on this machine; opened at the first request. One request at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def request(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Send one request; raises OSError or EOFError when the server goes away under it.

        A connection that the server has closed because it was idle is replaced, as browsers do.
        """
        content = _request(method, path, body, headers or {})
        was_open = self._reader is not None
        try:
            return await self._exchange(content)
        except (OSError, EOFError):
            if not was_open:
                raise
        return await self._exchange(content)

    async def _exchange(self, request: bytes) -> Answer:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        sent_at = time.time() * 1000
        self._writer.write(request)
        try:
            status, told = _head(await self._reader.readuntil(b"\r\n\r\n"))
            content = await self._reader.readexactly(int(told.get("content-length", "0")))
        except BaseException:
            self.close()
            raise
        answered_at = time.time() * 1000
        return Answer(status, told, json.loads(content) if content else None, sent_at, answered_at)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None


def _request(method: str, path: str, body: object, headers: dict[str, str]) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(content)}"]
    if content:
        lines.append("Content-Type: application/json")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


def _head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(": ") for line in lines if line)
    return int(first.split(" ", 2)[1]), {name.lower(): value for name, _, value in pairs}
