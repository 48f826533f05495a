"""What `connect` returns for a cluster and for Sentinels: the same commands, and what becomes of
the calls of one server is nobody else's business."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis as OneRedis
from redis.exceptions import AskError, MovedError, NoScriptError

from server import rate_limits
from server.child_server import ChildServer
from server.errors import StoreUnavailable
from server.models import new_id
from server.rate_limits import CLASSES, ClassName, Limit, RateLimits, RouteClass, Standing
from server.realtime.listener import Listener
from server.redis_nodes import SlotMap, slot_of
from server.repo.keys import (
    PARTITIONS,
    TAGS,
    partition_keys,
    partition_of,
    showtime_keys,
)
from server.repo.rate_limits import TokenBuckets
from server.repo.redis import Redis, Scripts, answer, connect, run_ids, server_version
from server.repo.redis_cluster import Cluster as ClusterClient
from server.repo.seats import SeatStore
from tests import redis_clusters
from tests.fallible_stores import client_of, gone, stopped
from tests.redis_clusters import Cluster, ask, cluster, sentinels

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEYS = [f"rowlock:{{{tag}}}:test" for tag in TAGS]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def client(nodes: Cluster) -> AsyncIterator[ClusterClient]:
    await nodes.settle()
    async with connected(nodes.url) as found:
        assert isinstance(found, ClusterClient)
        for key in KEYS:
            await found.delete(key)
        yield found


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Redis]:
    client = connect(url)
    try:
        yield client
    finally:
        await client.aclose()


async def count(client: Redis, keys: list[str]) -> list[Any]:
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.incr(key)
    return await pipeline.execute(raise_on_error=False)


async def run_script(scripts: Scripts, partition: int) -> str:
    """Run a script on a key of that partition."""
    queue = {"queue_key": partition_keys(partition)["deadlines_key"]}
    word, _ = await scripts.run("read_due", queue, limit=1)
    return word


async def run_everywhere(scripts: Scripts) -> list[Any]:
    calls = [run_script(scripts, partition) for partition in PARTITIONS]
    return await asyncio.gather(*calls, return_exceptions=True)


def is_at(client: ClusterClient, partition: int, node: ChildServer) -> bool:
    return client._map.of(partition_keys(partition)["log_key"]) == ("127.0.0.1", node.port)


async def test_a_pipeline_reaches_the_keys_of_all_nodes(client: ClusterClient) -> None:
    assert await count(client, KEYS) == [1] * 16
    assert await count(client, [*KEYS, *reversed(KEYS)]) == [2] * 16 + [3] * 16


async def test_what_rowlock_asks_of_redis_works(client: ClusterClient) -> None:
    assert await client.ping()
    assert await server_version(client) >= (7, 2)
    ids = await run_ids(client, [partition_keys(n)["log_key"] for n in PARTITIONS])
    assert len(set(ids)) == 3
    both = client.pipeline(transaction=True)
    both.hset(KEYS[0] + ":hash", "field", "value")
    both.hgetall(KEYS[0] + ":hash")
    assert await both.execute() in ([1, {"field": "value"}], [0, {"field": "value"}])


def somebody(kind: str, partition: int, name: ClassName) -> str:
    """Return a new `user` or `address` whose bucket lies there."""
    while partition_of(rate_limits._name(name, kind, who := new_id(kind))) != partition:
        pass
    return who


def slowly(burst: int) -> Limit:
    return Limit(burst, 1 / 3600)


async def test_limits_hold_where_buckets_lie_apart(client: ClusterClient) -> None:
    rules = {"lock": RouteClass(user=slowly(20), address=slowly(100), closed=True)}
    limits = RateLimits(TokenBuckets(Scripts(client)), {**CLASSES, **rules})

    async def tries(count: int, who: str) -> list[Standing]:
        asked = [limits.count("lock", user=who, address=home) for _ in range(count)]
        return [standing for standing in await asyncio.gather(*asked) if standing]

    home = somebody("address", 15, "lock")
    told = await tries(300, somebody("user", 0, "lock"))
    assert sum(not each.retry_after for each in told) == 20
    assert {(each.quota, each.left) for each in told if each.retry_after} == {(20, 0)}
    [ben] = await tries(1, somebody("user", 3, "lock"))
    assert (ben.quota, ben.left) == (100, 79), "who was refused by his own took nothing of ours"
    crowd = [somebody("user", n, "lock") for n in range(10)]
    told = [each for who in crowd for each in await tries(20, who)]
    assert sum(not each.retry_after for each in told) <= 79
    for _ in range(20):
        told += await tries(1, somebody("user", 7, "lock"))
    assert sum(not each.retry_after for each in told) == 79
    assert (told[-1].quota, told[-1].left) == (100, 0)


async def test_a_frozen_node_limits_those_alone_whose_buckets_it_has(
    client: ClusterClient, nodes: Cluster
) -> None:
    stuck, rules = nodes.masters[1], RouteClass(user=slowly(20), address=slowly(100))
    strict = RouteClass(user=rules.user, address=rules.address, closed=True)
    buckets = TokenBuckets(Scripts(client))
    limits = RateLimits(buckets, {**CLASSES, "read": rules, "lock": strict})
    await asyncio.gather(*(run_script(Scripts(client), n) for n in PARTITIONS))
    lost = next(n for n in PARTITIONS if is_at(client, n, stuck))
    there = next(n for n in PARTITIONS if not is_at(client, n, stuck))
    ann, ben = somebody("user", there, "read"), somebody("user", lost, "read")
    home, office = somebody("address", there, "read"), somebody("address", lost, "read")

    async def read(who: str, where: str) -> Standing | None:
        return await limits.count("read", user=who, address=where)

    with stopped(stuck):
        for left in range(19, -1, -1):
            assert await read(ben, office) is None, "nobody can tell"
            standing = await read(ann, home)
            assert standing
            assert (standing.left, standing.retry_after) == (left, 0)
        for where in (home, office):
            refused = await read(ann, where)
            assert refused
            assert refused.retry_after > 3000
        standing = await read(ben, home)
        assert standing
        assert (standing.quota, standing.left) == (100, 79)
        assert await limits.count("lock", user=somebody("user", there, "lock"))
        with pytest.raises(StoreUnavailable):
            await limits.count("lock", user=somebody("user", lost, "lock"))


async def test_a_forgotten_script_is_told_per_call(client: ClusterClient, nodes: Cluster) -> None:
    script = "#!lua\nreturn redis.call('INCR', KEYS[1])"
    known = nodes.masters[0]
    digest = await ask(known, "SCRIPT", "LOAD", script)
    pipeline = client.pipeline(transaction=False)
    for key in KEYS:
        pipeline.evalsha(digest, 1, key)
    answers = await pipeline.execute(raise_on_error=False)
    for key, told in zip(KEYS, answers, strict=True):
        if client._map.of(key) == ("127.0.0.1", known.port):
            assert told == 1
        else:
            assert isinstance(told, NoScriptError)
    assert 1 in answers


async def test_a_slot_that_moves_costs_no_call(client: ClusterClient, nodes: Cluster) -> None:
    """Calls go on while a slot moves, key by key and at once; each is counted once."""
    slot, moving, calls = slot_of(KEYS[0]), True, 0

    async def go_on() -> None:
        nonlocal calls
        while moving:
            calls += 1
            assert await count(client, KEYS) == [calls] * 16

    going = asyncio.create_task(go_on())
    for number in (0, 1, 2):
        to = nodes.masters[number]
        if await nodes.owner(slot) is not to:
            await nodes.migrate(slot, to, pause=0.1)
    moving = False
    await going
    assert calls > 10
    assert client._map.of(KEYS[0]) == ("127.0.0.1", (await nodes.owner(slot)).port)


async def moving(nodes: Cluster, slot: int) -> tuple[Any, Any]:
    """Begin to move a slot; returns from where to where."""
    source = await nodes.owner(slot)
    to = next(node for node in nodes.masters if node is not source)
    await ask(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
    await ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", to.id)
    return source, to


async def test_a_key_that_has_gone_before_its_slot_is_asked_for_where_it_is(
    client: ClusterClient, nodes: Cluster
) -> None:
    key, slot = KEYS[3], slot_of(KEYS[3])
    assert await client.get(key) is None
    source, to = await moving(nodes, slot)
    try:
        async with asyncio.timeout(1):
            assert await count(client, [key, key, KEYS[0]]) == [1, 2, 1]
        async with client_of(source) as one:
            with pytest.raises(AskError):
                await one.get(key)
        assert client._map.of(key) == ("127.0.0.1", source.port)  # the slot is not there yet
    finally:
        await nodes.migrate(slot, to)


async def test_a_transaction_waits_where_it_is_until_its_slot_has_moved(
    client: ClusterClient, nodes: Cluster
) -> None:
    """The server that the slot goes to could take it only after all of its keys are there."""
    key, slot = KEYS[5], slot_of(KEYS[5])
    assert await client.get(key) is None
    _, to = await moving(nodes, slot)
    await ask(to, "CONFIG", "RESETSTAT")
    both = client.pipeline(transaction=True)
    both.incr(key)
    both.incr(key)
    made = asyncio.create_task(both.execute())
    try:
        await asyncio.sleep(0.3)  # it is tried a few times
        assert "cmdstat_multi" not in str(await ask(to, "INFO", "commandstats"))
    finally:
        await nodes.migrate(slot, to)
    assert await made == [1, 2]


async def test_a_server_that_names_a_port_alone_means_its_own_host(
    client: ClusterClient, nodes: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the nodes do where they cannot know under which name they are reached."""
    named = "cluster-preferred-endpoint-type"
    for node in nodes.masters:
        await ask(node, "CONFIG", "SET", named, "unknown-endpoint")
    try:
        assert await count(client, KEYS) == [1] * 16
        wrong, told, moved = ("127.0.0.1", nodes.masters[0].port), set[str](), SlotMap.moved
        for key in KEYS:
            client._map.moved(slot_of(key), wrong)

        def noted(known: SlotMap, slot: int, node: tuple[str, int]) -> bool:
            told.add(node[0])
            return moved(known, slot, node)

        monkeypatch.setattr(SlotMap, "moved", noted)
        assert await count(client, KEYS) == [2] * 16
        assert told == {"127.0.0.1"}
    finally:
        for node in nodes.masters:
            await ask(node, "CONFIG", "SET", named, "ip")


