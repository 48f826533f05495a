"""Confirmed bookings per second over HTTP: two seats, booked and paid, 32 buyers, one server.

The reference, measured in turns with the real thing: every document that these bookings have left
in MongoDB (bookings, payments, idempotency records, audit entries), inserted once more by bare
majority-acknowledged, journaled inserts, as many at a time, by a process that does nothing else.
The real thing has to write most of them more than once, and in order. The demo provider keeps its
ledger in the same MongoDB. Prints medians of several rounds.
"""

import argparse
import asyncio
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import uvloop

from bench import ground, http_load
from server.models import new_id
from server.repo import mongo

BUYERS = 32
SEATS_EACH = 2
LEFT = ("bookings", "idempotency", "audit_logs")
PAID = {"payment_method": "demo:approve"}
TARGET = 0.4
QUIET_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Figure:
    bookings: float
    p99_ms: float
    inserts: float
    """Bookings a second, if their documents were only inserted."""
    documents: float
    """Of one booking."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bookings", type=int, default=1_000, help="in a round")
    options = parser.parse_args()
    uvloop.run(measure(options.rounds, options.bookings))


async def measure(rounds: int, count: int) -> None:
    print(f"machine: {ground.machine()}; server, worker, buyers, Valkey and MongoDB share it")
    async with ground.stores() as stores:
        database = mongo.connect(stores.mongo_uri)
        await ground.introduce(stores.mongo_uri, count)
        async with (
            ground.server(stores, BACKGROUND_WORK="off") as rowlock,
            ground.worker(stores),
        ):
            figures = [
                await one_round(stores, rowlock, database, number, count)
                for number in range(rounds)
            ]
        await mongo.leave(database)
    report(figures)


async def one_round(
    stores: ground.Stores,
    rowlock: ground.Process,
    database: mongo.Database,
    number: int,
    count: int,
) -> Figure:
    """Sell `count` times on a showtime of its own, then insert what that has left."""
    showtime, before = f"sho_{number}", await _left(database)
    seats = await ground.plan(stores.mongo_uri, [showtime], count * SEATS_EACH)
    people = ground.tokens(count)
    sales = (
        _Sale(rowlock.host, showtime, seats[n * SEATS_EACH :][:SEATS_EACH], people[n])
        for n in range(count)
    )
    latencies: list[float] = []
    began = perf_counter()
    await asyncio.gather(*(_buyer(rowlock.address, sales, latencies) for _ in range(BUYERS)))
    spent = perf_counter() - began
    documents = [each for each in await _all(database) if each["_id"] not in before]
    inserted = await _inserting(database, f"round_{number}", documents)
    p99 = quantiles(latencies, n=100)[98] * 1000
    return Figure(count / spent, p99, count / inserted, len(documents) / count)


@dataclass(frozen=True, slots=True)
class _Sale:
    host: str
    showtime: str
    seats: list[str]
    token: str

    def book(self) -> bytes:
        return self._post("/api/bookings", {"showtime_id": self.showtime, "seats": self.seats})

    def pay(self, booking_id: str) -> bytes:
        return self._post(f"/api/bookings/{booking_id}/pay", PAID)

    def _post(self, path: str, body: dict[str, Any]) -> bytes:
        key = f"Idempotency-Key: {new_id('key')}"
        content = json.dumps(body).encode()
        return http_load.request("POST", self.host, path, self.token, content, key)


async def _buyer(address: str, sales: Iterator[_Sale], latencies: list[float]) -> None:
    """Make one sale after another; each latency is that of a whole sale, in seconds."""
    async with http_load.client(address) as client:
        for sale in sales:
            began = perf_counter()
            status, booked = await client.ask(sale.book())
            assert status == 201, booked
            status, paid = await client.ask(sale.pay(json.loads(booked)["booking"]["id"]))
            assert status == 200, paid
            latencies.append(perf_counter() - began)


async def _left(database: mongo.Database) -> set[Any]:
    return {each["_id"] for each in await _documents(database)}


async def _documents(database: mongo.Database) -> list[mongo.Document]:
    ledger = database.client[f"{database.name}_demo_bank"]["intents"]
    collections = [*(database[name] for name in LEFT), ledger]
    found = [await each.find().to_list(None) for each in collections]
    return list(itertools.chain(*found))


async def _all(database: mongo.Database) -> list[mongo.Document]:
    """Return all documents, once the audit log has everything."""
    give_up = perf_counter() + QUIET_SECONDS
    while True:
        waiting = await database["audit_outbox"].count_documents({})
        due = await database["bookings"].count_documents({"audit_due": True})
        if not waiting and not due:
            return await _documents(database)
        if perf_counter() > give_up:
            raise RuntimeError("the audit log does not get everything")
        await asyncio.sleep(0.2)


async def _inserting(database: mongo.Database, name: str, documents: list[mongo.Document]) -> float:
    """Insert them into a new collection, so many at a time as there are buyers; seconds."""
    rows, left = database[name], iter(documents)

    async def insert() -> None:
        for document in left:
            await rows.insert_one(document)

    began = perf_counter()
    await asyncio.gather(*(insert() for _ in range(BUYERS)))
    return perf_counter() - began


def report(figures: list[Figure]) -> None:
    sold = median(each.bookings for each in figures)
    inserts = median(each.inserts for each in figures)
    p99 = median(each.p99_ms for each in figures)
    documents = median(each.documents for each in figures)
    ratios = [each.bookings / each.inserts for each in figures]
    print(f"confirmed bookings  {sold:7.0f} /s   p99 {p99:.0f} ms for booking and paying")
    print(f"bare inserts        {inserts:7.0f} /s   of the {documents:.1f} documents of a booking")
    print(
        f"ratio to the bare inserts  {median(ratios):.3f}  "
        f"(rounds {min(ratios):.3f} to {max(ratios):.3f}; target at least {TARGET})"
    )


if __name__ == "__main__":
    main()
