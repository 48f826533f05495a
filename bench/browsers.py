"""The browsers' ends of WebSockets, as cheap as can be: frames are counted and forgotten."""

import asyncio
import resource
from collections.abc import Iterator

AT_ONCE = 100
TEXT, PING = 0x81, 0x89
HELLO = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nOrigin: http://127.0.0.1:{port}\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
    "Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Sink(asyncio.Protocol):
    """`welcome` is done with the first text frame, which is the map."""

    def __init__(self, hello: bytes) -> None:
        self.frames = 0
        """Text frames that have come whole."""
        self.welcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._hello = hello
        self._rest = b""
        self._greeted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        transport.write(self._hello)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        if not self._greeted:
            _, end, after = data.partition(b"\r\n\r\n")
            self._greeted, data = bool(end), after if end else data
        self._rest = self._counted(data) if self._greeted else data
        if self.frames and not self.welcome.done():
            self.welcome.set_result(None)

    def _counted(self, data: bytes) -> bytes:
        """Count the whole frames in `data`; returns what is left."""
        at = 0
        for kind, _, end in whole_frames(data):
            self.frames += kind == TEXT
            at = end
        return data[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.welcome.done():
            self.welcome.set_exception(exc or ConnectionError("the server hung up"))


def whole_frames(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the first byte of each whole frame of up to 64 KiB, and where its payload begins and
    ends."""
    end = 0
    while len(data) >= end + 4:
        kind, size, begin = data[end], data[end + 1], end + 2
        if size == 126:
            size, begin = int.from_bytes(data[end + 2 : end + 4]), end + 4
        if len(data) < begin + size:
            return
        end = begin + size
        yield kind, begin, end


def hello(port: int, path: str) -> bytes:
    """Return the request of a browser that opens a WebSocket."""
    return HELLO.format(path=path, port=port).encode()


async def connected(port: int, path: str, count: int, at_once: int = AT_ONCE) -> list[Sink]:
    """Open so many sockets, so many at a time, and wait until each has its snapshot."""
    request, free = hello(port, path), asyncio.Semaphore(at_once)
    loop = asyncio.get_running_loop()

    async def one() -> Sink:
        async with free:
            _, sink = await loop.create_connection(lambda: Sink(request), "127.0.0.1", port)
            await sink.welcome
            return sink

    return list(await asyncio.gather(*(one() for _ in range(count))))


def let_open(files: int) -> None:
    """Let this process, and those it starts, have so many files open; raises OSError or ValueError
    when the machine does not allow that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, max(files, hard)))
