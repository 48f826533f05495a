"""The only place that knows the MongoDB driver.

Every write is acknowledged by a majority and journaled, every read is majority-committed: a
booking that was answered cannot roll back. Swapping Motor for `pymongo.AsyncMongoClient`, which the
seat journal goes by already, means changing this file.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

from bson.codec_options import CodecOptions
from motor.motor_asyncio import (
    AsyncIOMotorClient,
    AsyncIOMotorClientSession,
    AsyncIOMotorCollection,
    AsyncIOMotorDatabase,
)
from pymongo import ASCENDING, DESCENDING, AsyncMongoClient, IndexModel, ReturnDocument
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WTimeoutError,
)
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

__all__ = [
    "ASCENDING",
    "DESCENDING",
    "UNAVAILABLE",
    "BulkWriteError",
    "Collection",
    "Database",
    "Document",
    "DuplicateKeyError",
    "IndexModel",
    "PyMongoError",
    "ReturnDocument",
    "Transaction",
    "connect",
    "connect_in_loop",
    "ensure_replica_set",
    "in_transaction",
    "insert_missing",
    "is_duplicate_of",
    "leave",
    "ping",
    "server_version",
]

# At DEBUG the driver writes whole documents into the log, secrets and all.
logging.getLogger("pymongo").setLevel(logging.INFO)

Document = dict[str, Any]
Client = AsyncIOMotorClient[Document]
Collection = AsyncIOMotorCollection[Document]
Database = AsyncIOMotorDatabase[Document]
Transaction = AsyncIOMotorClientSession
"""What a call is given as `session` to be part of a transaction."""

T = TypeVar("T")

UNAVAILABLE: tuple[type[Exception], ...] = (ConnectionFailure, WTimeoutError, ExecutionTimeout)
"""What the driver raises when the store does not answer; the outcome of a write is then unknown."""

_TIMEOUT_MS = 5_000
_PRIMARY_S = 60
_GOODBYE_SECONDS = 1.0
"""The sessions that we do not end then end by themselves, half an hour later."""
_ALREADY_INITIALIZED, _NOT_YET_INITIALIZED = 23, 94  # error codes of the server


def connect(uri: str) -> Database:
    """Return the database that `uri` names (`rowlock` when it names none); connects lazily.

    Raises ValueError when the address itself cannot be understood.
    """
    return _database(AsyncIOMotorClient, uri)


def connect_in_loop(uri: str) -> Database:
    """The same, by PyMongo's own client: with the calls of Motor, but no threads.

    For what is written all the time: a thread gets its turn when the event loop lets go, at each
    step of a write.
    """
    return _database(AsyncMongoClient, uri)


def _database(kind: Callable[..., Any], uri: str) -> Database:
    try:
        client: Client = kind(
            uri,
            serverSelectionTimeoutMS=_TIMEOUT_MS,
            connectTimeoutMS=_TIMEOUT_MS,
            socketTimeoutMS=2 * _TIMEOUT_MS,
            tz_aware=True,
        )
        return client.get_database(
            urlsplit(uri).path.strip("/") or "rowlock",
            codec_options=CodecOptions(tz_aware=True),
            write_concern=WriteConcern(w="majority", j=True, wtimeout=2 * _TIMEOUT_MS),
            read_concern=ReadConcern("majority"),
        )
    except (PyMongoError, ValueError) as error:
        raise ValueError(str(error)) from error


async def leave(database: Database) -> None:
    """End every connection of either kind of client; waits little for a server that is away."""
    client: Any = database.client
    motor = isinstance(client, AsyncIOMotorClient)
    try:
        async with asyncio.timeout(_GOODBYE_SECONDS):
            await (_in_a_thread(client.delegate.close) if motor else client.close())
    except TimeoutError:
        if not motor:
            await client.close()  # its sessions are given up by now, which took the time


async def _in_a_thread(work: Callable[[], None]) -> None:
    """Run `work` elsewhere: neither the event loop nor the end of the process waits for it."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def run() -> None:
        try:
            work()
        finally:
            with suppress(RuntimeError):  # the loop has not waited
                loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, daemon=True).start()
    await done.wait()


async def ping(*databases: Database) -> None:
    """Raise one of UNAVAILABLE unless the server answers to each."""
    await asyncio.gather(*(database.command("ping") for database in databases))


async def server_version(database: Database) -> str:
    """Return what the server calls itself, e.g. `6.0.5`; raises one of UNAVAILABLE."""
    return str((await database.command("buildInfo"))["version"])


async def in_transaction(
    database: Database, work: Callable[[Transaction], Coroutine[None, None, T]]
) -> T:
    """Do all that `work` writes with its Transaction, or nothing of it; returns what it returns.

    It reads one moment of the store. It is run again when another write was in its way, so it
    should do nothing but calls of the database; what it raises undoes it.
    """
    async with await database.client.start_session() as session:
        done: T = await session.with_transaction(
            work, read_concern=ReadConcern("snapshot"), write_concern=database.write_concern
        )
        return done


def is_duplicate_of(error: DuplicateKeyError, field: str) -> bool:
    """Say whether the index that refused the write covers `field`."""
    details = error.details or {}
    return field in details.get("keyPattern", {})


async def insert_missing(collection: Collection, documents: list[Document]) -> int:
    """Insert the documents whose `_id` is new, leave the others as they are; return how many."""
    try:
        return len((await collection.insert_many(documents, ordered=False)).inserted_ids)
    except BulkWriteError as error:
        details = error.details or {}
        refusals = details.get("writeErrors", [])
        if details.get("writeConcernErrors") or any(r["code"] != 11000 for r in refusals):
            raise
        return len(documents) - len(refusals)


async def ensure_replica_set(host: str) -> None:
    """Make the lone mongod at `host` ("127.0.0.1:port") the primary of a one-node replica set.

    A data directory that was served on another port before is re-pointed to this one. Raises
    PyMongoError.
    """
    client: Client = AsyncIOMotorClient(
        f"mongodb://{host}/?directConnection=true", serverSelectionTimeoutMS=_TIMEOUT_MS
    )
    give_up = time.monotonic() + _PRIMARY_S
    try:
        while not await _is_primary(client.admin):
            if time.monotonic() > give_up:
                raise ConfigurationError(f"{host} did not become primary within {_PRIMARY_S} s")
            await _point_replica_set(client.admin, host)
            await asyncio.sleep(0.05)
    finally:
        client.close()


async def _is_primary(admin: Database) -> bool:
    return bool((await admin.command("hello")).get("isWritablePrimary"))


async def _point_replica_set(admin: Database, host: str) -> None:
    """Bring the replica set's configuration to `host`, or let the caller come again.

    A mongod that has just started may still look for itself among the stored members: it then
    claims to have no configuration, refuses a new one, and drops its clients when it is through.
    """
    try:
        config = await _replica_set_config(admin)
        if config is None:
            members = [{"_id": 0, "host": host}]
            await admin.command("replSetInitiate", {"_id": "rs0", "members": members})
        elif config["members"][0]["host"] != host:
            config["members"][0]["host"] = host
            config["version"] += 1
            await admin.command("replSetReconfig", config, force=True)
    except ServerSelectionTimeoutError:  # it is gone
        raise
    except AutoReconnect:
        return
    except OperationFailure as error:
        if error.code != _ALREADY_INITIALIZED:
            raise


async def _replica_set_config(admin: Database) -> Document | None:
    try:
        config: Document = (await admin.command("replSetGetConfig"))["config"]
    except OperationFailure as error:
        if error.code != _NOT_YET_INITIALIZED:
            raise
        return None
    return config
