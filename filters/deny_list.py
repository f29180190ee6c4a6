"""Drops the image links, hosts and pages on a list that the user provides."""

from __future__ import annotations  # array has no type arguments at run time before Python 3.12

import hashlib
import io
import re
import string
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self
from urllib.parse import SplitResult

import numpy as np
import xxhash

from filters.base import FileLinkFilter, LinkFilter, Stricter
from filters.hosts import MAX_NAME, host_and_port, normal_host
from filters.hosts import split as split_leniently
from filters.short_cache import NAME_LENGTH, URL_LENGTH, short_cache
from filters.web_url import split, web_url, without_fragment
from schemas.page import ImageLink
from schemas.reasons import Reason

_COMMENT = re.compile(r"(?:^|\s)#.*")
# A host that is in normal form already.
_PLAIN_HOST = re.compile(rb"(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\.)+[a-z][a-z0-9-]*[a-z0-9]\s*")
_HOST = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?|\[[0-9a-f:.]+\]")
_ESCAPE = re.compile("%([0-9a-fA-F]{2})")
_UNRESERVED = frozenset(string.ascii_letters + string.digits + "-._~")
_SHA256 = re.compile(r"sha256:([0-9a-fA-F]{64})")


@dataclass(frozen=True)
class DenyList(FileLinkFilter):
    """Not in MMC4: nothing is requested from hosts and pages that do not want to be in a dataset.

    `list` is the path or URL of a UTF-8 text file with one entry per line; text after "#" is a comment. An entry is

    - a host or domain, `example.com` or `*.example.com`: it and every name below it;
    - a URL, `https://example.com/a.jpg?b=1`: only this URL, over http and https, whatever comes after "#";
    - `sha256:` and 64 hex digits: the URL with this hash, as in the ledger, with or without its "#" part.

    An image is denied by its own URL or by the URL of its page. URLs are compared in the normal form of
    `filters.web_url`, in which `%7E` and `~` are the same, and hosts in that of `filters.hosts`. Only 64 bits of a hash
    are kept per entry, so ten million entries take 80 MB. A URL that is not on such a list is denied by mistake with a
    probability of 1 in 10^11.
    """

    list: str

    stricter = {"list": Stricter.SAME}

    def load(self, read: Callable[[str], bytes], /) -> LoadedDenyList:
        """Read the list; raises ValueError with the number of a line that is not an entry."""
        return LoadedDenyList.parse(self.list, read(self.list))


class LoadedDenyList(LinkFilter):
    """The filter with its list as sorted 64-bit hashes.

    `names` are hashes of hosts and of URLs without their scheme, `sums` the first 64 bits of sha256 sums.
    """

    reason = Reason.DENIED

    def __init__(self, names: array[int], sums: array[int]) -> None:
        self._names, self._sums = _sorted(names), _sorted(sums)
        self._look_up = short_cache(1024, URL_LENGTH)(self._denies)  # a page's URL comes again with each of its links
        self._denies_host = short_cache(65536, NAME_LENGTH)(self._look_up_host)

    @classmethod
    def parse(cls, path: str, content: bytes) -> Self:
        """Read a list; raises ValueError with the number of a line that is not an entry."""
        names, sums = array("Q"), array("Q")
        for number, raw in enumerate(io.BytesIO(content.removeprefix(b"\xef\xbb\xbf")), start=1):
            if len(raw) <= MAX_NAME and _PLAIN_HOST.fullmatch(raw):
                names.append(xxhash.xxh3_64_intdigest(raw.rstrip()))
                continue
            entry = _COMMENT.sub("", raw.decode("utf-8", "replace")).strip()
            if not entry:
                continue
            if found := _SHA256.fullmatch(entry):
                sums.append(int(found[1][:16], 16))
            elif name := _name(entry):
                names.append(_hash(name))
            else:
                raise ValueError(
                    f"{path}:{number}: {entry[:100]!r} is not a valid entry; write a host (example.com), a URL "
                    "(https://example.com/a.jpg) or sha256: and the 64 hex digits of a URL's hash"
                )
        return cls(names, sums)

    def entries(self) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        """Return all entries as 64-bit hashes: a URL can only be denied if one of them is among its `keys_of`."""
        return np.concatenate([np.frombuffer(part, np.uint64) for part in (self._names, self._sums)])

    def decide(self, link: ImageLink, page_url: str = "", /) -> str | None:
        """Look up the URLs of the image and of its page."""
        return self.reason if self.denies(link.url) or self.denies(page_url) else None

    def denies(self, url: str) -> bool:
        """Return whether the URL, its host, a domain above that, or its hash is on the list.

        A string that is not a URL can only be denied by its hash.
        """
        return self._look_up(url)

    def _denies(self, url: str) -> bool:
        if self._names and (parts := _parts(url)) is not None:
            return (
                self._denies_host(parts.hostname or "")
                or _is_in(self._names, _hash(_url_name(parts)))
                or self._denies_sum(url)
            )
        return self._denies_sum(url)

    def _look_up_host(self, host: str) -> bool:
        return any(_is_in(self._names, key) for key in _host_keys(host))

    def _denies_sum(self, url: str) -> bool:
        if not self._sums:
            return False
        return any(_is_in(self._sums, _sha256(form)) for form in _forms(url))


