"""Selects sample documents for the report: the first ones of the first shards, with small copies of their images."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from urllib.parse import urlsplit

import msgspec

from mmc4_pipeline import storage
from mmc4_pipeline.formats.base import Format
from mmc4_pipeline.report.figures.heat_map import HeatMap, heat_map
from mmc4_pipeline.report.thumbnails import Thumbnail, thumbnail
from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.tar import unreadable
from schemas.manifest import ShardNote
from schemas.mmc4_document import ImageInfo, Mmc4Document

WANTED = 12  # documents
_MAX_IMAGES = 6  # shown of one document, so that the page stays small
_MAX_SIDE = 320  # pixels of a shown image
_MAX_TEXT = 400  # characters of one sentence
_MAX_URL = 2000  # characters; longer ones are shortened and not linked
_MAX_READ = 500  # documents per shard, in search of those with several images
_AROUND = 1  # sentences shown before and after one with images


@dataclass(frozen=True, slots=True)
class ShownImage:
    """A small copy of an image with its number in the document, from 1; `link` is empty if its URL is not safe."""

    number: int
    link: str
    similarity: float
    thumbnail: Thumbnail


@dataclass(frozen=True, slots=True)
class ShownSentence:
    """A sentence with the images before it, or a gap of `left_out` sentences."""

    text: str
    number: int = 0
    images: Sequence[ShownImage] = ()
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """A document as the page shows it. `link` is empty if its URL is not safe."""

    url: str
    link: str
    host: str
    images: int
    images_left_out: int
    sentences: int
    text: list[ShownSentence]
    heat_map: HeatMap


@dataclass(frozen=True, slots=True)
class _Stored:
    """A document in MMC4's form, and how to read one of its images."""

    document: Mmc4Document[ImageInfo]
    read: Callable[[int], bytes | None]


def samples(
    folder: StageFolder, formats: Sequence[Format], notes: Iterable[ShardNote]
) -> tuple[list[Sample], tuple[float, float]]:
    """Return sample documents and the range of their similarities, which all heat maps share.

    They are read from the first of the dataset's formats that stores images next to documents in MMC4's form; if none
    does, no samples are returned.
    """
    item = next((item for item in formats if item.needs_images and item.has_mmc4_documents()), None)
    documents = _first_documents(folder, item, notes) if item else []
    values = [value for stored in documents for row in stored.document.similarity_matrix for value in row]
    scale = (min(values, default=0.0), max(values, default=0.0))
    return [_sample(stored, scale) for stored in documents], scale


def _first_documents(folder: StageFolder, item: Format, notes: Iterable[ShardNote]) -> list[_Stored]:
    """Read shards until there are enough documents; those with several images come first."""
    several: list[_Stored] = []
    single: list[_Stored] = []
    for stored in _read_shards(folder, item, notes, lambda: len(several) + len(single) >= WANTED):
        chosen = several if len(stored.document.image_info) > 1 else single
        if len(chosen) < WANTED:
            chosen.append(stored)
        if len(several) == WANTED:
            break
    return [*several, *single][:WANTED]


def _read_shards(
    folder: StageFolder, item: Format, notes: Iterable[ShardNote], enough: Callable[[], bool]
) -> Iterator[_Stored]:
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
                            yield _Stored(document, partial(item.jpeg, stored))
                except msgspec.ValidationError as error:
                    raise unreadable(path, error) from error


def _sample(stored: _Stored, scale: tuple[float, float]) -> Sample:
    document = stored.document
    infos, sentences = document.image_info, document.text_list
    in_order = sorted(enumerate(infos), key=lambda pair: pair[1].matched_text_index)
    at: dict[int, list[ShownImage]] = {}
    for number, info in in_order[:_MAX_IMAGES]:
        shown = _small_copy(stored, number)
        image = ShownImage(number + 1, safe_link(info.raw_url), info.matched_sim, shown)
        at.setdefault(info.matched_text_index, []).append(image)
    link = safe_link(document.url)
    return Sample(
        url=document.url[:_MAX_URL],
        link=link,
        host=(urlsplit(link).hostname or "") if link else "",
        images=len(infos),
        images_left_out=max(0, len(infos) - _MAX_IMAGES),
        sentences=len(sentences),
        text=list(_shortened(sentences, at)),
        heat_map=heat_map(
            document.similarity_matrix,
            [info.matched_text_index for info in infos],
            [info.matched_sim for info in infos],
            scale,
        ),
    )


def _small_copy(stored: _Stored, number: int) -> Thumbnail:
    try:
        return thumbnail(stored.read(number) or b"", _MAX_SIDE)
    except ValueError:  # it is not stored as it must be, which `mmc4 verify` reports
        return Thumbnail()


def _shortened(sentences: Sequence[str], images: dict[int, list[ShownImage]]) -> Iterator[ShownSentence]:
    """Yield the sentences near an image, and a gap wherever others are left out."""
    near = {at + step for at in images for step in range(-_AROUND, _AROUND + 1)}
    gap = 0
    for number, sentence in enumerate(sentences):
        if number not in near:
            gap += 1
            continue
        if gap:
            yield ShownSentence("", left_out=gap)
            gap = 0
        text = sentence if len(sentence) <= _MAX_TEXT else sentence[:_MAX_TEXT].rstrip() + " …"
        yield ShownSentence(text, number + 1, images.get(number, ()))
    if gap:
        yield ShownSentence("", left_out=gap)


def safe_link(url: str) -> str:
    """Return a URL if it may be the target of a link, else "": a page may contain any URL, `javascript:` too."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return url if parts.scheme in ("http", "https") and parts.hostname and len(url) <= _MAX_URL else ""
