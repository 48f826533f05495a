"""Limits: what the buckets admit, what answers say of them, and what happens without the store."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from starlette.requests import HTTPConnection
from websockets.asyncio.client import connect as connect_socket

from server.addresses import LENIENCE, UNKNOWN, client_address, client_home, client_site
from server.api.rate_limits import RateLimiting, class_of
from server.embedded import EmbeddedMongo, EmbeddedValkey
from server.errors import RateLimited, StoreUnavailable
from server.rate_limits import CLASSES, Limit, RateLimits, RouteClass
from server.repo.keys import bucket_key
from server.repo.rate_limits import Bucket, TokenBuckets
from server.repo.redis import Redis, Scripts, connect
from server.settings import SettingsError, load
from tests.running import IN_MODULE_LOOP, Running, lock, pay, problem, running, served

FEW = {
    "read": RouteClass(user=Limit(20, 10), address=Limit(1000, 100)),
    "lock": RouteClass(user=Limit(20, 10), address=Limit(30, 15), closed=True),
    "password": RouteClass(account=Limit(3, 0.01), closed=True),
}


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url)
    try:
        yield client
    finally:
        await client.aclose()


def limits(redis: Redis) -> RateLimits:
    """The limits of one process."""
    return RateLimits(TokenBuckets(Scripts(redis)), FEW)


async def admitted(limits: RateLimits, **whose: str) -> bool:
    try:
        await limits.admit("lock", **whose)
    except RateLimited:
        return False
    return True


async def milliseconds(redis: Redis) -> float:
    seconds, micros = await redis.time()
    return seconds * 1000 + micros / 1000


# -- buckets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [1, 4])
async def test_five_hundred_at_once_are_admitted_to_burst_and_rate(
    redis: Redis, processes: int
) -> None:
    doors = [limits(redis) for _ in range(processes)]
    began = await milliseconds(redis)
    attempts = [admitted(doors[n % processes], user="ann") for n in range(500)]
    count = sum(await asyncio.gather(*attempts))
    took = await milliseconds(redis) - began
    assert 20 <= count <= 20 + 10 * took / 1000 + 1


async def test_in_the_long_run_the_rate_is_what_is_admitted(redis: Redis) -> None:
    """Drawing ahead neither admits more nor loses much."""
    door, began, count = limits(redis), await milliseconds(redis), 0
    while (took := await milliseconds(redis) - began) < 2000:
        count += await admitted(door, user="ann")
    assert 20 + 8 * took / 1000 - 2 <= count <= 20 + 10 * took / 1000 + 1


async def test_one_bucket_that_is_empty_leaves_the_other_alone(redis: Redis) -> None:
    buckets, mine, ours = TokenBuckets(Scripts(redis)), Bucket("u", 2, 60_000), Bucket("a", 9, 1e6)
    for left in (1, 0):
        wait, levels = await buckets.take([mine, ours])
        assert (wait, [level.left for level in levels]) == (0, [left, 7 + left])
    for _ in range(3):
        wait, levels = await buckets.take([mine, ours])
        assert 59_000 < wait <= 60_000
        assert [level.left for level in levels] == [0, 7]
    assert (await buckets.take([ours]))[1][0].left == 6


async def test_a_bucket_is_gone_when_it_is_full(redis: Redis) -> None:
    buckets = TokenBuckets(Scripts(redis))
    await buckets.take([Bucket("u", 10, 60_000)], 3)
    assert 179_000 < await redis.pttl(bucket_key("u")) <= 180_000
    await buckets.take([Bucket("quick", 10, 0.5)])
    async with asyncio.timeout(5):
        while await redis.exists(bucket_key("quick")):
            await asyncio.sleep(0.01)


async def test_who_waits_as_long_as_told_is_admitted(redis: Redis) -> None:
    buckets, bucket = TokenBuckets(Scripts(redis)), Bucket("u", 1, 1500)
    assert (await buckets.take([bucket]))[0] == 0
    wait, _ = await buckets.take([bucket])
    assert 0 < wait <= 1500
    await asyncio.sleep(wait / 1000 + 0.005)
    assert (await buckets.take([bucket]))[0] == 0


async def test_a_person_in_a_hurry_costs_few_round_trips(redis: Redis) -> None:
    class Counted(TokenBuckets):
        asked = 0

        async def take(self, *args: object, **named: object) -> object:  # type: ignore[override]
            self.asked += 1
            return await super().take(*args, **named)  # type: ignore[arg-type]

    store = Counted(Scripts(redis))
    door = RateLimits(store, {**CLASSES, "lock": RouteClass(user=Limit(600, 0.01), closed=True)})
    lefts = []
    for _ in range(50):
        standing = await door.count("lock", user="ann")
        assert standing is not None
        lefts.append(standing.left)
    assert store.asked < 10
    assert all(before >= after for before, after in pairwise(lefts))


async def test_an_account_is_throttled_until_it_is_forgiven(redis: Redis) -> None:
    door, other = limits(redis), limits(redis)
    for _ in range(3):
        await door.admit("password", account="Ann@example.com")
    with pytest.raises(RateLimited) as refused:
        await other.admit("password", account="Ann@example.com")
    assert 95 < refused.value.retry_after <= 100
    await other.admit("password", account="bob@example.com")
    keys = [key async for key in redis.scan_iter()]
    assert not [key for key in keys if "example" in key.lower()]
    await door.forgive("password", account="Ann@example.com")
    await door.admit("password", account="Ann@example.com")


async def test_without_the_store_what_is_closed_is_refused_and_the_rest_goes_on() -> None:
    client = connect("redis://127.0.0.1:1/0")
    try:
        door = limits(client)
        assert await door.count("read", user="ann") is None
        with pytest.raises(StoreUnavailable):
            await door.count("lock", user="ann")
        with pytest.raises(StoreUnavailable):
            await door.admit("password", account="ann")
    finally:
        await client.aclose()


async def test_a_store_that_hangs_holds_a_reader_up_only_once(redis: Redis) -> None:
    door, loop = limits(redis), asyncio.get_running_loop()
    await redis.execute_command("CLIENT", "PAUSE", 4000, "ALL")
    began = loop.time()
    assert await door.count("read", user="ann") is None
    first, began = loop.time() - began, loop.time()
    for _ in range(20):
        assert await door.count("read", user="ann") is None
    assert first < 1
    assert loop.time() - began < 0.2


def test_every_class_that_sells_or_signs_in_is_closed() -> None:
    closed = {name for name, rules in CLASSES.items() if rules.closed}
    assert closed == {"sign_in", "password", "lock", "pay", "house"}


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("GET /api/movies", "read"),
        ("GET /api/showtimes/sho_1/seats/lock", "read"),
        ("POST /api/showtimes/sho_1/seats/lock", "lock"),
        ("POST /api/showtimes/sho_1/seats/lock/extend", "lock"),
        ("DELETE /api/showtimes/sho_1/seats/lock", "lock"),
        ("POST /api/bookings", "lock"),
        ("POST /api/bookings/bk_1/pay", "pay"),
        ("DELETE /api/bookings/bk_1", "pay"),
        ("GET /api/auth/google/login", "sign_in"),
        ("GET /api/auth/google/callback", "sign_in"),
        ("HEAD /api/auth/google/callback", "sign_in"),
        ("HEAD /api/auth/google/login", "sign_in"),
        ("OPTIONS /api/auth/login", "sign_in"),
        ("POST /api/auth/login", "sign_in"),
        ("POST /api/auth/register", "sign_in"),
        ("POST /api/auth/password", "sign_in"),
        ("POST /api/auth/refresh", "write"),
        ("GET /api/auth/sessions", "read"),
        ("GET /api/admin/bookings", "admin"),
        ("PATCH /api/admin/users/usr_1", "admin"),
        ("GET /api/admin/showtimes/sho_1/seats", "admin"),
        ("POST /api/admin/showtimes", "admin"),
        ("POST /api/admin/showtimes/sho_1/seats/lock", "house"),
        ("POST /api/admin/showtimes/sho_1/cancel", "house"),
        ("POST /api/admin/bookings/bk_1/cancel", "house"),
        ("POST /api/payments/stripe/webhook", None),
        ("GET /", None),
        ("GET /health", None),
    ],
)
def test_a_route_has_its_class(asked: str, name: str | None) -> None:
    assert class_of(*asked.split()) == name


@pytest.mark.parametrize(
    ("address", "network", "home", "site"),
    [
        ("192.0.2.7", "192.0.2.7", "192.0.2.7", ""),
        ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.7", ""),
        ("2001:db8:1:2345::9", "2001:db8:1:2345::/64", "2001:db8:1:2300::/56", "2001:db8:1::/48"),
        ("", UNKNOWN, UNKNOWN, ""),
        ("a unix socket", UNKNOWN, UNKNOWN, ""),
    ],
)
def test_what_an_address_is_counted_as(address: str, network: str, home: str, site: str) -> None:
    caller = HTTPConnection({"type": "http", "client": (address, 0), "headers": []})
    assert (client_address(caller), client_home(caller), client_site(caller)) == (
        network,
        home,
        site,
    )


@pytest.mark.parametrize("name", ["*", "proxy.example", "10.0.0.1/8"])
def test_whom_to_believe_is_named_by_address(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("TRUSTED_PROXIES", f"192.0.2.1, {name}")
    with pytest.raises(SettingsError, match=r"^TRUSTED_PROXIES: "):
        load()


# -- the whole server ------------------------------------------------------------------------------

server = served("server", trusted_proxies=("127.0.0.1", "10.0.0.0/8"))
"""Behind a proxy on this machine: whoever it forwards for is a stranger."""

direct = served("direct")
"""Without a proxy: everybody is on this machine, and in development."""


def via(*addresses: str) -> dict[str, str]:
    return {"X-Forwarded-For": ", ".join(addresses)}


def sent_home(answer: httpx.Response, reason: str) -> None:
    assert (answer.status_code, answer.headers["location"]) == (303, f"/?auth_error={reason}")
    assert int(answer.headers["Retry-After"]) >= 1


def told(answer: httpx.Response) -> tuple[str, int, int]:
    """Return class, quota and what is left, as the headers say."""
    policy, quota, window = answer.headers["RateLimit-Policy"].split(";")
    name, left, full = answer.headers["RateLimit"].split(";")
    assert policy == name
    assert (quota[:2], window[:2], left[:2], full[:2]) == ("q=", "w=", "r=", "t=")
    return name.strip('"'), int(quota[2:]), int(left[2:])


@IN_MODULE_LOOP
async def test_every_answer_of_a_class_says_how_things_stand(server: Running) -> None:
    for _ in range(2):
        answer = await server.visitor.get("/api/movies", headers=via("203.0.113.1"))
        name, quota, left = told(answer)
        assert (name, quota) == ("read", 1000)
        assert 990 < left < 1000
    missing = await server.visitor.get("/api/movies/none", headers=via("203.0.113.1"))
    assert (missing.status_code, told(missing)[0]) == (404, "read")
    page = await server.visitor.get("/health", headers=via("203.0.113.1"))
    assert "RateLimit" not in page.headers


@IN_MODULE_LOOP
async def test_who_comes_too_often_is_told_when_to_come_again(server: Running) -> None:
    showtime, burst = await server.showtime(), CLASSES["lock"].user
    assert burst
    path, headers = f"/api/showtimes/{showtime}/seats/lock", via("203.0.113.2")
    calls = [server.bob.delete(path, headers=headers) for _ in range(burst.burst + 60)]
    answers = await asyncio.gather(*calls)
    assert {answer.status_code for answer in answers} == {200, 429}
    refused = [answer for answer in answers if answer.status_code == 429]
    problem(refused[0], 429, "rate_limited")
    assert 1 <= int(refused[0].headers["Retry-After"]) <= 15
    assert told(refused[0]) == ("lock", burst.burst, 0)
    assert (await server.eve.delete(path, headers=headers)).status_code == 200
    assert (await server.bob.get(path, headers=headers)).status_code == 200


@IN_MODULE_LOOP
async def test_an_address_may_try_to_sign_in_so_often(server: Running) -> None:
    limit = CLASSES["sign_in"].address
    assert limit

    async def try_it(address: str) -> httpx.Response:
        return await server.visitor.get("/api/auth/google/login", headers=via(address))

    answers = [await try_it("203.0.113.3") for _ in range(limit.burst + 20)]
    assert [answer.status_code for answer in answers[: limit.burst]] == [302] * limit.burst
    refused = [answer for answer in answers if answer.status_code != 302]
    assert refused
    for answer in refused:
        sent_home(answer, "too_often")
        assert told(answer)[2] == 0
    assert (await try_it("203.0.113.4")).status_code == 302


@IN_MODULE_LOOP
async def test_who_comes_back_too_often_is_sent_home(server: Running) -> None:
    limit, headers = CLASSES["sign_in"].address, via("203.0.113.30")
    assert limit
    back = "/api/auth/google/callback?state=none"
    calls = [server.visitor.get(back, headers=headers) for _ in range(limit.burst + 20)]
    places = {answer.headers["location"] for answer in await asyncio.gather(*calls)}
    assert places == {"/?auth_error=state_invalid", "/?auth_error=too_often"}


@IN_MODULE_LOOP
@pytest.mark.parametrize("way", ["login", "callback"])
async def test_no_sign_in_moves_on_by_head(server: Running, way: str) -> None:
    before = await server.stored.database.outbox.count_documents({})
    answer = await server.visitor.head(f"/api/auth/google/{way}", headers=via("203.0.113.31"))
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    assert told(answer)[0] == "sign_in"
    assert await server.stored.database.outbox.count_documents({}) == before


@IN_MODULE_LOOP
async def test_who_has_no_address_shares_one_with_all_who_have_none(server: Running) -> None:
    seen = []
    for nobody in ("unknown", "_hidden", "not an address"):
        answer = await server.visitor.get("/api/auth/google/login", headers=via(nobody))
        seen.append(told(answer)[2])
    assert seen[0] > seen[-1]


@IN_MODULE_LOOP
async def test_a_site_with_many_networks_has_a_limit_too(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {**CLASSES, "sign_in": RouteClass(address=Limit(4, 0.001), closed=True)}
    [limits] = [m.kwargs["limits"] for m in server.app.user_middleware if m.cls is RateLimiting]
    monkeypatch.setattr(limits, "_classes", few)
    limit = few["sign_in"].site
    assert limit
    calls = [
        server.visitor.get("/api/auth/google/login", headers=via(f"2001:db8:7:{n:x}::1"))
        for n in range(limit.burst + 10)
    ]
    answers = await asyncio.gather(*calls)
    assert {answer.status_code for answer in answers} == {302, 303}
    other = await server.visitor.get("/api/auth/google/login", headers=via("2001:db8:8::1"))
    assert other.status_code == 302


@IN_MODULE_LOOP
async def test_who_opens_sockets_too_often_is_told_to_try_later(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {**CLASSES, "read": RouteClass(address=Limit(5, 0.01))}
    [limits] = [m.kwargs["limits"] for m in server.app.user_middleware if m.cls is RateLimiting]
    monkeypatch.setattr(limits, "_classes", few)
    url = f"{server.url.replace('http', 'ws')}/api/showtimes/none/live"

    async def code(address: str) -> int | None:
        async with connect_socket(url, additional_headers=via(address)) as socket:
            await socket.wait_closed()
            return socket.close_code

    assert [await code("203.0.113.40") for _ in range(7)] == [4404] * 5 + [1013] * 2
    assert await code("203.0.113.41") == 4404
    assert (await server.visitor.get("/api/movies", headers=via("203.0.113.40"))).status_code == 429


@IN_MODULE_LOOP
@pytest.mark.parametrize(
    ("forwarded", "other", "same"),
    [
        (["203.0.113.5"], ["203.0.113.6"], False),
        # What the client itself put in front is no more than its word.
        (["198.51.100.1", "203.0.113.7"], ["198.51.100.2", "203.0.113.7"], True),
        # A second proxy of ours behind the first.
        (["203.0.113.8", "10.1.2.3"], ["203.0.113.9", "10.1.2.3"], False),
        (["203.0.113.10", "10.1.2.3"], ["203.0.113.10", "10.9.9.9"], True),
        (["2001:db8:0:1::1"], ["2001:db8:0:1:ffff::2"], True),
        (["2001:db8:0:2::1"], ["2001:db8:0:3::1"], False),
        (["::ffff:203.0.113.11"], ["203.0.113.11"], True),
    ],
)
async def test_an_address_is_that_of_the_client_and_not_of_the_proxy(
    server: Running, forwarded: list[str], other: list[str], same: bool
) -> None:
    async def left(addresses: list[str]) -> int:
        answer = await server.visitor.get("/api/auth/google/login", headers=via(*addresses))
        return told(answer)[2]

    for _ in range(10):
        before = await left(forwarded)
    after = await left(other)
    assert before < 55  # one comes back a second
    assert (after < 55) == same


@IN_MODULE_LOOP
async def test_nobody_but_a_trusted_proxy_names_the_address(direct: Running) -> None:
    answer = await direct.visitor.get("/api/movies", headers=via("203.0.113.1"))
    _, quota, _ = told(answer)
    assert quota == 1000 * LENIENCE  # as much as this machine itself


@IN_MODULE_LOOP
async def test_without_redis_people_read_and_neither_lock_nor_sign_in(
    mongo: EmbeddedMongo, tmp_path: Path
) -> None:
    valkey = EmbeddedValkey(tmp_path)
    await valkey.start()
    async with running(valkey, mongo, trusted_proxies=("127.0.0.1",)) as server:
        showtime = await server.showtime()
        headers = via("203.0.113.1")
        assert (await lock(server.bob, showtime, "A1")).status_code == 200
        await valkey.stop()
        assert (await server.visitor.get("/api/movies", headers=headers)).status_code == 200
        assert (await server.bob.get("/api/bookings", headers=headers)).status_code == 200
        for refused in (
            await lock(server.bob, showtime, "A2"),
            await pay(server.bob, "bk_none"),
            await server.ada.post(f"/api/admin/showtimes/{showtime}/cancel", json={"why": "-"}),
        ):
            problem(refused, 503, "store_unavailable")
            assert refused.headers["Retry-After"]
        asked = await server.visitor.get("/api/auth/google/login", headers=headers)
        sent_home(asked, "store_unavailable")
        back = await server.visitor.get("/api/auth/google/callback", headers=headers)
        assert back.headers["location"] == "/?auth_error=state_invalid"  # it is read all the same


@IN_MODULE_LOOP
async def test_limits_can_be_off(valkey: EmbeddedValkey, mongo: EmbeddedMongo) -> None:
    async with running(valkey, mongo, rate_limits="off") as server:
        answers = [await server.visitor.get("/api/movies") for _ in range(2)]
        assert not any("RateLimit" in answer.headers for answer in answers)
        assert [key async for key in server.stored.redis.scan_iter("*:limits:*")] == []