async def test_a_call_is_told_where_to_go_by_one_who_knows_better(
    client: ClusterClient, nodes: Cluster
) -> None:
    """The map is wrong for every key: MOVED leads each call to its server."""
    assert await count(client, KEYS) == [1] * 16
    wrong = ("127.0.0.1", nodes.masters[0].port)
    for key in KEYS:
        client._map.moved(slot_of(key), wrong)
    assert await count(client, KEYS) == [2] * 16
    async with client_of(nodes.masters[0]) as one:
        with pytest.raises(MovedError):
            await one.mget(*KEYS[-1:])


async def test_a_frozen_node_holds_back_its_own_calls_alone(
    client: ClusterClient, nodes: Cluster
) -> None:
    """Scripts of one turn: two servers answer while the third says nothing."""
    stuck, scripts = nodes.masters[1], Scripts(client)
    assert set(await run_everywhere(scripts)) == {"ok"}
    with stopped(stuck):
        calls = {n: asyncio.create_task(run_script(scripts, n)) for n in PARTITIONS}
        held = {n: call for n, call in calls.items() if is_at(client, n, stuck)}
        async with asyncio.timeout(1):
            free = calls.keys() - held.keys()
            assert {await calls[n] for n in free} == {"ok"}
        for call in held.values():
            with pytest.raises(StoreUnavailable):
                await call
    assert 0 < len(held) < 16
    assert set(await run_everywhere(scripts)) == {"ok"}


