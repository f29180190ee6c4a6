"""Keeps requests off private addresses, whatever a page links to and whatever a name resolves to."""

import ipaddress
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # guarded_img2dataset.py reads this file where there may be no aiohttp
    from aiohttp.connector import AddrInfoType

FORBIDDEN = "not a public address"


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: a gateway takes it to the IPv4 address at its end
_NOT_PUBLIC = [  # what ipaddress holds to be global, at least in some versions, although it is not or no longer
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # RFC 6890
        "64:ff9b:1::/48",  # RFC 8215
        "::/96",  # RFC 4291, 2.5.5.1
        "fec0::/10",  # RFC 3879
        "2002::/16",  # RFC 7526
    )
]


class ForbiddenAddressError(OSError):
    """A host name or redirect that leads to a loopback, private, link-local or multicast address."""


def is_public(address: str) -> bool:
    """Tell whether an IP address is one that anybody on the Internet can reach (IPv4 inside IPv6 included)."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else ip.ipv4_mapped
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _NOT_PUBLIC)


def public_socket(info: "AddrInfoType") -> socket.socket:
    """Make the socket for a connection: the last point before it, after every name and redirect is resolved.

    Raises ForbiddenAddressError, so that a name that changes its answer between check and use gains nothing.
    """
    family, kind, protocol, _, address = info
    if not is_public(str(address[0])):
        message = f"{address[0]} is {FORBIDDEN}"
        raise ForbiddenAddressError(message)
    return socket.socket(family=family, type=kind, proto=protocol)
