"""The demo payment provider's own ledger, in a database of its own: Rowlock's never mentions it."""

from collections import Counter
from collections.abc import Collection
from typing import Any, Literal

from server.models import Money
from server.repo.mongo import Database, Document, DuplicateKeyError

Outcome = Literal["captured", "declined", "cancelled"]


class DemoPaymentRepo:
    def __init__(self, database: Database) -> None:
        bank = database.client.get_database(
            f"{database.name}_demo_bank", write_concern=database.write_concern
        )
        self._rows = bank["intents"]

    async def create(self, intent_id: str, amount: Money, method: str) -> None:
        """Open an intent; a repeat changes nothing."""
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
            return

    async def settle(self, intent_id: str, outcome: Outcome) -> Outcome:
        """Give an open intent its outcome, once; returns the one that stands."""
        await self._rows.update_one(
            {"_id": intent_id, "status": "created"}, {"$set": {"status": outcome}}
        )
        stands: Outcome = (await self.get(intent_id))["status"]
        return stands

    async def refund(self, intent_id: str, key: str) -> None:
        """Give the captured amount back, once per `key`."""
        row = await self.get(intent_id)
        await self._rows.update_one(
            {"_id": intent_id, "status": "captured", f"refunds.{key}": {"$exists": False}},
            {"$set": {f"refunds.{key}": row["amount"]["minor"]}},
        )

    async def kept(self, but: Collection[str]) -> Counter[str]:
        """Return currency -> minor units captured and not given back, but for some intents."""
        kept: Counter[str] = Counter()
        async for row in self._rows.find({"status": "captured", "_id": {"$nin": list(but)}}):
            given_back = sum(row["refunds"].values())
            kept[row["amount"]["currency"]] += row["amount"]["minor"] - given_back
        return kept

    async def get(self, intent_id: str) -> dict[str, Any]:
        row = await self._rows.find_one({"_id": intent_id})
        if row is None:
            raise LookupError(f"no intent {intent_id}")
        return row
