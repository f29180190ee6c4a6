"""Reads images that img2dataset has already fetched.

Each image shard is indexed once. The join of the images stage (join.py) finds the images of a page shard in these
indexes; then the images are read from the tars by range.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import msgspec

from mmc4_pipeline import storage
from mmc4_pipeline.images.fetching.interface import FetchResult, ImageRequest
from mmc4_pipeline.images.from_img2dataset.join import Found, images_by_bucket, key_of, unpack_found
from mmc4_pipeline.images.from_img2dataset.shards import read_bodies, read_shard
from mmc4_pipeline.storage import Inputs
from schemas.prefetched_image import PrefetchedImage
from schemas.reasons import Reason


@dataclass(frozen=True)
class PrefetchedImages:
    """Image shards, given by the paths of their tars, and the folder of their indexes. Sizes are in bytes."""

    inputs: Inputs
    tars: tuple[str, ...]
    folder: str
    max_bytes: int

    def index_shard(self, number: int) -> str:
        """Write the index of an image shard unless it exists, and return its path.

        Raises UserError if the shard is incomplete.
        """
        index = storage.join(self.folder, f"{number:06d}.parquet")
        if not storage.exists(index):
            storage.write_records(index, read_shard(self.inputs, self.tars[number]), PrefetchedImage)
        return index

    def by_bucket(self, number: int, buckets: int) -> Iterator[tuple[int, bytes]]:
        """Yield (bucket, block) of an image shard, from its index, for the join."""
        return images_by_bucket(number, storage.read_records(self.index_shard(number), PrefetchedImage), buckets)

    def found(self, blocks: Iterable[bytes]) -> "FoundImages":
        """Return the images of a page shard, from the blocks that the join yielded for it."""
        return FoundImages(self, unpack_found(blocks))


@dataclass(frozen=True)
class FoundImages:
    """The images of the image shards that one page shard needs."""

    shards: PrefetchedImages
    found: Found

    def fetch(self, requests: Sequence[ImageRequest]) -> Iterator[FetchResult]:
        """Yield one result for each request: requests without an image, then images in the order of the shards."""
        with_image: list[tuple[int, PrefetchedImage]] = []
        for request in requests:
            number, image = self.found.get(key_of(request.url), (None, None))
            if number is None or image is None:
                yield FetchResult(request.url, "", error="in none of the image shards", reason=Reason.NOT_FETCHED)
                continue
            tar, image = self.shards.tars[number], msgspec.structs.replace(image, url=request.url)
            if image.reason is not None:
                yield to_result(image, tar, b"")
            elif (image.length or 0) > self.shards.max_bytes:
                error = f"more than {self.shards.max_bytes} bytes"
                yield FetchResult(request.url, tar, error=error, reason=Reason.TOO_LARGE)
            else:
                with_image.append((number, image))
        for number, group in groupby(sorted(with_image, key=itemgetter(0)), key=itemgetter(0)):
            tar = self.shards.tars[number]
            for image, body in read_bodies(self.shards.inputs, tar, [image for _, image in group]):
                yield to_result(image, tar, body)


def to_result(image: PrefetchedImage, route: str, body: bytes) -> FetchResult:
    """Return the record and the bytes of a prefetched image as a result."""
    size = (image.width, image.height) if image.width and image.height else None
    return FetchResult(image.url, route, image.http_status, image.error, None, image.reason, body, size, image.sha256)
