"""Host names in the one form in which they are compared: lower case, IDNA in ASCII, without a trailing dot."""

from functools import lru_cache
from urllib.parse import SplitResult, unquote, urlsplit

import idna

_MAX_NAME = 253  # characters (RFC 1035, 2.3.4); longer ones are no names, and IDNA of them could take long
_PORTS = {"http": 80, "https": 443}


@lru_cache(maxsize=65536)
def normal_host(host: str) -> str:
    """Give the host's normal form, as UTS #46 has it; what is no host name comes back in lower case."""
    name = unquote(host).lower()
    if not name.isascii() and len(name) <= _MAX_NAME:
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            return name
    return name.removesuffix(".")


def split(url: str) -> SplitResult | None:
    """Give the parts of a URL; None for what is no URL."""
    try:
        return urlsplit(url)
    except ValueError:
        return None


def host_of(parts: SplitResult) -> str:
    """Give the host of a URL in its normal form, empty where it has none."""
    return normal_host(parts.hostname or "")


def host_and_port(parts: SplitResult) -> str:
    """Give "host", or "host:8080" where the port is not the scheme's own."""
    try:
        port = parts.port
    except ValueError:  # no number
        port = None
    host = host_of(parts)
    host = f"[{host}]" if ":" in host else host
    return host if port in (None, _PORTS.get(parts.scheme)) else f"{host}:{port}"
