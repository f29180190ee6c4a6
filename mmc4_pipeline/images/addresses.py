"""Keeps requests off private addresses, whatever a page links to and whatever a name resolves to."""

import ipaddress
import socket

from aiohttp.connector import AddrInfoType

FORBIDDEN = "not a public address"


class ForbiddenAddressError(OSError):
    """A host name or redirect that leads to a loopback, private, link-local or multicast address."""


def is_public(address: str) -> bool:
    """Tell whether an IP address is one that anybody on the Internet can reach (IPv4 inside IPv6 included)."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is not None and not inner.is_global:
            return False
    return ip.is_global and not ip.is_multicast


def public_socket(info: AddrInfoType) -> socket.socket:
    """Make the socket for a connection: the last point before it, after every name and redirect is resolved.

    Raises ForbiddenAddressError, so that a name that changes its answer between check and use gains nothing.
    """
    family, kind, protocol, _, address = info
    if not is_public(str(address[0])):
        message = f"{address[0]} is {FORBIDDEN}"
        raise ForbiddenAddressError(message)
    return socket.socket(family=family, type=kind, proto=protocol)
