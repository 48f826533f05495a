"""A TCP proxy on this machine that can be made a bad network.

    async with ToxicProxy(port_of_the_server) as proxy:
        connect(proxy.port)
        proxy.black_hole()   # what is sent arrives nowhere, and nobody is told
        proxy.deafen()       # connections that are open stay open and bring nothing any more

Stopping a process is no partition: what was sent to it lies in its socket and is read on when it
goes on. Only a black hole loses it without a word.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_CHUNK = 64 * 1024


class ToxicProxy:
    """`target` is the port that new connections lead to; open ones stay where they are."""

    def __init__(self, target: int, tls: ssl.SSLContext | None = None) -> None:
        """With `tls` it is reached by that, and its target is not."""
        self.target = target
        self._tls = tls
        self.port = 0
        self.delay = 0.0
        """Seconds that every piece of data is late, each way."""
        self.swallowed = 0
        """Bytes that the black hole has taken."""
        self._hole = False
        self._deaf: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "ToxicProxy":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def black_hole(self) -> None:
        """From now on swallow all that comes, from old and new connections, and close none."""
        self._hole = True

    def deafen(self) -> None:
        """Swallow what comes over the connections that are open; new ones work."""
        self._deaf = set(self._writers)

    def heal(self) -> None:
        """Let through what comes from now on; what was swallowed is gone, so cut first."""
        self._hole = False

    def cut(self) -> None:
        """Reset every connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            async with self._connected() as (upstream, to_server):
                ends = (self._pump(reader, to_server), self._pump(upstream, writer))
                await asyncio.gather(*ends)
        except OSError:
            pass  # there is no server just now
        finally:
            writer.transport.abort()
            self._writers.discard(writer)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        while self._hole:  # the connection was taken, and that is all
            await asyncio.sleep(0.05)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers.add(writer)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()
            self._writers.discard(writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one direction to its end; then the connection ends both ways."""
        try:
            while data := await reader.read(_CHUNK):
                if self.delay:
                    await asyncio.sleep(self.delay)
                if self._hole or writer in self._deaf:
                    self.swallowed += len(data)
                    continue
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            if not self._hole:
                writer.transport.abort()
