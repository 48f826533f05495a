"""Real Valkey Clusters and Sentinels on this machine, made for faults.

    async with cluster(directory, replicas=True) as nodes:
        connect(nodes.url)
        await nodes.kill(nodes.owner(slot))      # its replica takes over within a second or two

Made by the plain CLUSTER commands over redis-py. Time-outs are short, so that a failover is quick.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from server.child_server import LOOPBACK, _free_port
from server.embedded import EmbeddedValkey
from tests.fallible_stores import client_of, kill

SLOTS = 16_384
NODE_TIMEOUT_MS = 1000
MASTER_NAME = "rowlock-master"


class ClusterNode(EmbeddedValkey):
    """A Valkey that is one node of a cluster; `id` is how the cluster calls it."""

    id = ""

    def command(self, data: Path) -> list[str]:
        return [
            *super().command(data),
            *("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"),
            *("--cluster-node-timeout", str(NODE_TIMEOUT_MS)),
            *("--cluster-port", str(_free_port())),  # the usual one, 10,000 up, may not exist
            *("--cluster-require-full-coverage", "no"),
            *("--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0"),
        ]


class SentinelNode(EmbeddedValkey):
    """A Sentinel; what it watches it is told later."""

    name = "Sentinel"

    def command(self, data: Path) -> list[str]:
        written = data / "sentinel.conf"
        written.write_text("")
        return [
            *(str(self._binary), str(written), "--sentinel"),
            *("--port", str(self.port), "--bind", LOOPBACK),
            *("--dir", str(data), "--pidfile", str(self.pid_file)),
            *("--set-proc-title", "no"),
        ]


class Cluster:
    """Some masters, each with a replica or not."""

    def __init__(self, masters: list[ClusterNode], replicas: list[ClusterNode]) -> None:
        self.masters = masters
        self.replicas = replicas
        self.dead: set[ClusterNode] = set()

    @property
    def nodes(self) -> list[ClusterNode]:
        return [node for node in (*self.masters, *self.replicas) if node not in self.dead]

    @property
    def url(self) -> str:
        """All nodes as seeds: any of them may be dead by the time that somebody comes."""
        seeds = ",".join(f"{LOOPBACK}:{node.port}" for node in (*self.masters, *self.replicas))
        return f"redis+cluster://{seeds}"

    async def owner(self, slot: int) -> ClusterNode:
        """Return the master that serves `slot` now, as the nodes that live have it."""
        for node in self.nodes:
            port = await port_of(slot, node)
            found = next((n for n in self.nodes if n.port == port), None)
            if found:
                return found
        raise LookupError(f"nobody serves slot {slot}")

    async def replica_of(self, master: ClusterNode) -> ClusterNode:
        for node in self.nodes:
            role = await ask(node, "ROLE")
            if role[0] == "slave" and int(role[2]) == master.port:
                return node
        raise LookupError("it has no replica")

    def kill(self, node: ClusterNode) -> None:
        """End a node as a crash would."""
        kill(node)
        self.dead.add(node)

    def freeze(self, node: ClusterNode) -> None:
        """Stop a node: its connections stay open and bring nothing."""
        os.kill(int(node.pid_file.read_text()), signal.SIGSTOP)
        self.dead.add(node)

    async def thaw(self, node: ClusterNode) -> None:
        """Let a node that was replaced go on; it is a replica from then on."""
        os.kill(int(node.pid_file.read_text()), signal.SIGCONT)
        self.dead.discard(node)
        await until(lambda: linked(node))

    async def failover(self, replica: ClusterNode) -> None:
        """Let a replica and its master change places, in good order; returns when it is done."""
        await ask(replica, "CLUSTER", "FAILOVER")
        await until(lambda: is_master(replica))

    async def migrate(self, slot: int, to: ClusterNode, pause: float = 0.0) -> ClusterNode:
        """Move a slot key by key, as resharding tools do; returns the node that had it.

        Between the keys and the end of it `pause` seconds pass.
        """
        source = await self.owner(slot)
        await ask(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        await ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", to.id)
        while keys := await ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 100):
            await ask(source, "MIGRATE", LOOPBACK, to.port, "", 0, 5000, "KEYS", *keys)
        await asyncio.sleep(pause)
        others = [node for node in self.nodes if node not in (to, source)]
        for node in (to, source, *others):  # the new owner first: no node may send there too soon
            if await is_master(node):
                await ask(node, "CLUSTER", "SETSLOT", slot, "NODE", to.id)
        return source

    async def migrate_whole(self, slot: int, to: ClusterNode) -> ClusterNode:
        """Move a slot at once, as Valkey 9 can; returns the node that had it."""
        source = await self.owner(slot)
        moved = ("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", to.id)
        await ask(source, *moved)
        await until(lambda: _is(self.owner(slot), to))
        return source

    async def settle(self, seconds: float = 20) -> None:
        """Wait until all nodes that live see every slot served, and the same masters."""

        async def agreed() -> bool:
            maps = []
            for node in self.nodes:
                info = await ask(node, "CLUSTER", "INFO")
                if "cluster_state:ok" not in str(info) or "slots_ok:16384" not in str(info):
                    return False
                rows = await ask(node, "CLUSTER", "SLOTS")
                maps.append(sorted((first, last, at[1]) for first, last, at, *_ in rows))
            return all(found == maps[0] for found in maps)

        await until(agreed, seconds)


async def ask(node: EmbeddedValkey, *command: Any) -> Any:
    """Send one command to one node; what the driver would make of its answer is left alone."""
    async with client_of(node) as client:
        client.response_callbacks.clear()
        return await client.execute_command(*command)


async def port_of(slot: int, node: EmbeddedValkey) -> int | None:
    """Return the port of the master that serves `slot`, as `node` has it."""
    for first, last, (_, port, *_), *_ in await ask(node, "CLUSTER", "SLOTS"):
        if first <= slot <= last:
            return int(port)
    return None


async def _is(found: Awaitable[ClusterNode], wanted: ClusterNode) -> bool:
    return await found is wanted


async def can_migrate_whole(node: EmbeddedValkey) -> bool:
    told = str(await ask(node, "INFO", "server")).partition("valkey_version:")[2]
    return int(told.partition(".")[0] or 0) >= 9


async def is_master(node: EmbeddedValkey) -> bool:
    return bool((await ask(node, "ROLE"))[0] == "master")


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    """Wait until it holds; a node that does not answer yet counts as no."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                if await condition():
                    return
            except (RedisError, OSError, LookupError):
                pass
            await asyncio.sleep(0.03)


