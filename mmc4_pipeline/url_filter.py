"""A small filter of all URLs in a shard's files, which its note keeps: it tells which shards a takedown must read.

It holds the hashes of all deny-list entries that would deny one of the URLs (`filters.deny_list.keys_of`), so it never
misses a URL. One other entry in a thousand seems to be in it.
"""

import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from filters.deny_list import KEYS_VERSION, keys_of
from mmc4_pipeline.commoncrawl.wanted import BloomFilter
from schemas.page import Page

RATE = 1e-3  # costs 14 bits per key, and a URL has two keys and those of its host


def url_filter(urls: Iterable[str]) -> bytes:
    """Return the filter of some URLs; their order does not matter."""
    keys = set(chain.from_iterable(map(keys_of, set(urls))))
    bloom = BloomFilter.of(np.fromiter(keys, np.uint64, len(keys)), RATE)
    # Compressed, because a small shard leaves most of it empty.
    return bytes([KEYS_VERSION]) + zlib.compress(bloom.to_bytes(), 1)


def urls_of(pages: Iterable[Page]) -> Iterator[str]:
    """Yield the URLs of pages and of their image links: a ledger has no others."""
    for page in pages:
        yield page.url
        yield from (link.url for link in page.links)


def may_have(stored: bytes, entries: NDArray[np.uint64]) -> bool:
    """Return whether one of the entries may deny a URL of the filter: always True if one does, or if it is damaged."""
    try:
        found = BloomFilter.from_bytes(np.frombuffer(zlib.decompress(stored[1:]), np.uint8))
    except zlib.error:
        return True
    return stored[0] != KEYS_VERSION or found is None or bool(found.contains(entries).any())
