"""The browsers' ends of WebSockets, as cheap as can be: what comes is counted and forgotten."""

import asyncio
import resource

AT_ONCE = 100
HELLO = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nOrigin: http://127.0.0.1:{port}\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
    "Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Sink(asyncio.Protocol):
    def __init__(self, hello: bytes) -> None:
        self.received = 0
        self.welcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._hello = hello

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        transport.write(self._hello)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if not self.welcome.done() and b"snapshot" in data:
            self.welcome.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.welcome.done():
            self.welcome.set_exception(exc or ConnectionError("the server hung up"))


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
