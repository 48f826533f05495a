"""Collection `store_runs`: the run of Redis whose map was last compared with the bookings."""

from server.repo.mongo import Database


class StoreRunRepo:
    def __init__(self, database: Database) -> None:
        self._rows = database["store_runs"]

    async def compared(self) -> str:
        """Return the id of that run; empty when none ever was."""
        row = await self._rows.find_one({"_id": "redis"})
        return str(row["run"]) if row else ""

    async def remember(self, run: str) -> None:
        await self._rows.find_one_and_update(
            {"_id": "redis"}, [{"$set": {"run": {"$literal": run}}}], upsert=True
        )
