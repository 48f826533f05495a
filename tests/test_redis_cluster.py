"""The whole of Rowlock on a real cluster of three masters with a replica each, under faults.

People lock, let go and buy, and a hundred watchers look on, while a slot that a watched showtime
lives in moves, a replica takes over in good order, and a master is killed. Then two thousand watch
one showtime meanwhile.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from server.embedded import EmbeddedMongo
from server.repo import mongo as mongo_repo
from tests.cluster_faults import (
    a_master_is_frozen,
    a_master_is_killed,
    a_replica_takes_over,
    a_slot_moves,
    a_slot_moves_whole,
    slot_of_showtime,
)
from tests.healing import Stage, staged
from tests.processes import WHOLE
from tests.redis_clusters import Cluster, ClusterNode, can_migrate_whole, cluster
from tests.sale import plan
from tests.selling_crowd import LAYOUT, crowd, database_uri, some

pytestmark = [pytest.mark.slow, pytest.mark.alone]

WATCHERS = 2000

Fault = Callable[[Cluster, str], Awaitable[None]]


@asynccontextmanager
async def a_database(uri: str) -> AsyncIterator[mongo_repo.Database]:
    database = mongo_repo.connect(uri)
    try:
        yield database
    finally:
        await mongo_repo.leave(database)


async def one_each(nodes: Cluster, database: mongo_repo.Database) -> list[str]:
    """Plan showtimes until every master has one; returns those."""
    found = dict[ClusterNode, str]()
    while len(found) < len(nodes.masters):
        showtime = await plan(database, LAYOUT)
        found.setdefault(await nodes.owner(slot_of_showtime(showtime)), showtime)
    return list(found.values())


FAULTS = (
    a_slot_moves,
    a_slot_moves_whole,
    a_replica_takes_over,
    *([a_master_is_frozen] if WHOLE else []),
    a_master_is_killed,
)


async def test_faults_of_a_cluster_cost_no_seat_and_no_watcher_its_place(
    tmp_path: Path, mongo: EmbeddedMongo, capsys: pytest.CaptureFixture[str]
) -> None:
    told, uri = [], database_uri(mongo)
    async with (
        a_database(uri) as database,
        cluster(tmp_path, replicas=True) as nodes,
        crowd(tmp_path, nodes.url, uri, await one_each(nodes, database)) as here,
    ):
        assert len({await nodes.owner(slot_of_showtime(name)) for name in here.showtimes}) == 3
        async with here.busy():
            await some(here, 50)
            for fault in FAULTS:
                if fault is a_slot_moves_whole and not await can_migrate_whole(nodes.masters[0]):
                    told.append(f"{fault.__name__}: left out, this server cannot move a slot whole")
                    continue
                passing = fault(nodes, here.showtimes[0])
                told.append(await here.survive(fault.__name__, passing))
                await some(here, 20)
                if fault is a_master_is_frozen:
                    (node,) = nodes.dead
                    await nodes.thaw(node)
        problems = await here.judged(lossy=True)
        sold = here.sold
    with capsys.disabled():
        print("", *told, f"{sold} bookings sold", sep="\n")
    assert not problems
    assert sold


async def test_two_thousand_watchers_see_what_the_cluster_holds_after_each_fault(
    tmp_path: Path, mongo: EmbeddedMongo, capsys: pytest.CaptureFixture[str]
) -> None:
    told = []
    async with (
        a_database(database_uri(mongo)) as database,
        cluster(tmp_path, replicas=True) as nodes,
        staged(tmp_path, database, nodes.url, watchers=WATCHERS) as stage,
    ):
        for fault in (a_slot_moves, a_replica_takes_over, a_master_is_killed):

            async def strike(stage: Stage, fault: Fault = fault) -> None:
                await fault(nodes, stage.crowd.showtime)

            healing = await stage.survive(strike)
            told.append(f"{fault.__name__}: {healing}, answers {dict(healing.answers)}")
            assert healing.answers[200], "no seat has changed"
    with capsys.disabled():
        print("", *told, sep="\n")
