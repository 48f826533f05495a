"""Real Valkey and MongoDB servers for development and tests.

    async with EmbeddedValkey(directory / "valkey") as valkey:
        connect(valkey.url)

Ordinary server processes on free ports of 127.0.0.1 that keep their data in their directory; what
else holds for them is said in `server.child_server`.
"""

import asyncio
from pathlib import Path

from server.binaries import EmbeddedError, find_mongod, find_valkey
from server.child_server import LOOPBACK, ChildServer
from server.repo.mongo import PyMongoError, ensure_replica_set


class EmbeddedValkey(ChildServer):
    """Valkey (or Redis >= 7.0), durable to the second, that never evicts."""

    name = "Valkey"

    def __init__(self, directory: Path, binary: Path | None = None) -> None:
        """Prepare the server `binary`; raises BinaryMissing when there is none."""
        super().__init__(directory)
        self._binary = binary or find_valkey()

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def address(self) -> str:
        return self.url

    def command(self, data: Path) -> list[str]:
        return [
            str(self._binary),
            *("--port", str(self.port), "--bind", LOOPBACK),
            *("--dir", str(data), "--pidfile", str(self.pid_file)),
            *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
            *("--maxmemory-policy", "noeviction"),
            *("--set-proc-title", "no"),  # the command line is how a leftover is known
        ]

    async def answers(self) -> bool:
        """It listens before it has loaded its data."""
        try:
            reader, writer = await asyncio.open_connection(LOOPBACK, self.port)
        except OSError:
            return False
        try:
            writer.write(b"PING\r\n")
            return await reader.readline() == b"+PONG\r\n"
        except OSError:
            return False
        finally:
            writer.close()

    async def prepare(self) -> None:
        """Nothing: it is ready once it answers."""


class EmbeddedMongo(ChildServer):
    """MongoDB as a replica set of one, so that majority writes and transactions work."""

    name = "MongoDB"

    def __init__(self, directory: Path, binary: Path | None = None) -> None:
        """Prepare the server `binary`; raises BinaryMissing when there is none."""
        super().__init__(directory)
        self._binary = binary or find_mongod()

    @property
    def uri(self) -> str:
        return f"mongodb://{LOOPBACK}:{self.port}/rowlock?replicaSet=rs0"

    @property
    def address(self) -> str:
        return self.uri

    def command(self, data: Path) -> list[str]:
        return [
            str(self._binary),
            *("--port", str(self.port), "--bind_ip", LOOPBACK, "--nounixsocket"),
            *("--dbpath", str(data), "--pidfilepath", str(self.pid_file)),
            *("--replSet", "rs0", "--oplogSize", "128"),
            *("--wiredTigerCacheSizeGB", "0.25", "--journalCommitInterval", "10"),
            # A journal of 16 MB at a time instead of 300 MB made beforehand.
            *("--wiredTigerEngineConfigString", "log=(file_max=16MB,prealloc=false)"),
            # Nobody else is there to be waited for, also when it is stopped before it is primary.
            *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=0"),
        ]

    async def answers(self) -> bool:
        """It listens only once it takes clients."""
        return True

    async def prepare(self) -> None:
        try:
            await ensure_replica_set(f"{LOOPBACK}:{self.port}")
        except PyMongoError as error:
            raise EmbeddedError(f"MongoDB cannot serve {self.directory}: {error}") from None