async def test_a_frozen_node_holds_back_its_own_positions_alone(
    client: ClusterClient, nodes: Cluster
) -> None:
    """Of one pipeline: what the others have comes in time, also by way of MOVED."""
    store = SeatStore(client, Scripts(client), ttl_seconds=60, max_seats_per_user=1)
    names, stuck = [f"sho_{n}" for n in range(12)], nodes.masters[1]
    for name in names:
        meta = showtime_keys(name)["meta_key"]
        await client.hset(meta, mapping={"epoch": "e", "seq": 7})
    held = {name for name in names if is_at(client, partition_of(name), stuck)}
    lost = next(name for name in names if is_at(client, partition_of(name), nodes.masters[2]))
    wrong = ("127.0.0.1", nodes.masters[0].port)
    with stopped(stuck):
        client._map.moved(slot_of(showtime_keys(lost)["meta_key"]), wrong)
        found = dict(zip(names, await store.positions(names), strict=True))
    assert 0 < len(held) < 12
    for name, position in found.items():
        assert isinstance(position, StoreUnavailable) if name in held else position == ("e", 7)
    async with asyncio.timeout(10):
        while await store.positions(names) != [("e", 7)] * 12:
            await asyncio.sleep(0.1)


async def test_a_password_opens_pool_wire_and_listener(nodes: Cluster) -> None:
    """The password of the address is used for every kind of connection."""
    heard, there = list[bytes](), asyncio.Event()
    for node in nodes.masters:
        await ask(node, "CONFIG", "SET", "requirepass", "s@fe")
    url = nodes.url.replace("://", "://:s%40fe@")
    listener = Listener(url, lambda _, payload: heard.append(payload), lambda _: there.set())
    try:
        async with connected(url) as client:
            assert isinstance(client, ClusterClient)
            assert await client.ping()
            assert set(await run_everywhere(Scripts(client))) == {"ok"}  # the wires are known now
            assert set(await run_everywhere(Scripts(client))) == {"ok"}
            assert {await client.wire_to(key).call("PING") for key in KEYS} == {"PONG"}
            listener.start()
            listener.subscribe(KEYS[0])
            async with asyncio.timeout(5):
                await there.wait()
                await (await client.server_of(KEYS[0])).execute_command("SPUBLISH", KEYS[0], "hi")
                while not heard:
                    await asyncio.sleep(0.01)
            assert heard == [b"hi"]
        async with connected(nodes.url) as stranger:
            with pytest.raises(StoreUnavailable):
                await answer(stranger.ping())
    finally:
        await listener.stop()
        for node in nodes.masters:
            one = OneRedis.from_url(node.url, password="s@fe", protocol=2)
            await one.config_set("requirepass", "")
            await one.aclose()


