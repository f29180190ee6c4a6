"""Images that img2dataset has already fetched: found by URL in an index of its shards, read from where they lie.

The index has a file for each image shard, made once (`index_shard`). A shard of pages then reads of all index files
one column of hashes, 8 bytes a URL, and of those few that have something for it the rest.
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
from mmc4_pipeline.images.fetching.fetch import Answer, Request
from mmc4_pipeline.images.img2dataset_shards import read_bodies, read_shard
from mmc4_pipeline.naming import stable_hash
from mmc4_pipeline.storage import Inputs
from schemas.arrow import from_table
from schemas.prefetched_image import PrefetchedImage
from schemas.reasons import Reason

_FILES_AT_ONCE = 8  # on remote storage each look at a file takes a while


@dataclass(frozen=True)
class PrefetchedImages:
    """Image shards by the paths of their tars, and the folder of the index. Sizes in bytes."""

    inputs: Inputs
    tars: tuple[str, ...]
    folder: str
    max_bytes: int

    def _index(self, number: int) -> str:
        return storage.join(self.folder, f"{number:06d}.parquet")

    def index_shard(self, number: int) -> int:
        """Write the index of an image shard unless that is done; raises UserError where the shard is not whole."""
        if not storage.exists(self._index(number)):
            storage.write_records(self._index(number), read_shard(self.inputs, self.tars[number]), PrefetchedImage)
        return number

    def answers(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """Yield an answer for each request: images in the order of the shards, then what has none."""
        found = self._find({request.url for request in requests})
        with_image = sorted(((tar, image) for tar, image in found.values() if image.reason is None), key=itemgetter(0))
        for number, group in groupby(with_image, key=itemgetter(0)):
            tar = self.tars[number]
            images = [image for _, image in group]
            for image in images:
                if (image.length or 0) > self.max_bytes:
                    error = f"more than {self.max_bytes} bytes"
                    yield Answer(image.url, tar, error=error, reason=Reason.TOO_LARGE)
            fitting = [image for image in images if (image.length or 0) <= self.max_bytes]
            for image, body in read_bodies(self.inputs, tar, fitting):
                yield ready_answer(image, tar, body)
        for request in requests:
            if request.url not in found:
                yield Answer(request.url, "", error="in none of the image shards", reason=Reason.NOT_FETCHED)
            elif found[request.url][1].reason is not None:
                number, image = found[request.url]
                yield ready_answer(image, self.tars[number], b"")

    def _find(self, urls: set[str]) -> dict[str, tuple[int, PrefetchedImage]]:
        """Give image and number of the shard by URL: of several the first with an image, else the first."""
        if not urls:
            return {}
        wanted = np.sort(np.fromiter(map(stable_hash, urls), np.uint64, len(urls)))
        found: dict[str, tuple[int, PrefetchedImage]] = {}
        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            for number, images in enumerate(pool.map(lambda one: self._matches(one, wanted), range(len(self.tars)))):
                for image in images:
                    before = found.get(image.url)
                    if image.url in urls and (before is None or (before[1].reason and image.reason is None)):
                        found[image.url] = (number, image)
        return found

    def _matches(self, number: int, wanted: npt.NDArray[np.uint64]) -> list[PrefetchedImage]:
        """Give what an index file has for the hashes, which are ascending."""
        with storage.open_read(self._index(number)) as stream:
            file = pq.ParquetFile(pa.PythonFile(stream, mode="r"))
            hashes = file.read(["url_hash"], use_threads=False)["url_hash"].to_numpy()
            mask = wanted[np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)] == hashes
            return list(from_table(file.read().filter(pa.array(mask)), PrefetchedImage)) if mask.any() else []


def ready_answer(image: PrefetchedImage, route: str, body: bytes) -> Answer:
    """Give what a row of an image shard and its bytes say, as an answer."""
    size = (image.width, image.height) if image.width and image.height else None
    return Answer(image.url, route, image.http_status, image.error, None, image.reason, body, size, image.sha256)
