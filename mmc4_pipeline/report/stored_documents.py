"""Reads the first documents of a dataset, which the report shows as samples."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import msgspec

from mmc4_pipeline import storage
from mmc4_pipeline.formats.base import Format
from mmc4_pipeline.report.thumbnails import Thumbnail, thumbnail
from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.tar import unreadable
from schemas.manifest import ShardNote
from schemas.mmc4_document import ImageInfo, Mmc4Document

WANTED = 12  # documents
_MAX_READ = 500  # documents per shard, in search of those with several images


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document in MMC4's form, its key (None if the format has none), and how to read one of its images."""

    document: Mmc4Document[ImageInfo]
    key: str | None
    read: Callable[[int], bytes | None]

    def small_copy(self, number: int, max_side: int) -> Thumbnail:
        """Return a small copy of an image, an empty one if it can't be decoded."""
        try:
            return thumbnail(self.read(number) or b"", max_side)
        except ValueError:  # it is not stored as it must be, which `mmc4 verify` reports
            return Thumbnail()


def first_documents(folder: StageFolder, formats: Sequence[Format], notes: Iterable[ShardNote]) -> list[StoredDocument]:
    """Read shards until there are enough documents; those with several images come first.

    They are read from the first of the dataset's formats that stores images next to documents in MMC4's form; if none
    does, none are returned.
    """
    item = next((item for item in formats if item.needs_images and item.has_mmc4_documents()), None)
    several: list[StoredDocument] = []
    single: list[StoredDocument] = []
    if item is None:
        return []
    for stored in _read_shards(folder, item, notes, lambda: len(several) + len(single) >= WANTED):
        chosen = several if len(stored.document.image_info) > 1 else single
        if len(chosen) < WANTED:
            chosen.append(stored)
        if len(several) == WANTED:
            break
    return [*several, *single][:WANTED]


def _read_shards(
    folder: StageFolder, item: Format, notes: Iterable[ShardNote], enough: Callable[[], bool]
) -> Iterator[StoredDocument]:
    """Yield documents shard by shard; shards without documents are not opened, and none once there are enough."""
    for note in notes:
        if enough():
            return
        if note.counts["documents"].kept == 0:
            continue
        for path in (folder.file(file.name) for file in note.files if item.number_of(file.name) is not None):
            with storage.open_read(path) as stream:
                try:
                    for stored in islice(item.read_shard(stream, path), _MAX_READ):
                        if (document := item.mmc4_document(stored)) is not None:
                            yield StoredDocument(document, item.view(stored).key, partial(item.jpeg, stored))
                except msgspec.ValidationError as error:
                    raise unreadable(path, error) from error
