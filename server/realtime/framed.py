"""A WebSocket protocol that takes ready frames, and needs no task while it only listens.

Frames made once are written to the transport past the ASGI `send`, which would make each of them
anew for every socket. An application that is done with the handshake may leave the connection to
somebody who keeps it (`keep`) and return: its task, its middleware and the request go, the socket
stays. The rest of uvicorn's protocol, and ours for clients that mean harm, is as it was.

This stands on internals of uvicorn and websockets, whose versions are pinned: `differences` says,
before the first connection, whether they are what this was written for.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from starlette.websockets import WebSocket
from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from server.realtime import frames
from server.realtime.protocol import LEAVE_SECONDS, AbortableProtocol

TALKER_SECONDS = 0.05
"""One who keeps talking, though there is nothing to say, is heard so often."""
MOST_WAITING = 16 * 1024
"""Bytes. So much may wait for a client in the system, and so much here: what waits grows old."""
_FRAMED = "rowlock.framed"
_LOWAT = "TCP_NOTSENT_LOWAT"
"""Linux and macOS have it."""
_OPEN = State.OPEN

_OF_PROTOCOL = (
    *("handshake_complete", "close_sent", "disconnected", "close_timer", "transport", "loop"),
    *("conn", "writable", "queue", "frames", "read_paused", "tasks", "run_asgi", "handle_close"),
    *("handle_connect", "on_task_complete", "send_receive_event_to_app", "resume_writing"),
    *("connection_lost", "eof_received", "stop_keepalive", "shutdown", "pause_writing"),
    *("config", "logger", "server", "client"),
)


class Keeper(Protocol):
    """Who keeps a connection after the application has returned."""

    def full(self) -> None:
        """The transport should be given nothing more for now."""
        ...

    def drained(self) -> None:
        """The transport takes frames again."""
        ...

    def ended(self) -> None:
        """Nothing can be sent any more; may be told more than once."""
        ...

    def lost(self) -> None:
        """The connection has ended."""
        ...


class FramedProtocol(AbortableProtocol):
    _keeper: Keeper | None = None
    _said = 0
    _spoke = False
    """Something has come since the handshake."""

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.handshake_complete:
            extensions = self.scope["extensions"] or {}
            self.scope["extensions"] = {**extensions, _FRAMED: {"protocol": self}}

    @property
    def write(self) -> Callable[[bytes], None]:
        """Sends a ready frame; for one that is neither full nor gone.

        It is the transport's own: what becomes of that is told to the keeper.
        """
        return self.transport.write

    @property
    def full(self) -> bool:
        """More waits to be taken than should."""
        return not self.writable.is_set()

    def keep(self, keeper: Keeper) -> None:
        """Leave the connection to `keeper`, after which the application has to return.

        What the client says from then on is not heard. One that is gone has to be let go instead.
        What served the application and the handshake is given up: a watcher should cost little.
        """
        self._keeper = keeper
        self.close_timer = _NEVER  # type: ignore[assignment] # else the end of the task closes it
        self.queue = _NOBODY  # type: ignore[assignment]
        self.writable = _Flag(self.writable.is_set())  # type: ignore[assignment]
        self.server = self.client = None
        if not self._spoke:  # the parser of the handshake holds the whole request
            self.conn = ServerProtocol(
                state=_OPEN, max_size=self.config.ws_max_size, logger=self.logger
            )
        self._let_little_wait()
        if self.read_paused:
            self._hear_again()

    def _let_little_wait(self) -> None:
        """A client that is slower than the news is soon full: then it gets one step, not all.

        Linux 6.18 would else take 48 kB of what one that does not read is sent in segments of 1,400
        bytes, and 2.8 MB over the loopback, where a proxy may stand; and uvloop 64 KiB (measured).
        """
        self.transport.set_write_buffer_limits(high=MOST_WAITING)
        plug = self.transport.get_extra_info("socket")
        if plug.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, _LOWAT):
            with suppress(OSError):  # it may be gone by now
                plug.setsockopt(socket.IPPROTO_TCP, getattr(socket, _LOWAT), MOST_WAITING)

    # -- while it is kept ---------------------------------------------------------------------

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        del self.scope, self.request, self.response  # they hold us, and more than we need
        if self._keeper is None:
            super().on_task_complete(task)
        else:
            self.tasks.discard(task)

    def data_received(self, data: bytes) -> None:
        self._said = 0
        self._spoke = self.handshake_complete
        super().data_received(data)

    def _waiting(self) -> int:
        return self._said if self._keeper else super()._waiting()

    def _deliver(self) -> None:
        """Nobody takes it when there is no application; one that talks is read more seldom."""
        if self._keeper is None:
            super()._deliver()
            return
        self.frames = []
        self._said += 1
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()
            self.loop.call_later(TALKER_SECONDS, self._hear_again)

    def _hear_again(self) -> None:
        self.read_paused = False
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._keeper:
            self._keeper.full()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._keeper:
            self._keeper.drained()

    def handle_close(self, event: Frame) -> None:
        super().handle_close(event)
        self._leave_soon()

    def eof_received(self) -> None:
        super().eof_received()
        self._leave_soon()

    def shutdown(self) -> None:
        super().shutdown()
        self._ended()

    def _leave_soon(self, seconds: float = LEAVE_SECONDS) -> None:
        super()._leave_soon(seconds)
        self._ended()

    def _ended(self) -> None:
        if self._keeper:
            self._keeper.ended()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        keeper, self._keeper = self._keeper, None
        if keeper:
            keeper.lost()


class _Never:
    """In the place of a timer: what is not due to happen."""

    def cancel(self) -> None:
        pass


class _Nobody:
    """In the place of an application's queue: who would take what comes has returned."""

    def put_nowait(self, message: object) -> None:
        pass


class _Flag:
    """In the place of an event that nobody waits for."""

    __slots__ = ("_set",)

    def __init__(self, is_set: bool) -> None:
        self._set = is_set

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True

    def clear(self) -> None:
        self._set = False


_NEVER, _NOBODY = _Never(), _Nobody()


def framed(websocket: WebSocket) -> FramedProtocol | None:
    """Return what takes ready frames for this socket, if it is served by something that does."""
    extension = websocket.scope.get("extensions", {}).get(_FRAMED, {})
    protocol: FramedProtocol | None = extension.get("protocol")
    return protocol


def differences(config: Config) -> list[str]:
    """Return in what uvicorn and websockets are not what this protocol was written for.

    `config` is loaded, and the event loop runs.
    """
    try:
        protocol = FramedProtocol(config, ServerState(), {})
        found = [name for name in _OF_PROTOCOL if not _has(protocol, name)]
        if not (protocol.writable.is_set() and protocol.conn.state is State.CONNECTING):
            found.append("state")
        text = "x" * 200
        sender = ServerProtocol(state=State.OPEN)
        sender.send_text(text.encode())
        if b"".join(sender.data_to_send()) != frames.websocket(text):
            found.append("frame")
    except Exception as error:
        return [repr(error)]
    return found


def _has(protocol: FramedProtocol, name: str) -> bool:
    """Say whether uvicorn's own class, or the protocol that it has made, has that attribute."""
    return hasattr(WebSocketsSansIOProtocol, name) or name in vars(protocol)
