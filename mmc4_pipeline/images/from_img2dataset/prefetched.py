"""Reads images that img2dataset has already fetched: finds them by URL in an index of its shards.

The index has one file for each image shard, written once (`index_shard`). A shard of pages then reads one column of
hashes from every index file, 8 bytes per URL, and the other columns only from the few files that have its images.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mmc4_pipeline import storage
from mmc4_pipeline.images.fetching.interface import FetchResult, ImageRequest
from mmc4_pipeline.images.from_img2dataset.shards import read_bodies, read_shard
from mmc4_pipeline.naming import stable_hash
from mmc4_pipeline.storage import Inputs
from schemas.arrow import from_table
from schemas.prefetched_image import PrefetchedImage
from schemas.reasons import Reason

_OPEN_FILES = 8  # opening a file on remote storage is slow


@dataclass(frozen=True)
class PrefetchedImages:
    """Image shards, given by the paths of their tars, and the folder of the index. Sizes are in bytes."""

    inputs: Inputs
    tars: tuple[str, ...]
    folder: str
    max_bytes: int

    def _index(self, number: int) -> str:
        return storage.join(self.folder, f"{number:06d}.parquet")

    def index_shard(self, number: int) -> int:
        """Write the index of an image shard unless it exists; raises UserError if the shard is incomplete."""
        if not storage.exists(self._index(number)):
            storage.write_records(self._index(number), read_shard(self.inputs, self.tars[number]), PrefetchedImage)
        return number

    def fetch(self, requests: Sequence[ImageRequest]) -> Iterator[FetchResult]:
        """Yield one result for each request: images in the order of the shards, then requests without an image."""
        found = self._find({request.url for request in requests})
        with_image = sorted(((tar, image) for tar, image in found.values() if image.reason is None), key=itemgetter(0))
        for number, group in groupby(with_image, key=itemgetter(0)):
            tar = self.tars[number]
            images = [image for _, image in group]
            for image in images:
                if (image.length or 0) > self.max_bytes:
                    error = f"more than {self.max_bytes} bytes"
                    yield FetchResult(image.url, tar, error=error, reason=Reason.TOO_LARGE)
            fitting = [image for image in images if (image.length or 0) <= self.max_bytes]
            for image, body in read_bodies(self.inputs, tar, fitting):
                yield to_result(image, tar, body)
        for request in requests:
            if request.url not in found:
                yield FetchResult(request.url, "", error="in none of the image shards", reason=Reason.NOT_FETCHED)
            elif found[request.url][1].reason is not None:
                number, image = found[request.url]
                yield to_result(image, self.tars[number], b"")

    def _find(self, urls: set[str]) -> dict[str, tuple[int, PrefetchedImage]]:
        """Return number of the shard and record by URL: the first one that has an image, else the first one."""
        if not urls:
            return {}
        wanted = np.sort(np.fromiter(map(stable_hash, urls), np.uint64, len(urls)))
        found: dict[str, tuple[int, PrefetchedImage]] = {}
        with ThreadPoolExecutor(_OPEN_FILES) as pool:
            matches = pool.map(lambda shard: self._matches(shard, wanted), range(len(self.tars)))
            for number, images in enumerate(matches):
                for image in images:
                    before = found.get(image.url)
                    if image.url in urls and (before is None or (before[1].reason and image.reason is None)):
                        found[image.url] = (number, image)
        return found

    def _matches(self, number: int, wanted: npt.NDArray[np.uint64]) -> list[PrefetchedImage]:
        """Return the records of an index file for these hashes, which are in ascending order."""
        with storage.open_read(self._index(number)) as stream:
            file = pq.ParquetFile(pa.PythonFile(stream, mode="r"))
            hashes = file.read(["url_hash"], use_threads=False)["url_hash"].to_numpy()
            mask = wanted[np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)] == hashes
            return list(from_table(file.read().filter(pa.array(mask)), PrefetchedImage)) if mask.any() else []


def to_result(image: PrefetchedImage, route: str, body: bytes) -> FetchResult:
    """Return the record and the bytes of a prefetched image as a result."""
    size = (image.width, image.height) if image.width and image.height else None
    return FetchResult(image.url, route, image.http_status, image.error, None, image.reason, body, size, image.sha256)
