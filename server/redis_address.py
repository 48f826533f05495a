"""Where Redis is, as REDIS_URL says it: one server, the first nodes of a cluster, or Sentinels.

    redis://user:password@host:6379/0
    redis+cluster://user:password@host1:6379,host2:6379
    redis+sentinel://user:password@sentinel1:26379,sentinel2:26379/name-of-the-master/0

`rediss` instead of `redis`: all connections use TLS. The spellings with `+` are those of other
Python projects (limits, docket, redis-sentinel-url). What stands behind `?` is read by redis-py,
but for `sentinel_username` and `sentinel_password`, with which the Sentinels are asked.
"""

import ssl
from dataclasses import dataclass, field
from typing import Any, Literal

from redis.asyncio.connection import Connection, SSLConnection, parse_url
from redis.exceptions import RedisError

Node = tuple[str, int]
"""Host and port of a server."""

Kind = Literal["server", "cluster", "sentinel"]
_PORTS: dict[Kind, int] = {"server": 6379, "cluster": 6379, "sentinel": 26379}
_WAYS = (
    "redis://host:port/0, redis+cluster://host:port,host:port "
    "or redis+sentinel://host:port,host:port/name-of-the-master"
)


class BadAddress(ValueError):
    """The text is for a person and holds nothing of the address."""


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """`options` are those of a redis-py connection to a server that holds data: user, database,
    certificates; `sentinel_options` those of one to a Sentinel."""

    kind: Kind
    nodes: tuple[Node, ...]
    options: dict[str, Any] = field(repr=False)
    master: str = ""
    sentinel_options: dict[str, Any] = field(repr=False, default_factory=dict)
    tls: ssl.SSLContext | None = field(repr=False, compare=False, default=None)
    """How a connection of our own is to be encrypted; None: not at all."""


def read_address(url: str) -> RedisAddress:
    """Read REDIS_URL; raises BadAddress."""
    scheme, _, rest = url.partition("://")
    plain, _, kind = scheme.lower().partition("+")
    kind = kind or "server"
    if plain not in ("redis", "rediss") or kind not in _PORTS:
        raise BadAddress(f"begin it with {_WAYS}")
    address, _, query = rest.partition("?")
    location, _, path = address.partition("/")
    person, at, hosts = location.rpartition("@")
    if "@" in person and kind != "server":
        raise BadAddress("user and password stand once, before the first host; an @ in them is %40")
    nodes = tuple(_node(host, _PORTS[kind]) for host in hosts.split(","))
    if kind == "server" and len(nodes) > 1:
        raise BadAddress(f"several servers are a cluster or Sentinels: {_WAYS}")
    master, database = "", path
    if kind == "sentinel":
        master, _, database = path.partition("/")
        if not master:
            raise BadAddress(f"the name of the master is missing: {_WAYS}")
    if database and not database.isdecimal():
        raise BadAddress(f"the database is a number: {_WAYS}")
    options = _options(f"{plain}://{person}{at}host/{database}?{query}")
    if kind == "cluster" and options.get("db"):
        raise BadAddress("a cluster has database 0 alone")
    guards = _taken(options, "sentinel_") if kind == "sentinel" else {}
    return RedisAddress(kind, nodes, options, master, guards, _tls(options))


def _node(text: str, port: int) -> Node:
    """Read `host`, `host:port` or `[address]:port`."""
    host, colon, number = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, number = text, str(port)
    bare = host.strip("[]")
    legible = number.isdecimal() and len(number) < 6 and 0 < int(number) < 65536
    if not legible or (":" in bare and not host.startswith("[")):
        raise BadAddress(f"a host or a port cannot be read: {_WAYS}")
    return bare or "localhost", int(number)


def _options(url: str) -> dict[str, Any]:
    try:
        options: dict[str, Any] = dict(parse_url(url))
    except ValueError:
        raise BadAddress("redis-py cannot read what stands behind the hosts") from None
    options.pop("host", None)
    options.pop("port", None)
    return options


def _tls(options: dict[str, Any]) -> ssl.SSLContext | None:
    """Return how redis-py would encrypt a connection with those options, which is not opened.

    So they are read once, by one list, and what redis-py cannot use is refused at the start.
    """
    kind = options.get("connection_class", Connection)
    try:
        connection = kind(**{n: value for n, value in options.items() if n not in _OF_A_POOL})
        return connection.ssl_context.get() if isinstance(connection, SSLConnection) else None
    except (TypeError, ValueError, OSError, RedisError):  # the text may hold what was given
        raise BadAddress("redis-py cannot use what stands behind the hosts") from None


_OF_A_POOL = {"connection_class", "max_connections", "timeout"}


def _taken(options: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Take the options that begin with `prefix` out of `options`; TLS is the same for both."""
    names = [name for name in options if name.startswith(prefix)]
    taken = {name.removeprefix(prefix): options.pop(name) for name in names}
    return taken | {name: value for name, value in options.items() if _is_tls(name)}


def _is_tls(name: str) -> bool:
    return name == "connection_class" or name.startswith("ssl_")
