"""WebSocket frames as no client should send them (RFC 6455 says why), and a socket to send them."""

import asyncio
import base64
import contextlib
import os
import socket
import struct
from collections.abc import Callable
from random import Random

TEXT, BINARY, CONT, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    reserved: int = 0,
    mask: bool = True,
    length: int | None = None,
    width: int = 0,
) -> bytes:
    """Return one frame; `length` lies about the payload, `width` writes it in 2 or 8 bytes."""
    said = len(payload) if length is None else length
    head = bytes([fin << 7 | reserved << 4 | opcode])
    masked = mask << 7
    if width == 8 or said > 0xFFFF:
        head += bytes([masked | 127]) + struct.pack("!Q", said)
    elif width == 2 or said > 125:
        head += bytes([masked | 126]) + struct.pack("!H", said)
    else:
        head += bytes([masked | said])
    if not mask:
        return head + payload
    key = os.urandom(4)
    return head + key + bytes(b ^ key[n % 4] for n, b in enumerate(payload))


def _noise(chance: Random, most: int = 200) -> bytes:
    return chance.randbytes(chance.randrange(most))


def _fragments(chance: Random, payload: bytes) -> list[bytes]:
    more = [frame(CONT, payload, fin=False) for _ in range(chance.randrange(200))]
    return [frame(TEXT, payload, fin=False), *more]


_CODES = (0, 999, 1000, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)
_WORDS = (
    *(b"", b"{}", b"[]", b"null", b"1e999", b"{" * 900, b"[" * 2000, b'"\xed\xa0\x80"'),
    *(b'{"type":"auth"}', b'{"type":"auth","ticket":1}', b'{"type":"auth","ticket":"\\ud800"}'),
    *(b'{"type":"auth","ticket":{"$ne":""}}', b'{"type":"auth","ticket":"' + b"x" * 5000 + b'"}'),
    b'{"type":"auth","ticket":"nobody"}',
)

ATTACKS: dict[str, Callable[[Random], list[bytes]]] = {
    "unknown opcodes": lambda c: [frame(c.choice([3, 4, 5, 6, 7, 11, 12, 15]), _noise(c))],
    "any opcodes": lambda c: [
        frame(c.randrange(16), _noise(c), fin=c.random() < 0.5) for _ in range(20)
    ],
    "reserved bits": lambda c: [frame(TEXT, b"{}", reserved=c.randrange(1, 8))],
    "fragments without end": lambda c: _fragments(c, b"x" * c.randrange(1, 60)),
    "empty fragments": lambda c: _fragments(c, b""),
    "a fragment of nothing": lambda c: [frame(CONT, _noise(c))],
    "a message inside a message": lambda c: [frame(TEXT, b"a", fin=False), frame(TEXT, b"b")],
    "pings": lambda c: [frame(PING, c.randbytes(125)) for _ in range(200)],
    "pongs": lambda c: [frame(PONG, _noise(c, 125)) for _ in range(100)],
    "unmasked": lambda c: [frame(c.choice([TEXT, BINARY, PING]), _noise(c, 125), mask=False)],
    "a length that lies": lambda c: [
        frame(TEXT, _noise(c), length=c.choice([0, 1, 125, 126, 500, 8192, 70_000, 2**62, 2**63]))
    ],
    "a length written long": lambda c: [frame(TEXT, b"{}", width=c.choice([2, 8]))],
    "no UTF-8": lambda c: [frame(TEXT, b"\xff\xfe" + _noise(c))],
    "no UTF-8, then close": lambda c: [frame(TEXT, b"\xc3\x28") + frame(CLOSE, b"\x03\xe8")],
    "half a character": lambda c: [frame(TEXT, b"\xe2\x82", fin=False), frame(CONT, b"\xac\xff")],
    "too large": lambda c: [frame(c.choice([TEXT, BINARY]), b"x" * c.randrange(8193, 60_000))],
    "too large in pieces": lambda c: _fragments(c, b"x" * 4000),
    "close": lambda c: [frame(CLOSE, struct.pack("!H", c.choice(_CODES)) + _noise(c, 120))],
    "close of one byte": lambda c: [frame(CLOSE, b"\x03")],
    "close with a book": lambda c: [frame(CLOSE, b"\x03\xe8" + b"x" * 500)],
    "close in a message": lambda c: [frame(TEXT, b"a", fin=False), frame(CLOSE, b"\x03\xe8")],
    "close, then more": lambda c: [frame(CLOSE, b"\x03\xe8"), *_fragments(c, b"x")],
    "control in fragments": lambda c: [frame(c.choice([PING, CLOSE]), b"\x03\xe8", fin=False)],
    "a large ping": lambda c: [frame(PING, b"x" * c.randrange(126, 5000))],
    "half a frame": lambda c: [frame(TEXT, b"x" * 100)[: c.randrange(1, 100)]],
    "messages at once": lambda c: [b"".join(frame(TEXT, b"{}") for _ in range(3000))],
    "empty messages": lambda c: [b"".join(frame(TEXT) for _ in range(3000))],
    "words": lambda c: [frame(TEXT, c.choice(_WORDS)) for _ in range(5)],
    "bytes for words": lambda c: [frame(BINARY, c.choice(_WORDS))],
    "noise": lambda c: [c.randbytes(c.randrange(1, 2000))],
}

_HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
)


def handshake(path: str, *, more: bytes = b"") -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    return _HANDSHAKE.format(path=path, key=key).encode("latin-1") + more + b"\r\n"


class RawSocket:
    """A connection without any manners."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, hello: bytes, *, takes: int = 0) -> "RawSocket":
        """`takes` bounds what the system receives for a client that does not read."""
        plain = socket.socket()
        if takes:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, takes)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
        raw = cls(*await asyncio.open_connection(sock=plain))
        raw.writer.write(hello)
        return raw

    async def answer(self) -> bytes:
        """Return the head of what is answered to the handshake; empty when it is cut off."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            return await self.reader.readuntil(b"\r\n\r\n")
        return b""

    async def send(self, data: bytes) -> bool:
        """Return whether anybody is still there to take it."""
        try:
            self.writer.write(data)
            async with asyncio.timeout(2):
                await self.writer.drain()
        except (OSError, TimeoutError):
            return False
        return True

    async def rest(self, within: float = 10.0) -> bytes:
        """Read to the end."""
        with contextlib.suppress(OSError):
            async with asyncio.timeout(within):
                return await self.reader.read(-1)
        return b""

    def leave(self, *, reset: bool) -> None:
        if reset and not self.writer.is_closing():
            linger = struct.pack("ii", 1, 0)
            raw = self.writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.writer.transport.abort()
        else:
            self.writer.close()


def close_code(data: bytes) -> int:
    """Return the code of the last frame, which has to be a close frame; 0 when there is none."""
    position, code = 0, 0
    while position + 2 <= len(data):
        opcode, size = data[position] & 15, data[position + 1]
        position += 2
        if size == 126:
            size = int.from_bytes(data[position : position + 2])
            position += 2
        elif size == 127:
            size = int.from_bytes(data[position : position + 8])
            position += 8
        if opcode == CLOSE:
            code = int.from_bytes(data[position : position + 2])
        position += size
    return code
