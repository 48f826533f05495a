"""Collection `leases`: which process does a job that one should do at a time."""

from datetime import UTC, datetime

from server.repo.mongo import Database, DuplicateKeyError, ReturnDocument


class LeaseRepo:
    def __init__(self, database: Database) -> None:
        self._rows = database["leases"]

    async def hold(self, job: str, holder: str, seconds: int) -> bool:
        """Take or renew the lease on `job`; says whether it is `holder`'s now. MongoDB's clock."""
        mine = {
            "$or": [
                {"$eq": ["$holder", {"$literal": holder}]},
                {"$lte": [{"$ifNull": ["$until", "$$NOW"]}, "$$NOW"]},
            ]
        }
        until = {"$dateAdd": {"startDate": "$$NOW", "unit": "second", "amount": seconds}}
        take = {
            "holder": {"$cond": [mine, {"$literal": holder}, "$holder"]},
            "until": {"$cond": [mine, until, "$until"]},
        }
        try:
            row = await self._rows.find_one_and_update(
                {"_id": job}, [{"$set": take}], upsert=True, return_document=ReturnDocument.AFTER
            )
        except DuplicateKeyError:  # two first holders at once: the other one has it
            return False
        return bool(row["holder"] == holder)

    async def let_go(self, job: str, holder: str) -> None:
        """End the lease early, so that another need not wait for it."""
        await self._rows.update_one(
            {"_id": job, "holder": holder}, {"$set": {"until": datetime.fromtimestamp(0, UTC)}}
        )
