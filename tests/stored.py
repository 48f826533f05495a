"""What the stores really hold: MongoDB, Redis and the demo ledger, read past the server."""

import hashlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest_asyncio
from bson import encode

from server.embedded import EmbeddedMongo, EmbeddedValkey
from server.models import new_id
from server.repo import mongo, redis
from server.repo.indexes import create_indexes
from server.repo.keys import showtime_keys
from server.repo.mongo import Collection, Database, Document
from server.repo.redis import Redis

_NUMBERS = itertools.count()
_LONG_AGO = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Stored:
    database: Database
    redis: Redis
    mongo_uri: str
    redis_url: str

    async def seats(self, showtime_id: str) -> dict[str, str]:
        """Seat -> `l:<user>`, `c:<booking>`, `b:<booking>` or `x`, for seats that are not free."""
        return await self.redis.hgetall(showtime_keys(showtime_id)["seats_key"])

    async def image(self, showtime_id: str) -> list[dict[str, str]]:
        """All that Redis knows of a showtime: seats, locks and checkouts, position."""
        keys = showtime_keys(showtime_id)
        names = ("seats_key", "locks_key", "meta_key")
        return [await self.redis.hgetall(keys[name]) for name in names]

    async def booking(self, booking_id: str) -> Document:
        row = await self.database["bookings"].find_one({"_id": booking_id})
        assert row is not None, f"no booking {booking_id}"
        return row

    async def bookings_of(self, showtime_id: str) -> list[Document]:
        return await self.database["bookings"].find({"showtime_id": showtime_id}).to_list(None)

    @property
    def ledger(self) -> Collection:
        """What the demo payment provider writes down for itself."""
        return self.database.client[f"{self.database.name}_demo_bank"]["intents"]

    async def intents_of(self, booking_id: str) -> list[Document]:
        """The rows of the ledger that belong to a booking, oldest first."""
        rows = self.ledger.find({"_id": {"$regex": f"^{booking_id}-"}})
        return await rows.sort("$natural", 1).to_list(None)

    async def charged(self, booking_id: str) -> int:
        """Captured minus refunded, in minor units."""
        return sum(
            intent["amount"]["minor"] - sum(intent["refunds"].values())
            for intent in await self.intents_of(booking_id)
            if intent["status"] == "captured"
        )

    async def past_its_deadline(self, booking_id: str) -> None:
        """Let the time of a booking be over, and of the next try at what failed."""
        past = {"expires_at": _LONG_AGO, "pay_by": _LONG_AGO, "refund_at": _LONG_AGO}
        await self.database["bookings"].update_one({"_id": booking_id}, {"$set": past})

    async def answers(self, key: str) -> list[Document]:
        """The rows kept for an Idempotency-Key, whosever."""
        rows = self.database["idempotency"].find({"_id": {"$regex": f":{key}$"}})
        return await rows.to_list(None)

    async def digest(self) -> dict[str, str]:
        """A hash per collection and per Redis key, to see whether anything was changed.

        Left out: `leases`, which the background work renews all the time, and the limits, which
        count every request.
        """
        collections = [self.database[name] for name in await self.database.list_collection_names()]
        found = {}
        for collection in [*collections, self.ledger]:
            if collection.name != "leases":
                content = hashlib.sha256()
                async for row in collection.find().sort("_id", 1):
                    content.update(encode(row))
                found[collection.name] = content.hexdigest()
        async for key in self.redis.scan_iter(count=1000):
            if ":limits:" not in key:
                found[key] = hashlib.sha256(await _dump(self.redis, key)).hexdigest()
        return found


async def _dump(client: Redis, key: str) -> bytes:
    """DUMP gives bytes, which a client that decodes its answers cannot read."""
    return await client.execute_command("DUMP", key, NEVER_DECODE=True) or b""


def refunds(row: Document) -> list[str]:
    """How far each refund of a booking's document is."""
    return [refund["status"] for refund in row.get("refunds", [])]


@asynccontextmanager
async def stores(valkey: EmbeddedValkey, mongod: EmbeddedMongo) -> AsyncIterator[Stored]:
    """One of Valkey's sixteen databases, emptied, and a new one of MongoDB's."""
    redis_url = f"{valkey.url.removesuffix('/0')}/{next(_NUMBERS) % 16}"
    mongo_uri = f"mongodb://127.0.0.1:{mongod.port}/{new_id('t')}?replicaSet=rs0"
    database, client = mongo.connect(mongo_uri), redis.connect(redis_url)
    try:
        await client.flushdb()
        await create_indexes(database)
        yield Stored(database, client, mongo_uri, redis_url)
    finally:
        await client.aclose()
        for name in (database.name, f"{database.name}_demo_bank"):
            await database.client.drop_database(name)
        await mongo.leave(database)


def stocked() -> Any:
    """Return a fixture `stored`: stores for all tests of a module, without a server."""

    @pytest_asyncio.fixture(scope="module", loop_scope="module", name="stored")
    async def fixture(valkey: EmbeddedValkey, mongo: EmbeddedMongo) -> AsyncIterator[Stored]:
        async with stores(valkey, mongo) as stored:
            yield stored

    return fixture
