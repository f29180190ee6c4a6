"""Prevents connections to private addresses, whatever a page links to and whatever a name resolves to."""

import ipaddress
import socket

AddressInfo = tuple[int, int, int, str, tuple[int | str, ...]]  # as socket.getaddrinfo returns it
FORBIDDEN = "not a public address"
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: a gateway forwards it to the IPv4 address at its end
_NOT_PUBLIC = [  # ipaddress reports these as global, at least in some versions, although they are not (or no longer)
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
    """Raised for a host name or redirect that leads to a loopback, private, link-local or multicast address."""


def is_public(address: str) -> bool:
    """Return whether an IP address can be reached from anywhere on the Internet (IPv4 inside IPv6 included)."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else ip.ipv4_mapped
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _NOT_PUBLIC)


def public_socket(info: AddressInfo) -> socket.socket:
    """Create the socket for a connection; raises ForbiddenAddressError if its address is not public.

    This is the last step before connecting, after all names and redirects are resolved: a name that resolves to another
    address between check and use gains nothing.
    """
    family, kind, protocol, _, address = info
    if not is_public(str(address[0])):
        raise ForbiddenAddressError(f"{address[0]} is {FORBIDDEN}")
    return socket.socket(family=family, type=kind, proto=protocol)
