"""Stores that are killed and come back on the same data and the same port."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from redis.asyncio import Redis

from server.child_server import ChildServer
from server.embedded import EmbeddedValkey
from tests.toxic_proxy import ToxicProxy


def kill(server: ChildServer) -> None:
    """End a store as a crash would; nothing is written any more."""
    _process_of(server).kill()


async def revive(server: ChildServer) -> None:
    """Start a killed store again on what it had written."""
    await server.stop()
    port = server.port
    await server.start()
    assert server.port == port, "somebody has taken its port"


@contextmanager
def stopped(server: ChildServer) -> Iterator[None]:
    """It keeps its connections and says nothing."""
    process = _process_of(server)
    process.suspend()
    try:
        yield
    finally:
        process.resume()


async def gone(server: ChildServer) -> None:
    """Wait until a killed store has ended."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(int(server.pid_file.read_text()))
        while process.status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.01)


def _process_of(server: ChildServer) -> psutil.Process:
    process = psutil.Process(int(server.pid_file.read_text()))
    assert str(server.pid_file) in process.cmdline(), "that is somebody else"
    return process


def client_of(server: EmbeddedValkey) -> Redis:
    return Redis.from_url(server.url, protocol=2, decode_responses=True)


@dataclass
class Pair:
    """A primary with a replica behind a bad network, and the address under which the primary of the
    day is found."""

    primary: EmbeddedValkey
    replica: EmbeddedValkey
    link: ToxicProxy
    address: ToxicProxy

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.address.port}/0"

    async def replicate(self) -> None:
        """Make the replica follow, from scratch, until it has all."""
        self.link.cut()
        self.link.heal()
        self.link.target = self.primary.port
        async with client_of(self.primary) as primary, client_of(self.replica) as replica:
            await primary.config_set("repl-diskless-sync-delay", "0")
            await replica.execute_command("REPLICAOF", "127.0.0.1", str(self.link.port))
            await _until(lambda: _is_linked(replica))
            await self.caught_up()

    async def caught_up(self) -> None:
        """Wait until the replica has all that the primary has now."""
        async with client_of(self.primary) as primary, client_of(self.replica) as replica:
            wanted = (await primary.info("replication"))["master_repl_offset"]

            async def there() -> bool:
                found = await replica.info("replication")
                return int(found.get("slave_repl_offset", -1)) >= int(wanted)

            await _until(there)

    async def fail_over(self) -> None:
        """Kill the primary, promote the replica, lead everybody to it; the dead one comes back as
        an empty replica of nobody."""
        kill(self.primary)
        await gone(self.primary)
        async with client_of(self.replica) as replica:
            await replica.execute_command("REPLICAOF", "NO", "ONE")
        self.address.target = self.replica.port
        self.address.cut()
        self.primary, self.replica = self.replica, self.primary
        await revive(self.replica)


async def _is_linked(replica: Redis) -> bool:
    return bool((await replica.info("replication")).get("master_link_status") == "up")


async def _until(condition: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def pair(directory: Path) -> AsyncIterator[Pair]:
    """Run a primary and a replica that has caught up."""
    async with AsyncExitStack() as stack:
        primary = await stack.enter_async_context(EmbeddedValkey(directory / "primary"))
        replica = await stack.enter_async_context(EmbeddedValkey(directory / "replica"))
        link = await stack.enter_async_context(ToxicProxy(primary.port))
        address = await stack.enter_async_context(ToxicProxy(primary.port))
        both = Pair(primary, replica, link, address)
        await both.replicate()
        yield both