KEYS_VERSION = 1  # raise it whenever `keys_of` changes: stored filters of other keys are then not used


def keys_of(url: str) -> Iterator[int]:
    """Yield the 64-bit hashes of all entries that would deny a URL: its hosts, the URL, and its sha256."""
    if (parts := _parts(url)) is not None:
        yield from _host_keys(parts.hostname or "")
        yield _hash(_url_name(parts))
    yield from map(_sha256, _forms(url))


def _parts(url: str) -> SplitResult | None:
    return split(url) or split_leniently(url)


def _forms(url: str) -> set[str]:
    """Return the forms of a URL whose sha256 may be on a list."""
    normal = web_url(url) or url
    return {url, without_fragment(url), normal, without_fragment(normal)}


@short_cache(65536, NAME_LENGTH)
def _host_keys(host: str) -> tuple[int, ...]:
    """Return the hashes of a host and of each domain above it, except names that are too long to exist."""
    name = normal_host(host)
    if len(name) > MAX_NAME:  # it may have half a million labels
        name = name[-MAX_NAME - 1 :].partition(".")[2]
    labels = name.split(".")
    return tuple(_hash(".".join(labels[start:])) for start in range(len(labels)))


def _sorted(hashes: array[int]) -> array[int]:
    return array("Q", np.unique(np.frombuffer(hashes, np.uint64)).tobytes())


def _is_in(known: array[int], wanted: int) -> bool:
    place = bisect_left(known, wanted)
    return place < len(known) and known[place] == wanted


def _name(entry: str) -> str | None:
    """Return the part of a host or URL that is hashed, or None if the entry is neither."""
    if "://" in entry:
        parts = split(entry)
        return _url_name(parts) if parts else None
    host = normal_host(entry.removeprefix("*."))
    return host.strip("[]") if len(host) <= MAX_NAME and _HOST.fullmatch(host) else None


def _url_name(parts: SplitResult) -> str:
    """Return a URL without scheme and fragment. It starts with "//", so it can't be mistaken for a host.

    What may be percent-encoded or not is in one form (RFC 3986, 6.2.2).
    """
    query = f"?{parts.query}" if parts.query else ""
    return f"//{host_and_port(parts)}{_ESCAPE.sub(_normal_escape, (parts.path or '/') + query)}"


def _normal_escape(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    return character if character in _UNRESERVED else found[0].upper()


def _hash(name: str) -> int:
    return xxhash.xxh3_64_intdigest(name.encode("utf-8", "replace"))


def _sha256(url: str) -> int:
    return int.from_bytes(hashlib.sha256(url.encode("utf-8", "replace")).digest()[:8], "big")
