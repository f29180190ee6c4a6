"""Converts host names to the form in which they are compared: lower case, IDNA in ASCII, without a trailing dot."""

from urllib.parse import SplitResult, unquote, urlsplit

import idna

from filters.short_cache import NAME_LENGTH, short_cache

MAX_NAME = 253  # characters (RFC 1035, 2.3.4); longer ones are not names, and IDNA could take long for them
_PORTS = {"http": 80, "https": 443}


@short_cache(65536, NAME_LENGTH)
def normal_host(host: str) -> str:
    """Return the host in normal form (UTS #46), or just in lower case if it is not a valid host name."""
    name = unquote(host).lower()
    if not name.isascii() and len(name) <= MAX_NAME:
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            return name
    return name.removesuffix(".")


def split(url: str) -> SplitResult | None:
    """Return the parts of a URL, None if it is not a valid URL."""
    try:
        return urlsplit(url)
    except ValueError:
        return None


def host_of(parts: SplitResult) -> str:
    """Return the host of a URL in normal form, empty if it has none."""
    return normal_host(parts.hostname or "")


def host_and_port(parts: SplitResult) -> str:
    """Return "host", or "host:8080" if the port is not the scheme's default."""
    try:
        port = parts.port
    except ValueError:  # not a number
        port = None
    host = host_of(parts)
    host = f"[{host}]" if ":" in host else host
    return host if port in (None, _PORTS.get(parts.scheme)) else f"{host}:{port}"