async def test_a_dead_node_fails_its_own_calls_alone(tmp_path: Path) -> None:
    """No replica stands in: its calls end as unavailable, the others of the pipeline are made."""
    async with cluster(tmp_path) as nodes, connected(nodes.url) as client:
        assert isinstance(client, ClusterClient)
        assert await count(client, KEYS) == [1] * 16
        dead = nodes.masters[2]
        nodes.kill(dead)
        await gone(dead)
        lost = {key for key in KEYS if client._map.of(key) == ("127.0.0.1", dead.port)}
        answers = await answer(count(client, KEYS))
        for key, told in zip(KEYS, answers, strict=True):
            assert isinstance(told, Exception) if key in lost else told == 2
        told = dict(zip(PARTITIONS, await run_everywhere(Scripts(client)), strict=True))
        for n, word in told.items():
            assert isinstance(word, StoreUnavailable) if is_at(client, n, dead) else word == "ok"
        with pytest.raises(StoreUnavailable):
            await answer(client.ping())


async def test_behind_sentinels_the_master_of_the_day_answers(tmp_path: Path) -> None:
    async with sentinels(tmp_path) as watched, connected(watched.url) as client:
        assert await count(client, KEYS) == [1] * 16
        assert await client.ping()
        scripts = Scripts(client)
        assert set(await run_everywhere(scripts)) == {"ok"}
        before = await run_ids(client, KEYS)
        old = await watched.master()
        await client.wait(1, 1000)
        redis_clusters.kill(old)
        new = await watched.failed_over(old)
        assert await count(client, KEYS) == [2] * 16
        assert await run_ids(client, KEYS) != before
        assert set(await run_everywhere(scripts)) == {"ok"}
        assert (await ask(new, "GET", KEYS[0])) == "2"
