"""A browser's end of a live map, as cheap as it can be: thousands of them fit on one core.

It knows of WebSocket (RFC 6455) just what our servers send: whole unmasked frames, no extension.
"""

import asyncio
import socket
from typing import Protocol, cast

TEXT, CLOSE, PING = 0x81, 0x88, 0x89
_PONG, _NO_MASK = 0x8A, b"\0\0\0\0"
ABNORMAL = 1006
SEGMENT = 1400
"""Bytes in a segment, as on the internet: the 64 KiB of the loopback would let a server's system
take megabytes for somebody who does not read."""


class Ears(Protocol):
    def hear(self, wire: bytes) -> None:
        """A text frame has come; `wire` is all of it, head included."""
        ...

    def ended(self, code: int) -> None:
        """The connection is over; ABNORMAL when nobody has said so."""
        ...


def greeting(path: str) -> bytes:
    """Return the request that opens a WebSocket."""
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


async def plugged(port: int, *, narrow: bool) -> socket.socket:
    """Connect to a server on this machine; `narrow`: as over a network that carries little."""
    plug = socket.socket()
    try:
        plug.setblocking(False)
        if narrow:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
        await asyncio.get_running_loop().sock_connect(plug, ("127.0.0.1", port))
    except BaseException:
        plug.close()
        raise
    return plug


class CrowdWire(asyncio.Protocol):
    """One connection; reads `rate` bytes a second, 0: all there is."""

    def __init__(self, path: str, ears: Ears, rate: float = 0.0) -> None:
        self._path = path
        self._ears = ears
        self._rate = rate
        self._rest = b""
        self._open = False
        self._code = ABNORMAL
        self._transport: asyncio.Transport | None = None
        self.received = 0
        """Bytes."""

    def leave(self) -> None:
        """Hang up, without a word."""
        if self._transport:
            self._transport.abort()

    @property
    def own_port(self) -> int:
        name = self._transport.get_extra_info("sockname") if self._transport else None
        return int(name[1]) if name else 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(greeting(self._path))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._ears.ended(self._code)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if self._rate:
            self._rest_a_while(len(data) / self._rate)
        if self._rest:
            data, self._rest = self._rest + data, b""
        if not self._open:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self._rest = head
                return
            self._open = b" 101 " in head
            if not self._open:
                self.leave()
                return
        at, size = 0, len(data)
        while at < size:
            end = _end(data, at, size)
            if end > size:
                self._rest = data[at:]
                return
            kind = data[at]
            if kind == TEXT:
                self._ears.hear(data if end - at == size else data[at:end])
            else:
                self._control(kind, data[at:end])
            at = end

    def _control(self, kind: int, wire: bytes) -> None:
        assert self._transport
        if kind == PING:
            self._transport.write(bytes((_PONG, 0x80 | wire[1])) + _NO_MASK + wire[2:])
        elif kind == CLOSE:
            self._code = int.from_bytes(wire[2:4])
            self._transport.write(bytes((CLOSE, 0x82)) + _NO_MASK + wire[2:4])
        else:
            raise AssertionError(f"a frame that begins with {kind:#x}")

    def _rest_a_while(self, seconds: float) -> None:
        transport = self._transport
        assert transport
        transport.pause_reading()
        asyncio.get_running_loop().call_later(seconds, _go_on, transport)


def _go_on(transport: asyncio.Transport) -> None:
    if not transport.is_closing():
        transport.resume_reading()


def _end(data: bytes, at: int, size: int) -> int:
    """Return where the frame ends that begins at `at`; beyond `size` when not all of it is here."""
    if size - at < 4:
        return at + 2 + data[at + 1] if size - at >= 2 and data[at + 1] < 126 else size + 1
    length = data[at + 1]
    if length < 126:
        return at + 2 + length
    if length == 126:
        return at + 4 + int.from_bytes(data[at + 2 : at + 4])
    return at + 10 + int.from_bytes(data[at + 2 : at + 10]) if size - at >= 10 else size + 1


def payload(wire: bytes) -> bytes:
    """Return what a whole text frame says."""
    return wire[{126: 4, 127: 10}.get(wire[1], 2) :]
