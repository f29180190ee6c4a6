"""Prepares sample documents for the report, with small copies of their images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mmc4_pipeline.report.figures.heat_map import HeatMap, heat_map
from mmc4_pipeline.report.stored_documents import StoredDocument
from mmc4_pipeline.report.thumbnails import Thumbnail
from mmc4_pipeline.report.web_text import MAX_URL, host_of, safe_link, shortened
from schemas.mmc4_document import ImageInfo

_MAX_IMAGES = 6  # shown of one document, so that the page stays small
_MAX_SIDE = 320  # pixels of a shown image
_MAX_TEXT = 400  # characters of one sentence
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
    """A sentence with the images before it, or a gap of `left_out` sentences.

    The last one may have no text: its images stand after the last sentence, whose number it has.
    """

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


def samples(documents: Sequence[StoredDocument]) -> tuple[list[Sample], tuple[float, float]]:
    """Return sample documents and the range of their similarities, which all heat maps share."""
    values = [value for stored in documents for row in stored.document.similarity_matrix for value in row]
    scale = (min(values, default=0.0), max(values, default=0.0))
    return [_sample(stored, scale) for stored in documents], scale


def _sample(stored: StoredDocument, scale: tuple[float, float]) -> Sample:
    document = stored.document
    infos, sentences = document.image_info, document.text_list
    in_order = sorted(enumerate(infos), key=lambda pair: _before(pair[1]))
    at: dict[int, list[ShownImage]] = {}
    for number, info in in_order[:_MAX_IMAGES]:
        shown = stored.small_copy(number, _MAX_SIDE)
        image = ShownImage(number + 1, safe_link(info.raw_url), info.matched_sim, shown)
        at.setdefault(_before(info), []).append(image)
    return Sample(
        url=document.url[:MAX_URL],
        link=safe_link(document.url),
        host=host_of(document.url),
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


def _before(info: ImageInfo) -> int:
    """Return how many sentences stand before an image."""
    return info.matched_text_index + (info.follows_sentence is True)


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
        yield ShownSentence(shortened(sentence, _MAX_TEXT), number + 1, images.get(number, ()))
    if gap:
        yield ShownSentence("", left_out=gap)
    if last := images.get(len(sentences)):
        yield ShownSentence("", len(sentences), last)
