"""The whole of Rowlock on a real cluster of three masters with a replica each, under faults.

People lock, let go and buy, and a hundred watchers look on, while a slot that a watched showtime
lives in moves, a replica takes over in good order, and a master is killed.
"""

from pathlib import Path

import pytest

from server.embedded import EmbeddedMongo
from server.redis_nodes import slot_of
from server.repo import mongo as mongo_repo
from server.repo.keys import showtime_keys
from tests.fallible_stores import gone
from tests.processes import WHOLE
from tests.redis_clusters import (
    Cluster,
    ClusterNode,
    ask,
    can_migrate_whole,
    cluster,
    is_master,
    linked,
    until,
)
from tests.sale import plan
from tests.selling_crowd import LAYOUT, crowd, database_uri, some

pytestmark = [pytest.mark.slow, pytest.mark.alone]

"""After the end of a fault every watcher has to be where Redis is within this time."""


def slot_of_showtime(showtime: str) -> int:
    return slot_of(showtime_keys(showtime)["channel"])


async def one_each(nodes: Cluster, mongo_uri: str) -> list[str]:
    """Plan showtimes until every master has one; returns those."""
    database, found = mongo_repo.connect(mongo_uri), dict[ClusterNode, str]()
    while len(found) < len(nodes.masters):
        showtime = await plan(database, LAYOUT)
        found.setdefault(await nodes.owner(slot_of_showtime(showtime)), showtime)
    database.client.close()
    return list(found.values())


async def a_slot_moves(nodes: Cluster, showtime: str) -> None:
    """Key by key, as tools do that know nothing better."""
    slot = slot_of_showtime(showtime)
    source = await nodes.owner(slot)
    to = next(node for node in nodes.masters if node is not source)
    keys = await ask(source, "CLUSTER", "COUNTKEYSINSLOT", slot)
    assert keys > 0
    await nodes.migrate(slot, to, pause=0.5)
    assert await nodes.owner(slot) is to
    assert await ask(source, "CLUSTER", "COUNTKEYSINSLOT", slot) == 0


async def a_slot_moves_whole(nodes: Cluster, showtime: str) -> None:
    slot = slot_of_showtime(showtime)
    source = await nodes.owner(slot)
    to = next(node for node in nodes.masters if node is not source)
    await nodes.migrate_whole(slot, to)
    assert await ask(to, "CLUSTER", "COUNTKEYSINSLOT", slot) > 0


async def a_replica_takes_over(nodes: Cluster, showtime: str) -> None:
    slot = slot_of_showtime(showtime)
    source = await nodes.owner(slot)
    replica = await nodes.replica_of(source)
    await nodes.failover(replica)
    await until(lambda: _owns(nodes, replica.port, slot))
    await until(lambda: linked(source))  # it is a replica now


async def a_master_is_frozen(nodes: Cluster, showtime: str) -> None:
    slot = slot_of_showtime(showtime)
    source = await nodes.owner(slot)
    replica = await nodes.replica_of(source)
    nodes.freeze(source)
    await until(lambda: is_master(replica))
    await until(lambda: _owns(nodes, replica.port, slot))


async def a_master_is_killed(nodes: Cluster, showtime: str) -> None:
    slot = slot_of_showtime(showtime)
    source = await nodes.owner(slot)
    replica = await nodes.replica_of(source)
    nodes.kill(source)
    await gone(source)
    await until(lambda: is_master(replica))
    await until(lambda: _owns(nodes, replica.port, slot))


async def _owns(nodes: Cluster, port: int, slot: int) -> bool:
    return (await nodes.owner(slot)).port == port


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
        cluster(tmp_path, replicas=True) as nodes,
        crowd(tmp_path, nodes.url, uri, await one_each(nodes, uri)) as here,
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
