"""A real replica set of three mongod on this machine, quick to elect."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from server.child_server import LOOPBACK
from server.embedded import EmbeddedMongo
from tests.fallible_stores import gone, kill


class Member(EmbeddedMongo):
    """One mongod that waits to be told whom it belongs to."""

    async def prepare(self) -> None:
        """It becomes a member once all have started."""

    @property
    def host(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    async def is_primary(self) -> bool:
        try:
            return bool((await self.ask({"hello": 1})).get("isWritablePrimary"))
        except PyMongoError:
            return False

    async def ask(self, command: dict[str, object]) -> dict[str, object]:
        return await asyncio.to_thread(self._ask, command)

    def _ask(self, command: dict[str, object]) -> dict[str, object]:
        address = f"mongodb://{self.host}/?directConnection=true"
        with MongoClient[dict[str, object]](address, serverSelectionTimeoutMS=500) as client:
            return client.admin.command(command)


class ReplicaSet:
    def __init__(self, members: list[Member]) -> None:
        self.members = members

    def uri(self, database: str) -> str:
        hosts = ",".join(member.host for member in self.members)
        return f"mongodb://{hosts}/{database}?replicaSet=rs0"

    async def primary(self, seconds: float = 30) -> Member:
        """Wait until one is elected that lives."""
        async with asyncio.timeout(seconds):
            while True:
                for member in self.members:
                    if await member.is_primary():
                        return member
                await asyncio.sleep(0.05)

    async def kill_primary(self) -> Member:
        """End the primary as a crash would; returns it."""
        primary = await self.primary()
        kill(primary)
        await gone(primary)
        return primary


@asynccontextmanager
async def replica_set(directory: Path) -> AsyncIterator[ReplicaSet]:
    async with AsyncExitStack() as stack:
        members = [Member(directory / f"member-{number}") for number in range(3)]
        for member in members:
            await stack.enter_async_context(member)
        config = {
            "_id": "rs0",
            "members": [{"_id": n, "host": member.host} for n, member in enumerate(members)],
            "settings": {"electionTimeoutMillis": 1500, "heartbeatIntervalMillis": 300},
        }
        await members[0].ask({"replSetInitiate": config})
        made = ReplicaSet(members)
        await made.primary()
        yield made
