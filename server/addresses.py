"""Who calls, by address: what limits and caps go by when they go by no name."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from starlette.requests import HTTPConnection

LENIENCE = 250
_REMEMBERED = 16_384
UNKNOWN = "unknown"
"""All who have no address that makes sense count as one: they would else be free of every limit."""


def client_address(connection: HTTPConnection) -> str:
    """Return the IPv4 address, or the /64 network of the IPv6 address, that the caller has.

    That is the peer, or, if the peer is a trusted proxy, whom it forwards for: `BehindProxies` of
    `server.serving` has put that in place. One IPv6 subscriber has a whole /64 at least (RFC 6177).
    UNKNOWN when there is no address that makes sense, as on a Unix socket.
    """
    return _network(_host(connection), 64)


def client_home(connection: HTTPConnection) -> str:
    """The same with the /56 network, which is what a home often has."""
    return _network(_host(connection), 56)


def client_site(connection: HTTPConnection) -> str:
    """Return the /48 network of an IPv6 address: nobody but a company or a provider has more. Empty
    for all others."""
    host = _host(connection)
    return _network(host, 48) if isinstance(_address(host), IPv6Address) else ""


def lenience(connection: HTTPConnection, *, development: bool) -> int:
    """Return how many times as much as others the caller may do: more than once in development, on
    this very machine, where tests and load generators call from."""
    address = _address(_host(connection)) if development else None
    return LENIENCE if address and address.is_loopback else 1


def _host(connection: HTTPConnection) -> str:
    client = connection.scope.get("client")
    return client[0] if client else ""


@lru_cache(_REMEMBERED)
def _network(host: str, bits: int) -> str:
    address = _address(host)
    if address is None:
        return UNKNOWN
    if isinstance(address, IPv4Address):
        return str(address)
    return str(ip_network((address, bits), strict=False))


@lru_cache(_REMEMBERED)
def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
