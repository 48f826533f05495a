"""What happens to the part of a cluster that a watched showtime lives in."""

from server.redis_nodes import slot_of
from server.repo.keys import showtime_keys
from tests.fallible_stores import gone
from tests.redis_clusters import Cluster, ask, is_master, linked, port_of, until


def slot_of_showtime(showtime: str) -> int:
    return slot_of(showtime_keys(showtime)["channel"])


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
    """Say whether every node that lives names it; one that does not yet leads to the dead one."""
    return {await port_of(slot, node) for node in nodes.nodes} == {port}
