"""Redis loses everything: what MongoDB says is claimed or sold stays so, and all agree on it."""

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest
from redis.asyncio import Redis

from server.repo.mongo import Database
from tests.sale import opened

pytestmark = pytest.mark.slow

WIPES = 5


async def test_a_store_lost_in_the_middle_of_a_sale(
    tmp_path: Path, database: Database, valkey_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(tmp_path, database, valkey_url) as sale:
        async with asyncio.TaskGroup() as together:
            together.create_task(sale.sell(buyers=100, tries=10_000))
            together.create_task(_wipe(sale.redis, WIPES))
        await sale.settled()
        await sale.checkpoint()
        violations = await sale.judge(lossy=True)
        with capsys.disabled():
            print(f"\n{sale.report()}")
        assert not violations, (Counter(v.kind for v in violations), violations[:10])
        assert sale.history
        assert len(sale.history.epochs) == 1 + WIPES, "each loss begins one epoch, and no more"
        assert [process.errors() for process in sale.processes] == [[], []]


async def _wipe(redis: Redis, times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(random.uniform(0.7, 1.3))
        await redis.flushall()
        await asyncio.sleep(random.uniform(0.2, 0.5))
        await redis.script_flush()
