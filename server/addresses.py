"""Who calls, by address: what limits and caps go by when they go by no name."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from starlette.requests import HTTPConnection

LENIENCE = 250


def client_address(connection: HTTPConnection) -> str:
    """Return the IPv4 address, or the /64 network of the IPv6 address, that the caller has.

    That is the peer, or, if the peer is a trusted proxy, whom it forwards for: `behind_proxies` of
    `server.serving` has put that in place. One IPv6 subscriber has a whole /64 (RFC 6177). Empty
    when there is no address that makes sense, as on a Unix socket.
    """
    address = _address(connection)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return str(address or "")


def lenience(connection: HTTPConnection, *, development: bool) -> int:
    """Return how many times as much as others the caller may do: more than once in development, on
    this very machine, where tests and load generators call from."""
    address = _address(connection)
    return LENIENCE if development and address and address.is_loopback else 1


def _address(connection: HTTPConnection) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(connection.client.host if connection.client else "")
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