@asynccontextmanager
async def cluster(
    directory: Path, *, masters: int = 3, replicas: bool = False
) -> AsyncIterator[Cluster]:
    """Run a cluster whose nodes agree and whose replicas have all."""
    async with AsyncExitStack() as stack:
        count = 2 * masters if replicas else masters
        nodes = [ClusterNode(directory / f"node-{number}") for number in range(count)]
        for node in nodes:
            await stack.enter_async_context(node)
            node.id = str(await ask(node, "CLUSTER", "MYID"))
        made = Cluster(nodes[:masters], nodes[masters:])
        await _make(made)
        yield made


async def _make(made: Cluster) -> None:
    bounds = [SLOTS * number // len(made.masters) for number in range(len(made.masters) + 1)]
    for node, first, end in zip(made.masters, bounds, bounds[1:], strict=False):
        await ask(node, "CLUSTER", "ADDSLOTSRANGE", first, end - 1)
    for number, node in enumerate(made.nodes):
        await ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
    first_node, *others = made.nodes
    for node in others:
        bus = (await ask(node, "CONFIG", "GET", "cluster-port"))[1]
        await ask(first_node, "CLUSTER", "MEET", LOOPBACK, node.port, bus)
    await until(lambda: _all_known(made.nodes))
    for replica, master in zip(made.replicas, made.masters, strict=False):
        await ask(replica, "CLUSTER", "REPLICATE", master.id)
    await made.settle()
    for replica in made.replicas:
        await until(lambda replica=replica: linked(replica))  # type: ignore[misc]


async def _all_known(nodes: list[ClusterNode]) -> bool:
    for node in nodes:
        rows = str(await ask(node, "CLUSTER", "NODES")).strip().splitlines()
        if len(rows) < len(nodes) or any("handshake" in row for row in rows):
            return False
    return True


async def linked(replica: EmbeddedValkey) -> bool:
    role = await ask(replica, "ROLE")
    return bool(role[0] == "slave" and role[3] == "connected")


class Watched:
    """A master and its replica under three Sentinels."""

    def __init__(self, servers: list[EmbeddedValkey], sentinels: list[SentinelNode]) -> None:
        self.servers = servers
        self.sentinels = sentinels

    @property
    def url(self) -> str:
        seeds = ",".join(f"{LOOPBACK}:{node.port}" for node in self.sentinels)
        return f"redis+sentinel://{seeds}/{MASTER_NAME}"

    async def master(self) -> EmbeddedValkey:
        """Return the server that the Sentinels call the master now."""
        told = await ask(self.sentinels[0], "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME)
        return next(server for server in self.servers if server.port == int(told[1]))

    async def failed_over(self, old: EmbeddedValkey) -> EmbeddedValkey:
        """Wait until another server is the master, and every Sentinel says so; returns it."""

        async def moved() -> bool:
            named = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME)
            ports = {int((await ask(sentinel, *named))[1]) for sentinel in self.sentinels}
            return (
                len(ports) == 1 and old.port not in ports and await is_master(await self.master())
            )

        await until(moved)
        return await self.master()


@asynccontextmanager
async def sentinels(directory: Path) -> AsyncIterator[Watched]:
    """Run one master, one replica that has all, and three Sentinels that know each other."""
    async with AsyncExitStack() as stack:
        servers = [EmbeddedValkey(directory / name) for name in ("one", "two")]
        guards = [SentinelNode(directory / f"sentinel-{number}") for number in range(3)]
        for node in (*servers, *guards):
            await stack.enter_async_context(node)
        one, two = servers
        for server in servers:
            await ask(server, "CONFIG", "SET", "repl-diskless-sync-delay", 0)
        await ask(two, "REPLICAOF", LOOPBACK, one.port)
        await until(lambda: linked(two))
        for guard in guards:
            await ask(guard, "SENTINEL", "MONITOR", MASTER_NAME, LOOPBACK, one.port, 2)
            for option, value in (("down-after-milliseconds", 500), ("failover-timeout", 3000)):
                await ask(guard, "SENTINEL", "SET", MASTER_NAME, option, value)
        await until(lambda: _acquainted(guards))
        yield Watched(servers, guards)


async def _acquainted(guards: list[SentinelNode]) -> bool:
    """Each Sentinel has found the two others and the replica."""
    for guard in guards:
        flat = await ask(guard, "SENTINEL", "MASTER", MASTER_NAME)
        told = dict(zip(flat[::2], flat[1::2], strict=True))
        if told["num-other-sentinels"] != "2" or told["num-slaves"] != "1":
            return False
    return True
