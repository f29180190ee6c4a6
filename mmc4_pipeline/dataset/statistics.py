"""Counts a shard's statistics from the rows of its ledger, so that a report need not read the dataset.

The cut stage counts the rows that it writes, a takedown those that remain.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from mmc4_pipeline.assignment import sentence_after
from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.dataset.cut import ledger_rows
from mmc4_pipeline.naming import site_of
from schemas.columns import CLIP_COLUMNS, SIMILARITY, Column, LedgerColumn, Shape, best, ledger_columns, matched
from schemas.comparison import CHANGE_BINS, Comparison
from schemas.image import Image
from schemas.ledger import LedgerRow
from schemas.page import is_hashed
from schemas.reasons import Reason, Stage
from schemas.statistics import BYTES_BIN, SHARE_BINS, SIDE_BIN, Statistics, score_bin
from schemas.tables import MAX_URL, Duplicates, Sites

_DUPLICATE = (Reason.DOCUMENT_DUPLICATE, Reason.CORPUS_DUPLICATE)
Offsets = Mapping[tuple[str, int], int]  # of an image in its shard's tar, by document and position


@dataclass(frozen=True, slots=True)
class ImagelessDocument:
    """A kept document without images. Only a recipe with `min_images: 0` keeps it, and the ledger does not list it.

    `sentences` is their number, None if it is not known.
    """

    url: str
    sentences: int | None


def statistics_of_documents(
    documents: Sequence[CutDocument], shard: int, columns: tuple[Column, ...] = CLIP_COLUMNS
) -> Statistics:
    """Count the statistics of a shard that has just been cut. Those of its parts add up to the same."""
    imageless = (
        ImagelessDocument(document.page.url, len(document.page.sentences))
        for document in documents
        if document.reason is None and not document.placed
    )
    rows = (row for document in documents for row in ledger_rows(document, None, columns))
    images = (image for document in documents for image in document.images.values())
    return statistics_of_rows(rows, shard, imageless, offsets_of_duplicates(images), columns)


def statistics_of_rows(
    rows: Iterable[LedgerRow],
    shard: int,
    imageless: Iterable[ImagelessDocument],
    offsets: Offsets,
    columns: tuple[Column, ...],
) -> Statistics:
    """Count the statistics of a shard. The rows of a document must follow one another, as they do in the ledger.

    `offsets` places the examples of duplicates; those of images that it lacks have no place (offset and length 0).
    """
    numbers = [item for item in ledger_columns(columns) if item.column.shape is not Shape.TEXT]
    result = Statistics(scores={item.name: Counter() for item in numbers})
    for _, group in groupby(rows, key=lambda row: row.document):
        document = list(group)
        for row in document:
            if row.width is not None and row.height is not None:
                result.decoded_short_side[min(row.width, row.height) // SIDE_BIN] += 1
            _count_duplicate(row, shard, offsets, result)
            _count_published(row, result.published)
        for item in numbers:
            _count_scores(document, item, result.scores[item.name])
        kept = [row for row in document if row.reason is None]
        if kept:
            _count_kept(kept, result)
        if not is_hashed(document[0].page_url):  # a page that was taken down no longer belongs to a site
            _count_site(document, len(kept), result.sites)
    for text in imageless:
        result.sites.site(site_of(text.url)).documents += 1
        _count_sentences(text.sentences, 0, 0, result)
    result.sites.bound()
    result.duplicates.bound()
    return result


def offsets_of_duplicates(images: Iterable[Image]) -> Offsets:
    """Return the places of the images that were dropped as duplicates."""
    return {
        (image.key, image.position): image.offset
        for image in images
        if image.reason in _DUPLICATE and image.offset is not None
    }


def _count_scores(rows: Sequence[LedgerRow], item: LedgerColumn, counts: Counter[int]) -> None:
    """Count a document's scores in a column. A document's own score is counted once."""
    values = [value for row in rows if (value := getattr(row, item.name)) is not None]
    counts.update(
        score_bin(value, item.column) for value in (values[:1] if item.column.shape is Shape.DOCUMENT else values)
    )


def _count_kept(rows: Sequence[LedgerRow], result: Statistics) -> None:
    """Count a document by the rows of its kept images."""
    _count_sentences(rows[0].sentences, len(rows), len({row.sentence for row in rows}), result)
    for row in rows:
        _count_place(row, result)
        if row.width is not None and row.height is not None:
            result.short_side[min(row.width, row.height) // SIDE_BIN] += 1
        if row.stored_bytes is not None:
            result.stored_bytes[row.stored_bytes // BYTES_BIN] += 1


def _count_place(row: LedgerRow, result: Statistics) -> None:
    """Count how far an image's place is from its most similar sentence, if its place is known."""
    if row.after_sentence is None or row.best_sentence is None or row.page_similarity is None or not row.sentences:
        return
    result.place_distance[abs(sentence_after(row.after_sentence + 1, row.sentences) - row.best_sentence)] += 1
    result.placement.count(row.page_similarity, getattr(row, best(SIMILARITY)), getattr(row, matched(SIMILARITY)))


def _count_sentences(sentences: int | None, images: int, illustrated: int, result: Statistics) -> None:
    """Count a kept document, of whose sentences some are illustrated."""
    result.images[images] += 1
    if sentences:
        result.sentences[sentences] += 1
    share = illustrated * SHARE_BINS // sentences if sentences else 0
    result.share_illustrated[min(share, SHARE_BINS - 1)] += 1


def _count_site(rows: Sequence[LedgerRow], kept: int, sites: Sites) -> None:
    site = sites.site(site_of(rows[0].page_url))
    site.links += len(rows)
    site.wanted += sum(row.stage is not Stage.PAGES for row in rows)
    site.kept += kept
    site.documents += kept > 0
    site.dropped.update(str(row.reason) for row in rows if row.reason is not None)


def _count_published(row: LedgerRow, result: Comparison) -> None:
    """Count an image by what the publisher of its document had recorded."""
    before, now = row.published_similarity, row.remeasured_similarity
    if before is not None and now is not None and math.isfinite(now - before):
        result.changes[round((now - before) * CHANGE_BINS)] += 1
    if row.published_sentence is not None and row.sentence is not None:
        if row.sentence == row.published_sentence:
            result.same += 1
        else:
            result.other += 1


def _count_duplicate(row: LedgerRow, shard: int, offsets: Offsets, result: Statistics) -> None:
    if row.reason not in _DUPLICATE or row.stage is not Stage.IMAGES or row.phash is None or row.stored_bytes is None:
        return
    offset = offsets.get((row.document, row.position))
    place = (0, 0) if offset is None else (offset, row.stored_bytes)
    result.duplicates.add(Duplicates(row.reason, row.phash, 1, row.image_url[:MAX_URL], shard, *place))
