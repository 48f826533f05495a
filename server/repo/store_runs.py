"""Collection `store_runs`: the runs of Redis whose map was last compared with the bookings."""

from server.repo.mongo import Database


class StoreRunRepo:
    def __init__(self, database: Database) -> None:
        self._rows = database["store_runs"]

    async def compared(self) -> list[str]:
        """Return the id of that run for each partition; empty when none ever was."""
        row = await self._rows.find_one({"_id": "redis"})
        return list(row.get("runs", ())) if row else []

    async def remember(self, runs: list[str]) -> None:
        await self._rows.find_one_and_update(
            {"_id": "redis"}, [{"$set": {"runs": {"$literal": runs}}}], upsert=True
        )
