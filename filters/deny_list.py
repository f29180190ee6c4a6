"""Drops image links, and all links of pages, that a list of the user's denies."""

from __future__ import annotations  # array has no type arguments at run time before Python 3.12

import hashlib
import io
import re
from array import array
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self
from urllib.parse import SplitResult

import numpy as np
import xxhash

from filters.base import LinkFilter, Stricter
from filters.hosts import host_and_port, normal_host, split
from schemas.page import ImageLink
from schemas.reasons import Reason

_COMMENT = re.compile(r"(?:^|\s)#.*")
_PLAIN_HOST = re.compile(
    rb"(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\.)+[a-z][a-z0-9-]*[a-z0-9]\s*"
)  # nothing to normalise
_HOST = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?|\[[0-9a-f:.]+\]")
_SHA256 = re.compile(r"sha256:([0-9a-fA-F]{64})")


@dataclass(frozen=True)
class DenyList(LinkFilter):
    """Not in MMC4: who does not want to be in a dataset is not asked for anything.

    `list` is the path or URL of a UTF-8 text file, one entry a line; what follows "#" is a comment. An entry is

    - a host or domain, `example.com` or `*.example.com`: it and every name below it;
    - a URL, `https://example.com/a.jpg?b=1`: it alone, over http and https, whatever comes after "#";
    - `sha256:` and 64 hex digits: the URL of that hash, as it stands in the ledger, with or without its "#" part.

    An image is denied by its own URL, or by that of the page that it stands on. Hosts are compared as
    `filters.hosts` has them. Of an entry 64 bits of a hash are kept, so that ten million take 80 MB: a URL that
    is not on such a list is taken for one that is with a probability of 1 in 10^11.
    """

    list: str

    reason = Reason.DENIED
    stricter = {"list": Stricter.SAME}

    def prepared(self, read: Callable[[str], bytes]) -> Self:
        """Read the list; raises ValueError with the number of a line that is no entry."""
        ready = replace(self)
        object.__setattr__(ready, "_entries", _Entries.parse(self.list, read(self.list)))  # no part of the recipe
        return ready

    def decide(self, link: ImageLink, page_url: str = "") -> str | None:
        """Look for the image's URL and its page's; the filter must have been prepared."""
        return self.reason if self.denies(link.url) or self.denies(page_url) else None

    def denies(self, url: str) -> bool:
        """Tell whether a URL is denied; what is no URL can only be denied by its hash."""
        entries: _Entries = self._entries  # type: ignore[attr-defined]
        return entries.have(url)


class _Entries:
    """Sorted 64-bit hashes: of hosts and of URLs without scheme (`names`), and what sha256 sums begin with."""

    def __init__(self, names: array[int], sums: array[int]) -> None:
        self._names, self._sums = _sorted(names), _sorted(sums)
        self.have = lru_cache(maxsize=1024)(self._have)  # a page's URL comes again with each of its links
        self._have_host = lru_cache(maxsize=65536)(self._look_for_host)

    @classmethod
    def parse(cls, path: str, content: bytes) -> Self:
        names, sums = array("Q"), array("Q")
        for number, raw in enumerate(io.BytesIO(content.removeprefix(b"\xef\xbb\xbf")), start=1):
            if _PLAIN_HOST.fullmatch(raw):
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
                message = (
                    f"{path}:{number}: {entry[:100]!r} is no entry; write a host (example.com), a URL "
                    "(https://example.com/a.jpg) or sha256: and the 64 hex digits of a URL's hash"
                )
                raise ValueError(message)
        return cls(names, sums)

    def _have(self, url: str) -> bool:
        """Look for the URL, its host, each domain above that, and its hash."""
        if self._names and (parts := split(url)) is not None:
            return (
                self._have_host(parts.hostname or "")
                or _is_in(self._names, _hash(_url_name(parts)))
                or self._have_sum(url)
            )
        return self._have_sum(url)

    def _look_for_host(self, host: str) -> bool:
        labels = normal_host(host).split(".")
        return any(_is_in(self._names, _hash(".".join(labels[start:]))) for start in range(len(labels)))

    def _have_sum(self, url: str) -> bool:
        if not self._sums:
            return False
        return any(_is_in(self._sums, _sha256(form)) for form in {url, url.partition("#")[0]})


def _sorted(hashes: array[int]) -> array[int]:
    return array("Q", np.unique(np.frombuffer(hashes, np.uint64)).tobytes())


def _is_in(known: array[int], wanted: int) -> bool:
    place = bisect_left(known, wanted)
    return place < len(known) and known[place] == wanted


def _name(entry: str) -> str | None:
    """Give what is hashed of an entry that is a host or a URL; None where it is neither."""
    if "://" in entry:
        parts = split(entry)
        return _url_name(parts) if parts and parts.scheme in ("http", "https") and parts.hostname else None
    host = normal_host(entry.removeprefix("*."))
    return host.strip("[]") if _HOST.fullmatch(host) else None


def _url_name(parts: SplitResult) -> str:
    """Give a URL without scheme and fragment; its "//" keeps it apart from hosts."""
    query = f"?{parts.query}" if parts.query else ""
    return f"//{host_and_port(parts)}{parts.path or '/'}{query}"


def _hash(name: str) -> int:
    return xxhash.xxh3_64_intdigest(name.encode("utf-8", "replace"))


def _sha256(url: str) -> int:
    return int.from_bytes(hashlib.sha256(url.encode("utf-8", "replace")).digest()[:8], "big")
