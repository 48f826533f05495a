"""The demo payment provider's own ledger, in a database of its own: Rowlock's never mentions it.

Each call is one atomic step by MongoDB's clock. What is to happen at a moment has happened for
whoever comes after it: nobody has to be running at that moment.
"""

from collections import Counter
from collections.abc import Collection
from typing import Any, Literal

from server.models import Money
from server.repo.mongo import Database, Document, DuplicateKeyError, ReturnDocument

Outcome = Literal["captured", "declined", "cancelled"]


class ProviderAway(Exception):
    """For this intent the provider is out of reach, until a moment that the ledger holds."""


_OPEN = {"$eq": ["$status", "created"]}
_DUE = {"$and": [{"$gt": ["$captures_at", None]}, {"$lte": ["$captures_at", "$$NOW"]}]}
_STATUS = {"$cond": [{"$and": [_OPEN, _DUE]}, "captured", "$status"]}
"""The status that counts: a capture whose moment has come stands, written down or not."""
_IN_REACH = {"$lte": ["$away_until", "$$NOW"]}
"""True without `away_until` too: what is missing sorts before every date."""
_GIVEN_BACK = {"$sum": {"$map": {"input": {"$objectToArray": "$refunds"}, "in": "$$this.v"}}}


class DemoPaymentRepo:
    """Rows: `_id` (the key), `amount`, `method`, `status`, `refunds` (key -> minor units), and
    where the method brings it about `captures_at` and `away_until`.

    All methods but `kept` raise ProviderAway, and LookupError when there is no such intent.
    """

    def __init__(self, database: Database) -> None:
        bank = database.client.get_database(
            f"{database.name}_demo_bank", write_concern=database.write_concern
        )
        self._rows = bank["intents"]

    async def create(self, intent_id: str, amount: Money, method: str) -> bool:
        """Open an intent; a repeat changes nothing. False: it is there for something else."""
        row: Document = {
            "_id": intent_id,
            "amount": amount.as_json(),
            "method": method,
            "status": "created",
            "refunds": {},
        }
        try:
            await self._rows.insert_one(row)
        except DuplicateKeyError:
            first = await self.get(intent_id)
            return (first["amount"], first["method"]) == (row["amount"], method)
        return True

    async def get(self, intent_id: str) -> dict[str, Any]:
        return await self._step(intent_id)

    async def settle(self, intent_id: str, outcome: Outcome) -> Outcome:
        """Give an open intent its outcome, once; returns the one that stands."""
        row = await self._step(intent_id, status={"$cond": [_OPEN, outcome, "$status"]})
        stands: Outcome = row["status"]
        return stands

    async def capture_in(self, intent_id: str, seconds: float) -> None:
        """Let an open intent be captured so much later, unless it has ended by then."""
        await self._step(intent_id, captures_at=_once("$captures_at", seconds))

    async def go_away(self, intent_id: str, seconds: float) -> None:
        """Be out of reach for so long, once per open intent."""
        await self._step(intent_id, away_until=_once("$away_until", seconds))

    async def refund(self, intent_id: str, key: str, amount: Money) -> bool:
        """Give back `amount` once per `key`; False when it was never captured or is not left."""
        name = {"$literal": key}  # dots and dollars in it mean nothing
        given = {"$getField": {"field": name, "input": "$refunds"}}
        more = {"$setField": {"field": name, "input": "$refunds", "value": amount.minor}}
        may = {
            "$and": [
                amount.minor > 0,
                {"$eq": ["$status", "captured"]},
                {"$eq": ["$amount.currency", amount.currency]},
                {"$eq": [{"$type": given}, "missing"]},
                {"$lte": [{"$add": [_GIVEN_BACK, amount.minor]}, "$amount.minor"]},
            ]
        }
        row = await self._step(intent_id, refunds={"$cond": [may, more, "$refunds"]})
        same: bool = row["refunds"].get(key) == amount.minor
        return same and row["amount"]["currency"] == amount.currency

    async def kept(self, but: Collection[str]) -> Counter[str]:
        """Return currency -> minor units captured and not given back, but for some intents."""
        kept: Counter[str] = Counter()
        captured = {"_id": {"$nin": list(but)}, "$expr": {"$eq": [_STATUS, "captured"]}}
        async for row in self._rows.find(captured):
            given_back = sum(row["refunds"].values())
            kept[row["amount"]["currency"]] += row["amount"]["minor"] - given_back
        return kept

    async def _step(self, intent_id: str, **changes: Document) -> dict[str, Any]:
        """Write down a capture that is due, then the changes; returns the row after them."""
        row: dict[str, Any] | None = await self._rows.find_one_and_update(
            {"_id": intent_id, "$expr": _IN_REACH},
            [
                {"$set": {"status": _STATUS}},
                *({"$set": {name: to}} for name, to in changes.items()),
            ],
            return_document=ReturnDocument.AFTER,
        )
        if row is not None:
            return row
        if await self._rows.find_one({"_id": intent_id}):
            raise ProviderAway(f"away from {intent_id}")
        raise LookupError(f"no intent {intent_id}")


def _once(field: str, seconds: float) -> Document:
    """A moment so far from now: set while the intent is open, and never moved."""
    moment = {"$add": ["$$NOW", round(seconds * 1000)]}
    return {"$cond": [_OPEN, {"$ifNull": [field, moment]}, field]}
