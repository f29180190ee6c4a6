"""Sample documents for the report: the first ones of the first shards, with small copies of their images."""

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from mmc4_pipeline import storage
from mmc4_pipeline.formats import openflamingo
from mmc4_pipeline.report.figures import HeatMap, heat_map
from mmc4_pipeline.report.thumbnails import Thumbnail, thumbnail
from mmc4_pipeline.stage_folder import StageFolder
from schemas.manifest import ShardNote

WANTED = 12  # documents
_MAX_IMAGES = 6  # shown of one document, so that the page stays small
_MAX_SIDE = 320  # pixels of a shown image
_MAX_TEXT = 400  # characters of one sentence
_MAX_URL = 2000  # characters; longer ones are cut and not followed
_MAX_READ = 500  # documents of a shard, in search of those with several images
_AROUND = 1  # sentences shown before and after one with images

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ShownImage:
    """A small copy of an image, and where the image came from; `link` is empty where its URL must not be followed."""

    number: int
    link: str
    similarity: float
    thumbnail: Thumbnail


@dataclass(frozen=True, slots=True)
class ShownSentence:
    """A sentence with the images that stand before it, or a gap of `left_out` sentences."""

    text: str
    number: int = 0
    images: Sequence[ShownImage] = ()
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """A document as the page shows it. `link` is empty where its URL must not be followed."""

    url: str
    link: str
    host: str
    images: int
    images_left_out: int
    sentences: int
    text: list[ShownSentence]
    heat_map: HeatMap


def samples(folder: StageFolder, notes: Iterable[ShardNote]) -> tuple[list[Sample], tuple[float, float]]:
    """Give sample documents and the range of their similarities, which all heat maps share."""
    documents = _first_documents(folder, notes)
    values = [value for document in documents for row in document["similarity_matrix"] for value in row]
    scale = (min(values, default=0.0), max(values, default=0.0))
    return [_sample(document, scale) for document in documents], scale


def _first_documents(folder: StageFolder, notes: Iterable[ShardNote]) -> list[Json]:
    """Read shards until there are enough documents; those of several images go first."""
    several: list[Json] = []
    single: list[Json] = []
    for document in _read_shards(folder, notes, lambda: len(several) + len(single) >= WANTED):
        chosen = several if len(document["image_info"]) > 1 else single
        if len(chosen) < WANTED:
            chosen.append(document)
        if len(several) == WANTED:
            break
    return [*several, *single][:WANTED]


def _read_shards(folder: StageFolder, notes: Iterable[ShardNote], enough: Callable[[], bool]) -> Iterator[Json]:
    """Yield documents shard by shard; no shard is opened that has none, or once there are enough."""
    for note in notes:
        if enough():
            return
        if note.counts["documents"].kept == 0:
            continue
        for file in note.files:
            if file.name.startswith("shard-"):  # OpenFlamingo's; those of other formats are in folders
                path = folder.file(file.name)
                with storage.open_read(path) as stream:
                    documents = islice(openflamingo.read_shard(stream, path), _MAX_READ)
                    yield from (document for _, document in documents)


def _sample(document: Json, scale: tuple[float, float]) -> Sample:
    infos, sentences = document["image_info"], document["text_list"]
    in_order = sorted(infos, key=lambda info: info["matched_text_index"])
    shown = [_shown_image(number, info) for number, info in _numbered(infos, in_order[:_MAX_IMAGES])]
    at: dict[int, list[ShownImage]] = {}
    for info, image in zip(in_order, shown, strict=False):
        at.setdefault(info["matched_text_index"], []).append(image)
    link = safe_link(document["url"])
    return Sample(
        url=document["url"][:_MAX_URL],
        link=link,
        host=(urlsplit(link).hostname or "") if link else "",
        images=len(infos),
        images_left_out=len(infos) - len(shown),
        sentences=len(sentences),
        text=list(_shortened(sentences, at)),
        heat_map=heat_map(
            document["similarity_matrix"],
            [info["matched_text_index"] for info in infos],
            [info["matched_sim"] for info in infos],
            scale,
        ),
    )


def _numbered(infos: list[Json], chosen: list[Json]) -> Iterator[tuple[int, Json]]:
    """Give each chosen image the number of its row in the matrix, from 1."""
    for info in chosen:
        yield next(number for number, item in enumerate(infos, start=1) if item is info), info


def _shortened(sentences: Sequence[str], images: dict[int, list[ShownImage]]) -> Iterator[ShownSentence]:
    """Yield the sentences near an image, and a gap wherever others were left out."""
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


def _shown_image(number: int, info: Json) -> ShownImage:
    small = thumbnail(base64.b64decode(info["image_base64"]), _MAX_SIDE)
    return ShownImage(number, safe_link(info["raw_url"]), info["matched_sim"], small)


def safe_link(url: str) -> str:
    """Give a URL that may be put behind a link, or nothing: a page may claim any URL, `javascript:` too."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return url if parts.scheme in ("http", "https") and parts.hostname and len(url) <= _MAX_URL else ""
