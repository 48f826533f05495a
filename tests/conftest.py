"""Real servers for the whole run, fresh data for each test."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager

import pytest
import redis

from server.binaries import find_redis
from server.child_server import ChildServer
from server.embedded import EmbeddedMongo, EmbeddedValkey
from server.repo.indexes import create_indexes
from server.repo.mongo import Database, connect, leave
from tests.redis_clusters import Cluster, cluster


@contextmanager
def running(server: ChildServer) -> Iterator[None]:
    """Run `server` from outside of any event loop."""
    asyncio.run(server.start())
    try:
        yield
    finally:
        asyncio.run(server.stop())


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path_factory.mktemp("valkey"))
    with running(server):
        yield server


@pytest.fixture(scope="session")
def redis7(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """Debian's redis-server, the oldest that Rowlock supports."""
    binary = find_redis()
    if binary is None:
        if os.environ.get("ROWLOCK_REQUIRE_REDIS7"):
            pytest.fail("ROWLOCK_REQUIRE_REDIS7 is set, and there is no redis-server >= 7.0")
        pytest.skip("there is no redis-server >= 7.0")
    server = EmbeddedValkey(tmp_path_factory.mktemp("redis"), binary)
    with running(server):
        yield server


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three masters."""
    stack = AsyncExitStack()
    with asyncio.Runner() as runner:
        made = cluster(tmp_path_factory.mktemp("cluster"))
        yield runner.run(stack.enter_async_context(made))
        runner.run(stack.aclose())


@pytest.fixture(scope="session")
def mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedMongo]:
    server = EmbeddedMongo(tmp_path_factory.mktemp("mongo"))
    with running(server):
        yield server


@pytest.fixture
def valkey_url(valkey: EmbeddedValkey) -> str:
    """An empty Valkey."""
    return _emptied(valkey)


@pytest.fixture(params=["valkey", "redis7"])
def redis_url(request: pytest.FixtureRequest) -> str:
    """An empty store; the test runs once on each kind."""
    return _emptied(request.getfixturevalue(request.param))


@pytest.fixture(params=["valkey", "redis7", "redis_cluster"])
def any_redis_url(request: pytest.FixtureRequest) -> str:
    """The same, and once on a cluster."""
    found = request.getfixturevalue(request.param)
    if isinstance(found, Cluster):
        for node in found.masters:
            _emptied(node)
        return found.url
    return _emptied(found)


@pytest.fixture
def mongo_uri(mongo: EmbeddedMongo) -> str:
    return mongo.uri


@pytest.fixture
async def database(mongo: EmbeddedMongo) -> AsyncIterator[Database]:
    """A MongoDB database with its indexes and nothing else.

    All tests share one, emptied before each: making the indexes anew takes longer than most tests.
    """
    database = connect(f"mongodb://127.0.0.1:{mongo.port}/shared?replicaSet=rs0")
    try:
        for owned in (database, database.client[f"{database.name}_demo_bank"]):
            await owned.command({"profile": 0})
            await owned["system.profile"].drop()
            for collection in await owned.list_collection_names():
                await owned[collection].delete_many({})
        await create_indexes(database)
        yield database
    finally:
        await leave(database)


def _emptied(server: EmbeddedValkey) -> str:
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
    return server.url
