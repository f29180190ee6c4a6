"""Computes the hashes by which lists of denied content name an image."""

import hashlib
from collections.abc import Mapping

import cv2
import numpy as np

from filters.base import ContentFilter, ContentHashes
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.images.decoding.decode import Decoded, Pixels
from mmc4_pipeline.images.decoding.header import Undecodable
from mmc4_pipeline.images.fetching.interface import FetchResult


def content_hashes(
    result: FetchResult, decoded: Decoded | Undecodable | None, filters: Mapping[str, ContentFilter]
) -> ContentHashes:
    """Return the hashes of an image; without filters only its sha256, the others are 0 or None.

    `decoded` is None if no hash of the picture is needed.
    """
    body = result.body
    sha256 = int(result.sha256, 16) if result.sha256 else _number(hashlib.sha256(body))
    if not filters:
        return ContentHashes(0, 0, sha256)
    # With --images_from, `result.sha256` is that of the bytes before img2dataset encoded them again; `body` is what
    # it stored.
    md5 = _number(hashlib.md5(body, usedforsecurity=False))
    sha1 = _number(hashlib.sha1(body, usedforsecurity=False))
    if not isinstance(decoded, Decoded):
        return ContentHashes(md5, sha1, sha256)
    pdq = _pdq(decoded.pixels) if any(item.needs_pdq for item in filters.values()) else None
    return ContentHashes(md5, sha1, sha256, decoded.phash, pdq)


def _number(digest: "hashlib._Hash") -> int:
    return int.from_bytes(digest.digest(), "big")


def _pdq(pixels: Pixels) -> int:
    """Return the PDQ hash of BGR pixels; raises UserError if the package for it is missing."""
    try:
        import pdqhash
    except ImportError as error:
        raise UserError(
            "filters.denied_content: the list has PDQ hashes; run `pip install 'mmc4-pipeline[pdq]'` on all workers"
        ) from error
    bits, _quality = pdqhash.compute(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)))
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
