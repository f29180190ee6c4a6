"""Origins: the host that a URL's rate limits are for, and whose robots.txt applies to it."""

from dataclasses import dataclass
from urllib.parse import SplitResult

from filters.hosts import host_and_port
from filters.short_cache import NAME_LENGTH, URL_LENGTH, short_cache
from filters.web_url import parts_of, web_url

_URLS = 4096  # remembered at a time


@dataclass(frozen=True, slots=True)
class Origin:
    """A host with its port, and the URL that the paths of its files follow; None if the URL is not one of the web."""

    host: str = ""
    root: str | None = None


@short_cache(_URLS, URL_LENGTH)
def normal_url(url: str) -> str | None:
    """Return a URL in normal form, None if it is not valid, as web_url does; each step of a request asks for it."""
    return web_url(url)


@short_cache(_URLS, URL_LENGTH)
def origin_of(url: str) -> Origin:
    """Return the origin of a URL; an empty one if the URL is not valid."""
    normal = normal_url(url)
    return _origin_at(*parts_of(normal)[:2]) if normal else Origin()


@short_cache(65536, NAME_LENGTH)
def _origin_at(scheme: str, netloc: str) -> Origin:
    parts = SplitResult(scheme, netloc, "", "", "")
    return Origin(host_and_port(parts), f"{scheme}://{netloc.rpartition('@')[2]}")
