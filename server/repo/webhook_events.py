"""Collection `webhook_events`: what a payment provider told us and we have acted on.

A provider tells everything at least once, Stripe for three days when it is not thanked. The rows
go after a week (see server.repo.indexes).
"""

from datetime import UTC, datetime

from server.repo.mongo import Database


class WebhookEventRepo:
    def __init__(self, database: Database) -> None:
        self._rows = database["webhook_events"]

    async def is_done(self, event_id: str) -> bool:
        return await self._rows.find_one({"_id": event_id}) is not None

    async def done(self, event_id: str) -> None:
        """Remember that the event was acted on; a repeat changes nothing."""
        row = {"done_at": datetime.now(UTC)}
        await self._rows.update_one({"_id": event_id}, {"$setOnInsert": row}, upsert=True)
