"""uvicorn's WebSocket protocol, for clients that mean harm or have no idea.

Closing a socket that does not read waits until its buffer has drained, which is never; only
aborting its transport frees it (measured with uvicorn 0.54: 9 MB stayed buffered, and shutdown
hung).

What a client may make us keep is bounded: so many fragments, messages and unread pongs, and no
longer than `LEAVE_SECONDS` after its end. A handshake that cannot be read is answered (uvicorn 0.54
lets it wait for ever), and nothing that a client sends is an error of ours, or a line in the log.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from starlette.requests import HTTPConnection
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame
from websockets.http11 import Request
from websockets.protocol import State

MAX_FRAGMENTS = 64
MAX_WAITING = 1024
"""Messages that the application has not taken yet."""
LEAVE_SECONDS = 5.0
_GOODBYE_SECONDS = 1.0

_SLICE = 4096
"""As much is parsed at once: a read may hold ten thousands of frames of six bytes."""
_ABORT = "rowlock.abort"


class AbortableProtocol(WebSocketsSansIOProtocol):
    _leaving: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        if not self.handshake_initiated:
            super().data_received(data)
            self._answer_bad_handshake()
            return
        if not self.handshake_complete:
            self.transport.abort()  # nobody speaks before the handshake was answered
            return
        for start in range(0, len(data), _SLICE):
            if self.transport.is_closing():
                return
            super().data_received(data[start : start + _SLICE])

    def handle_connect(self, event: Request) -> None:
        if not event.path.isascii():  # uvicorn cannot make a scope of it
            self.conn.send_response(self.conn.reject(HTTPStatus.BAD_REQUEST, ""))
            self._leave()
            return
        super().handle_connect(event)
        if not self.handshake_complete:  # else the request was refused, and there is no scope
            extensions = self.scope["extensions"] or {}
            self.scope["extensions"] = {**extensions, _ABORT: {"call": self.transport.abort}}

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) < MAX_FRAGMENTS:
            super().handle_cont(event)
        else:
            self._refuse(CloseCode.POLICY_VIOLATION, "too many fragments")

    def handle_ping(self) -> None:
        """Answer it; a client that takes no answers gets none (RFC 6455, 5.5.3 allows that)."""
        output = b"".join(self.conn.data_to_send())
        if self.writable.is_set() and not self.transport.is_closing():
            self.transport.write(output)

    def send_receive_event_to_app(self) -> None:
        whole = b"".join(self.frames)
        self.frames = [whole]
        if self.close_sent:
            self.frames = []
        elif self._waiting() >= MAX_WAITING:
            self._refuse(CloseCode.POLICY_VIOLATION, "too many messages")
        elif self.curr_msg_data_type == "text" and not _is_utf8(whole):
            self._refuse(CloseCode.INVALID_DATA, "no UTF-8")
        else:
            self._deliver()

    def _waiting(self) -> int:
        """Return how many messages the application has not taken yet."""
        return self.queue.qsize()

    def _deliver(self) -> None:
        """Give the application the message that `frames` holds."""
        super().send_receive_event_to_app()

    def handle_parser_exception(self) -> None:
        super().handle_parser_exception()
        self._leave_soon()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._leave_soon()

    def shutdown(self) -> None:
        """As uvicorn's, but who is leaving leaves, and a full transport is not waited for."""
        if self._leaving:
            return
        if self.handshake_complete and (self.gone or self.buffered):
            self.stop_keepalive()
            self.transport.close()
            self._leave_soon(_GOODBYE_SECONDS)
        else:
            super().shutdown()

    @property
    def gone(self) -> bool:
        """No frame can be sent any more."""
        return (
            self.close_sent
            or self.disconnected
            or self.transport.is_closing()
            or self.conn.state is not State.OPEN
        )

    @property
    def buffered(self) -> int:
        """Bytes that wait in this process to be taken by the system."""
        return self.transport.get_write_buffer_size()

    def farewell(self, code: int, seconds: float) -> None:
        """Close with `code`; who does not answer that in time is cut off.

        The application hears of it at the end. Nothing happens to one that is closed already.
        """
        if self.gone or not self.handshake_complete:
            return
        self.stop_keepalive()
        self.conn.send_close(code)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self._leave_soon(seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._leaving:
            self._leaving.cancel()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        self._leave_soon()

    def _answer_bad_handshake(self) -> None:
        """Send the refusal that websockets has written; without one, that it is no request."""
        if self.conn.handshake_exc and not self.handshake_initiated:
            self._leave()

    def _refuse(self, code: CloseCode, reason: str) -> None:
        """Fail the connection (RFC 6455, 7.1.7): what comes from it is not read any more."""
        if self.close_sent:
            return
        self.frames = []
        self.conn.fail(code, reason)
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self._leave()

    def _leave(self) -> None:
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = self.handshake_complete = True
        self.transport.close()
        self._leave_soon()

    def _leave_soon(self, seconds: float = LEAVE_SECONDS) -> None:
        """Closing is polite and may take for ever; this ends it."""
        if not self.disconnected and not self._leaving:
            self._leaving = self.loop.call_later(seconds, self.transport.abort)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


class AbortableHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, for answers that do not end by themselves.

    uvicorn 0.54 tells of the end of a connection only to the newest request on it: an answer that
    went on while the client had already asked for more would go on for ever.
    """

    _unanswered: tuple[RequestResponseCycle, ...] = ()
    """But for the newest."""

    def on_headers_complete(self) -> None:
        self.scope["extensions"] = {_ABORT: {"call": self.transport.abort}}
        before = self.cycle
        super().on_headers_complete()
        if before and not before.response_complete:
            earlier = (cycle for cycle in self._unanswered if not cycle.response_complete)
            self._unanswered = (*earlier, before)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for cycle in self._unanswered:
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self._unanswered = ()


def abort(connection: HTTPConnection) -> None:
    """Cut the connection without a word; the application hears that it is gone."""
    extensions = connection.scope.get("extensions") or {}
    extension: dict[str, Callable[[], None]] = extensions.get(_ABORT, {})
    if "call" in extension:
        extension["call"]()
