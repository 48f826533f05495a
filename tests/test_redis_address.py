"""REDIS_URL alone chooses: one server, a cluster, or the master behind Sentinels."""

import ssl

import pytest

from server.redis_address import BadAddress, read_address
from server.redis_nodes import slot_of
from server.repo.keys import TAGS, showtime_keys
from server.stores import StoreError, opened
from tests.auth_flow import settings_for

WRONG = {
    "127.0.0.1:6379": "begin it with",
    "http://hush@a:1": "begin it with",
    "redis+ring://:hush@a:1": "begin it with",
    "redis://:hush@a:1,b:2/0": "several servers",
    "redis+sentinel://:hush@a:1,b:2": "the name of the master",
    "redis+sentinel://:hush@a:1/name/hush": "the database is a number",
    "redis+cluster://:hush@a:1,b:2/3": "database 0 alone",
    "redis+cluster://:hush@a:1,b:2?db=3": "database 0 alone",
    "redis+cluster://:hush@a:1,b:hush": "a host or a port",
    "redis://:hush/hush@a:1": "a host or a port",
    "redis://:hush@::1/0": "a host or a port",
    f"redis://:hush@a:{'1' * 5000}/0": "a host or a port",
    "redis+cluster://u:hush@a:1,u:hush@b:2": "stand once",
    "redis+sentinel://u:hush@a:1,u:hush@b:2/name": "stand once",
    "redis://:hush@a:1?colour=hush": "behind the hosts",
    "redis://:hush@a:1?ssl_ca_certs=hush": "behind the hosts",
    "rediss://:hush@a:1?ssl_ca_certs=/no/hush.pem": "behind the hosts",
    "rediss+cluster://:hush@a:1?ssl_cert_reqs=hush": "behind the hosts",
    "rediss+sentinel://:hush@a:1/name?ssl_ciphers=hush": "behind the hosts",
    "redis://a:1?socket_keepalive=hush&health_check_interval=hush": "behind the hosts",
}

OPTIONS = "timeout=1&socket_timeout=2&socket_connect_timeout=1&protocol=3&max_connections=9"
"""Of those that redis-py reads, some that we set ourselves."""


def test_one_server_is_read_as_redis_py_reads_it() -> None:
    address = read_address("redis://ann:s%40fe@there:7000/3?health_check_interval=5")
    assert (address.kind, address.nodes) == ("server", (("there", 7000),))
    assert address.options == {
        "username": "ann",
        "password": "s@fe",
        "db": 3,
        "health_check_interval": 5,
    }
    assert address.tls is None


def test_a_cluster_has_many_seeds_and_the_usual_port() -> None:
    address = read_address("rediss+cluster://:safe@one,two:7001,[::1]:7002?ssl_cert_reqs=none")
    assert address.kind == "cluster"
    assert address.nodes == (("one", 6379), ("two", 7001), ("::1", 7002))
    assert address.options["password"] == "safe"
    assert address.tls is not None
    assert address.tls.verify_mode == ssl.CERT_NONE
    assert address.tls is address.tls  # its files are read once


def test_sentinels_name_a_master_and_may_have_a_password_of_their_own() -> None:
    address = read_address(
        "redis+sentinel://ann:safe@one,two:7/main/2?sentinel_password=other&sentinel_username=guard"
    )
    assert (address.kind, address.master) == ("sentinel", "main")
    assert address.nodes == (("one", 26379), ("two", 7))
    assert address.options == {"username": "ann", "password": "safe", "db": 2}
    assert address.sentinel_options == {"username": "guard", "password": "other"}
    assert read_address("redis+sentinel://one/main?db=4").options == {"db": 4}


@pytest.mark.parametrize("url", WRONG)
async def test_a_wrong_one_is_refused_in_one_line_without_its_password(url: str) -> None:
    with pytest.raises(BadAddress, match=WRONG[url]):
        read_address(url)
    with pytest.raises(StoreError, match="REDIS_URL: ") as refused:
        async with opened(settings_for(redis_url=url, mongo_uri="mongodb://127.0.0.1:1")):
            pass
    assert "hush" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hush@127.0.0.1:1",
        "redis+cluster://:hush@127.0.0.1:1,127.0.0.1:2",
        "redis+sentinel://:hush@127.0.0.1:1,127.0.0.1:2/main?sentinel_password=hush@hush",
        f"redis://:hush@127.0.0.1:1?{OPTIONS}",
        f"redis+cluster://:hush@127.0.0.1:1?{OPTIONS}",
        f"redis+sentinel://:hush@127.0.0.1:1/main?{OPTIONS}",
    ],
)
async def test_one_that_nobody_answers_is_named_without_its_password(url: str) -> None:
    with pytest.raises(StoreError, match=r"REDIS_URL: cannot use 127\.0\.0\.1:1") as refused:
        async with opened(settings_for(redis_url=url, mongo_uri="mongodb://127.0.0.1:1")):
            pass
    assert "hush" not in str(refused.value)


def test_an_address_shows_no_secret() -> None:
    url = "redis+sentinel://ann:hush@one/main?sentinel_password=hush"
    assert "hush" not in repr(read_address(url))


def test_slots_are_those_of_the_specification() -> None:
    """The examples of the Redis Cluster specification, and our tags spread evenly."""
    assert slot_of("123456789") == 0x31C3
    assert slot_of("{user1000}.following") == slot_of("{user1000}.followers") == slot_of("user1000")
    assert slot_of("foo{}{bar}") == slot_of("foo{}{bar}")
    assert slot_of("foo{{bar}}zap") == slot_of("{bar")
    assert len({slot_of(f"{{{tag}}}") * 16 // 16_384 for tag in TAGS}) == 16
    assert len({slot_of(key) for key in showtime_keys("sho_test").values()}) == 1
