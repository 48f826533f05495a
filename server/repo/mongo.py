"""The only place that knows the MongoDB driver.

Every write is acknowledged by a majority and journaled, every read is majority-committed: a
booking that was answered cannot roll back. Swapping Motor for `pymongo.AsyncMongoClient` means
changing this file.
"""

import asyncio
import logging
from typing import Any
from urllib.parse import urlsplit

from bson.codec_options import CodecOptions
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection, AsyncIOMotorDatabase
from pymongo import ASCENDING, DESCENDING, IndexModel, ReturnDocument
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
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
    "connect",
    "ensure_replica_set",
    "insert_missing",
    "is_duplicate_of",
    "ping",
]

# At DEBUG the driver writes whole documents into the log, secrets and all.
logging.getLogger("pymongo").setLevel(logging.INFO)

Document = dict[str, Any]
Client = AsyncIOMotorClient[Document]
Collection = AsyncIOMotorCollection[Document]
Database = AsyncIOMotorDatabase[Document]

UNAVAILABLE: tuple[type[Exception], ...] = (ConnectionFailure, WTimeoutError, ExecutionTimeout)
"""What the driver raises when the store does not answer; the outcome of a write is then unknown."""

_TIMEOUT_MS = 5_000


def connect(uri: str) -> Database:
    """Return the database that `uri` names (`rowlock` when it names none); connects lazily.

    Raises ValueError when the address itself cannot be understood.
    """
    try:
        client: Client = AsyncIOMotorClient(
            uri,
            serverSelectionTimeoutMS=_TIMEOUT_MS,
            connectTimeoutMS=_TIMEOUT_MS,
            socketTimeoutMS=2 * _TIMEOUT_MS,
            tz_aware=True,
        )
    except (PyMongoError, ValueError) as error:
        raise ValueError(str(error)) from error
    name = urlsplit(uri).path.strip("/") or "rowlock"
    return client.get_database(
        name,
        codec_options=CodecOptions(tz_aware=True),
        write_concern=WriteConcern(w="majority", j=True, wtimeout=2 * _TIMEOUT_MS),
        read_concern=ReadConcern("majority"),
    )


async def ping(database: Database) -> None:
    """Raise one of UNAVAILABLE unless the server answers."""
    await database.command("ping")


def is_duplicate_of(error: DuplicateKeyError, field: str) -> bool:
    """Say whether the index that refused the write covers `field`."""
    details = error.details or {}
    return field in details.get("keyPattern", {})


async def insert_missing(collection: Collection, documents: list[Document]) -> int:
    """Insert the documents whose `_id` is new, leave the others as they are; return how many."""
    known = await collection.distinct("_id", {"_id": {"$in": [d["_id"] for d in documents]}})
    missing = [document for document in documents if document["_id"] not in set(known)]
    if not missing:
        return 0
    try:
        return len((await collection.insert_many(missing, ordered=False)).inserted_ids)
    except BulkWriteError as error:
        details = error.details or {}
        refusals = details.get("writeErrors", [])
        if details.get("writeConcernErrors") or any(r["code"] != 11000 for r in refusals):
            raise
        return len(missing) - len(refusals)  # another process was faster


async def ensure_replica_set(host: str) -> None:
    """Make the lone mongod at `host` ("127.0.0.1:port") the primary of a one-node replica set.

    A data directory that was served on another port before is re-pointed to this one.
    """
    client: Client = AsyncIOMotorClient(
        f"mongodb://{host}/?directConnection=true", serverSelectionTimeoutMS=30_000
    )
    try:
        admin = client.admin
        try:
            config = (await admin.command("replSetGetConfig"))["config"]
        except OperationFailure as error:
            if error.code != 94:  # NotYetInitialized
                raise
            members = [{"_id": 0, "host": host}]
            await admin.command("replSetInitiate", {"_id": "rs0", "members": members})
        else:
            if config["members"][0]["host"] != host:
                config["members"][0]["host"] = host
                config["version"] += 1
                await admin.command("replSetReconfig", config, force=True)
        for _ in range(600):
            if (await admin.command("hello")).get("isWritablePrimary"):
                return
            await asyncio.sleep(0.05)
        raise ConfigurationError(f"{host} did not become primary within 30 s")
    finally:
        client.close()
