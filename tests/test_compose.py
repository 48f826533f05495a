"""The containers: what the file says, and that real servers understand the flags it gives them."""

from pathlib import Path

import yaml
from redis import Redis

from server.child_server import LOOPBACK, ChildServer
from server.embedded import EmbeddedMongo, EmbeddedValkey
from server.repo.mongo import ensure_replica_set
from server.settings import Settings

COMPOSE = yaml.safe_load((Path(__file__).parent.parent / "docker-compose.yml").read_text())


class WithFlags(ChildServer):
    """The program of a server that runs already, with the flags of its container."""

    name = "server under test"
    address = ""

    def __init__(self, like: EmbeddedValkey | EmbeddedMongo, directory: Path, flags: list[str]):
        super().__init__(directory)
        self._like, self._flags = like, flags

    def command(self, data: Path) -> list[str]:
        mongo = isinstance(self._like, EmbeddedMongo)
        place = [*("--port", str(self.port)), "--dbpath" if mongo else "--dir", str(data)]
        pid = ["--pidfilepath" if mongo else "--pidfile", str(self.pid_file)]
        return [self._like.command(data)[0], *place, *pid, *self._flags]

    async def answers(self) -> bool:
        return True

    async def prepare(self) -> None:
        pass


def test_the_app_waits_for_healthy_stores_and_all_data_is_in_named_volumes() -> None:
    app, *stores = (COMPOSE["services"][name] for name in ("app", "redis", "mongo"))
    assert app["depends_on"] == {
        "redis": {"condition": "service_healthy"},
        "mongo": {"condition": "service_healthy"},
    }
    assert all("healthcheck" in store for store in stores)
    mounts = [mount for service in (app, *stores) for mount in service["volumes"]]
    assert {mount.partition(":")[0] for mount in mounts} == set(COMPOSE["volumes"])


def test_only_the_app_is_reachable_and_only_from_this_machine() -> None:
    published = [
        port for service in COMPOSE["services"].values() for port in service.get("ports", [])
    ]
    assert published == ["127.0.0.1:${PORT:-8000}:${PORT:-8000}"]


def test_the_app_is_given_its_stores_and_nothing_secret() -> None:
    given = COMPOSE["services"]["app"]["environment"]
    assert given["REDIS_URL"].startswith("redis://redis:")
    assert given["MONGO_URI"].startswith("mongodb://mongo:")
    assert set(given) == {"HOST", "PORT", "DATA_DIR", "REDIS_URL", "MONGO_URI"}


def test_the_app_listens_beyond_loopback_as_the_demo_alone() -> None:
    """`serve` refuses to: in development anybody signs in as whoever they like."""
    app = COMPOSE["services"]["app"]
    assert app["environment"]["HOST"] == "0.0.0.0"
    assert app["command"] == ["dev"]
    open_to_all = Settings(_env_file=None, host="0.0.0.0")  # type: ignore[call-arg]
    assert open_to_all.lets_the_network_in_as_anybody


async def test_the_flags_of_redis_are_understood_and_keep_the_data(
    tmp_path: Path, redis7: EmbeddedValkey, valkey: EmbeddedValkey
) -> None:
    flags = COMPOSE["services"]["redis"]["command"][1:]
    for known in (redis7, valkey):
        async with WithFlags(known, tmp_path / known.directory.name, flags) as server:
            with Redis(port=server.port, decode_responses=True) as client:
                told = client.config_get("append*", "maxmemory-policy", "save")
        assert told["appendonly"] == "yes"
        assert told["appendfsync"] == "everysec"
        assert told["maxmemory-policy"] == "noeviction"
        assert told["save"] == ""


async def test_the_flags_of_mongod_are_understood_and_make_a_replica_set(
    tmp_path: Path, mongo: EmbeddedMongo
) -> None:
    flags = COMPOSE["services"]["mongo"]["command"][1:]
    here = [part for part in flags if part != "--bind_ip_all"] + ["--bind_ip", LOOPBACK]
    async with WithFlags(mongo, tmp_path, here) as server:
        await ensure_replica_set(f"{LOOPBACK}:{server.port}")
    assert COMPOSE["services"]["app"]["environment"]["MONGO_URI"].endswith("?replicaSet=rs0")
