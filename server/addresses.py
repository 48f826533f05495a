"""Who calls, by address: what limits and caps go by when they go by no name."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from starlette.requests import HTTPConnection

LENIENCE = 250
UNKNOWN = "unknown"
"""All who have no address that makes sense count as one: they would else be free of every limit."""


def client_address(connection: HTTPConnection) -> str:
    """Return the IPv4 address, or the /64 network of the IPv6 address, that the caller has.

    That is the peer, or, if the peer is a trusted proxy, whom it forwards for: `BehindProxies` of
    `server.serving` has put that in place. One IPv6 subscriber has a whole /64 at least (RFC 6177).
    UNKNOWN when there is no address that makes sense, as on a Unix socket.
    """
    address = _address(connection)
    return _network(address, 64) if address else UNKNOWN


def client_home(connection: HTTPConnection) -> str:
    """The same with the /56 network, which is what a home often has."""
    address = _address(connection)
    return _network(address, 56) if address else UNKNOWN


def client_site(connection: HTTPConnection) -> str:
    """Return the /48 network of an IPv6 address: nobody but a company or a provider has more. Empty
    for all others."""
    address = _address(connection)
    return _network(address, 48) if isinstance(address, IPv6Address) else ""


def lenience(connection: HTTPConnection, *, development: bool) -> int:
    """Return how many times as much as others the caller may do: more than once in development, on
    this very machine, where tests and load generators call from."""
    address = _address(connection)
    return LENIENCE if development and address and address.is_loopback else 1


def _network(address: IPv4Address | IPv6Address, bits: int) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return str(ip_network((address, bits), strict=False))


def _address(connection: HTTPConnection) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(connection.client.host if connection.client else "")
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
