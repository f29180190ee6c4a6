"""Stores the results of images whose shards are not written yet, so that a lost worker loses only some minutes.

    partial/00003/part-5e1c….parquet        some results of shard 3: rows, and the JPEGs to store
    partial/00003/deferred-07aa….parquet    rows of images for which the backlog had too little time

Each worker gives its parts names of their own. If one that was believed lost still works on a shard, the parts of both
count, and each URL's result is taken from the first of them. A part has its name only when it is complete. The parts of
a shard are removed when it has its note.
"""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from mmc4_pipeline import storage
from mmc4_pipeline.storage.spool import Spool
from schemas.image import Image

PARTIAL = "partial"  # the folder of the parts of all shards
SAVE_SECONDS = 120.0  # after which results are stored in parts
SAVE_BYTES = 64 << 20  # of JPEGs, with which they are stored earlier
PART_BYTES = 32 << 20  # of JPEGs in a part, which is in memory as a whole


@dataclass(frozen=True, slots=True)
class ImageResult:
    """The row of an image, without key and position, and its JPEG if it is worth keeping."""

    url: str
    image: Image
    jpeg: bytes | None


def stored_urls(folder: str) -> set[str]:
    """Return the URLs whose results are in a shard's folder of parts, which need not exist."""
    return {url for part in _parts(folder) for url in storage.distinct(part, "url")}


def stored_results(folder: str) -> Iterator[ImageResult]:
    """Yield the results in a shard's folder of parts. A URL may have several, which are equally valid.

    Raises PermanentReadError if another worker removes the parts meanwhile.
    """
    for part in _parts(folder):
        yield from storage.read_records(part, ImageResult)


def deferred_rows(folder: str) -> dict[str, Image]:
    """Return the rows of the images that the backlog had to leave over, by URL."""
    files = storage.matches_below(folder, "deferred-*.parquet")
    return {image.url: image for file in files for image in storage.read_records(file, Image)}


def write_deferred(folder: str, rows: list[Image]) -> None:
    """Store the rows of images that the backlog leaves over."""
    storage.write_records(storage.join(folder, f"deferred-{uuid.uuid4().hex}.parquet"), rows, Image)


def _parts(folder: str) -> list[str]:
    return storage.matches_below(folder, "part-*.parquet")


class Batch:
    """Results that are in no part: rows in memory, by folder of parts and URL; JPEGs in a temporary file."""

    def __init__(self) -> None:
        """Begin without results; `close` removes the temporary file."""
        self.rows: dict[str, dict[str, Image]] = defaultdict(dict)
        self.bytes = 0
        self._spool = Spool()

    def add(self, folder: str, image: Image, jpeg: bytes | None) -> None:
        """Add the result of a URL, unless there is one already."""
        if image.url in self.rows[folder]:
            return
        self.rows[folder][image.url] = image
        if jpeg is not None:
            self._spool.put((folder, image.url), jpeg)
            self.bytes += len(jpeg)

    def jpeg(self, folder: str, url: str) -> bytes | None:
        """Return the JPEG of a result; None if it has none."""
        return self._spool.get((folder, url))

    def save(self) -> None:
        """Write the results to parts, and close."""
        for folder, rows in self.rows.items():
            part: list[ImageResult] = []
            size = 0
            for url, image in rows.items():
                part.append(ImageResult(url, image, jpeg := self.jpeg(folder, url)))
                size += len(jpeg or b"")
                if size >= PART_BYTES:
                    _write_part(folder, part)
                    part, size = [], 0
            if part:
                _write_part(folder, part)
        self.close()

    def close(self) -> None:
        """Remove the temporary file."""
        self._spool.close()


def _write_part(folder: str, results: list[ImageResult]) -> None:
    storage.write_records(storage.join(folder, f"part-{uuid.uuid4().hex}.parquet"), results, ImageResult)


class Latest:
    """The results since parts were written last. All of its methods belong to the thread of the event loop."""

    def __init__(self) -> None:
        """Begin without results."""
        self.batch = Batch()
        self._changed = asyncio.Event()
        self._over = False

    def add(self, folder: str, image: Image, jpeg: bytes | None) -> None:
        """Add a result."""
        self.batch.add(folder, image, jpeg)
        if self.batch.bytes >= SAVE_BYTES:
            self._changed.set()

    @asynccontextmanager
    async def saving(self, threads: Executor) -> AsyncIterator[None]:
        """Write parts from time to time while the body runs. An error in doing so ends the body."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._save_regularly(threads))
            try:
                yield
            finally:
                self._over = True
                self._changed.set()

    async def _save_regularly(self, threads: Executor) -> None:
        while not self._over:
            with suppress(TimeoutError):
                async with asyncio.timeout(SAVE_SECONDS):
                    await self._changed.wait()
            self._changed.clear()
            if not self._over:
                await self.save(threads)

    def close(self) -> None:
        """Remove the temporary file of the results that are in no part."""
        self.batch.close()

    async def save(self, threads: Executor) -> None:
        """Write all results to parts."""
        if not self.batch.rows:
            return
        batch, self.batch = self.batch, Batch()
        await asyncio.get_running_loop().run_in_executor(threads, batch.save)
