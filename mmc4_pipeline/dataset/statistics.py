"""Counts a shard's statistics while it is cut, so that no report has to read the dataset again."""

import math
from collections.abc import Iterable, Iterator, Sequence

from mmc4_pipeline.dataset.cut import CutDocument
from schemas.image import Image
from schemas.reasons import Reason, Stage
from schemas.statistics import BYTES_BIN, SHARE_BINS, SIDE_BIN, SIMILARITY_BINS, Statistics
from schemas.tables import MAX_URL, DuplicateGroups, Duplicates, Sites

DUPLICATE = (Reason.DOCUMENT_DUPLICATE, Reason.CORPUS_DUPLICATE)


def shard_statistics(documents: Sequence[CutDocument], shard: int) -> Statistics:
    """Count the statistics of a shard; those of parts of it add up to the same."""
    result = Statistics()
    for document in documents:
        _count_measured(document, result)
        if document.page.sentences:  # else it was taken down, and belongs to no site any more
            _count_site(document, result.sites)
        count_duplicates(_dropped_images(document), shard, result.duplicates)
        if document.reason is None:
            _count_kept(document, result)
    result.sites.bound()
    result.duplicates.bound()
    return result


def _count_measured(document: CutDocument, result: Statistics) -> None:
    """Count what was measured on a document's images, kept or not."""
    for image in document.images.values():
        if image.width is not None and image.height is not None:
            result.decoded_short_side[min(image.width, image.height) // SIDE_BIN] += 1
    for score in document.scores.values():
        if score.similarity:
            result.best_similarity[bin_of(max(score.similarity), SIMILARITY_BINS)] += 1
        if score.nsfw is not None:
            result.nsfw[bin_of(score.nsfw, SIMILARITY_BINS)] += 1
        if score.face is not None:
            result.face[bin_of(score.face, SIMILARITY_BINS)] += 1


def _count_kept(document: CutDocument, result: Statistics) -> None:
    sentences = len(document.page.sentences)
    result.images[len(document.placed)] += 1
    result.sentences[sentences] += 1
    illustrated = len({item.sentence for item in document.placed})
    result.share_illustrated[min(illustrated * SHARE_BINS // sentences, SHARE_BINS - 1)] += 1
    for item in document.placed:
        result.matched_similarity[bin_of(item.similarity, SIMILARITY_BINS)] += 1
        if item.image.width is not None and item.image.height is not None:
            result.short_side[min(item.image.width, item.image.height) // SIDE_BIN] += 1
        if item.image.length is not None:
            result.stored_bytes[item.image.length // BYTES_BIN] += 1


def _count_site(document: CutDocument, sites: Sites) -> None:
    site = sites.site(document.page.site)
    site.links += len(document.page.links)
    site.wanted += sum(link.reason is None for link in document.page.links)
    site.kept += len(document.placed)
    site.documents += document.reason is None
    site.dropped.update(str(drop.reason) for _, drop in document.dropped.values())


def _dropped_images(document: CutDocument) -> Iterator[tuple[Image, str]]:
    for position, (stage, drop) in document.dropped.items():
        if stage is Stage.IMAGES and position in document.images:
            yield document.images[position], drop.reason


def count_duplicates(dropped: Iterable[tuple[Image, str]], shard: int, groups: DuplicateGroups) -> None:
    """Count those of the images, which the images stage dropped for these reasons, that are duplicates."""
    for image, reason in dropped:
        group = _duplicates(image, reason, shard) if reason in DUPLICATE else None
        if group is not None:
            groups.add(group)


def _duplicates(image: Image, reason: str, shard: int) -> Duplicates | None:
    if image.phash is None or image.offset is None or image.length is None:
        return None
    return Duplicates(reason, image.phash, 1, image.url[:MAX_URL], shard, image.offset, image.length)


def bin_of(value: float, bins: int) -> int:
    """Give the bin of a value up to 1.0, which belongs to the last one. A NaN counts as -1 and never stops a run."""
    bounded = max(-1.0, value)
    return min(math.floor(bounded * bins), bins - 1)
