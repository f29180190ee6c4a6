"""Joins the URLs that page shards want with the images that img2dataset has fetched, by a hash of the URL.

Both sides are divided into buckets by that hash, so that a bucket is joined without any other. What goes into a bucket
and what comes out of it are small packed blocks: references to images, never their bytes.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator

import msgspec
from msgspec.structs import astuple

from schemas.prefetched_image import PrefetchedImage
from schemas.reasons import Reason

Key = bytes  # of a URL: 128 bits, so that two URLs never have the same one
Found = dict[Key, tuple[int, PrefetchedImage]]  # number of the image shard, and the image's record

_pack = msgspec.msgpack.Encoder().encode
_wanted = msgspec.msgpack.Decoder(tuple[int, list[Key]])  # a page shard and what it wants
_images = msgspec.msgpack.Decoder(tuple[int, list[tuple[Key, bool, bytes]]])  # an image shard; key, has image, record
_found = msgspec.msgpack.Decoder(list[tuple[Key, int, bytes]])  # key, image shard, record
# A record without its URL, which the page shard has.
_Fields = tuple[int | None, int | None, int | None, int | None, str | None, int | None, str | None, Reason | None]
_record = msgspec.msgpack.Decoder(_Fields)


def key_of(url: str) -> Key:
    """Return the key of a URL that ends before any "#"."""
    return hashlib.sha256(url.encode("utf-8", "surrogatepass")).digest()[:16]


def wanted_by_bucket(shard: int, urls: Iterable[str], buckets: int) -> Iterator[tuple[int, bytes]]:
    """Yield (bucket, block) for the URLs that a page shard wants."""
    by_bucket: dict[int, list[Key]] = defaultdict(list)
    for key in sorted(set(map(key_of, urls))):
        by_bucket[_bucket(key, buckets)].append(key)
    return ((bucket, _pack((shard, keys))) for bucket, keys in by_bucket.items())


def images_by_bucket(number: int, images: Iterable[PrefetchedImage], buckets: int) -> Iterator[tuple[int, bytes]]:
    """Yield (bucket, block) for the records of an image shard."""
    best: dict[Key, PrefetchedImage] = {}
    for image in images:
        key = key_of(image.url)
        if key not in best or (best[key].reason and image.reason is None):
            best[key] = image
    by_bucket: dict[int, list[tuple[Key, bool, bytes]]] = defaultdict(list)
    for key, image in best.items():
        by_bucket[_bucket(key, buckets)].append((key, image.reason is None, _pack(astuple(image)[1:])))
    return ((bucket, _pack((number, rows))) for bucket, rows in by_bucket.items())


def join(wanted: Iterable[bytes], images: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Join the blocks of one bucket, in any order; yield (page shard, block of what was found for it).

    If several image shards have a URL, the first one with an image counts, or else the first one.
    """
    shards_of: dict[Key, list[int]] = defaultdict(list)
    for block in wanted:
        shard, keys = _wanted.decode(block)
        for key in keys:
            shards_of[key].append(shard)
    best: dict[Key, tuple[bool, int, bytes]] = {}
    for block in images:
        number, rows = _images.decode(block)
        for key, has_image, record in rows:
            if key in shards_of:
                candidate = (not has_image, number, record)
                best[key] = min(candidate, best.get(key, candidate))
    by_shard: dict[int, list[tuple[Key, int, bytes]]] = defaultdict(list)
    for key, (_, number, record) in best.items():
        for shard in shards_of[key]:
            by_shard[shard].append((key, number, record))
    return ((shard, _pack(rows)) for shard, rows in by_shard.items())


def unpack_found(blocks: Iterable[bytes]) -> Found:
    """Return what was found for a page shard, from the blocks of all buckets."""
    rows = (row for block in blocks for row in _found.decode(block))
    return {key: (number, PrefetchedImage("", *_record.decode(record))) for key, number, record in rows}


def _bucket(key: Key, buckets: int) -> int:
    return int.from_bytes(key[:8], "big") % buckets
