"""Counts a shard's histograms while it is cut, so that no report has to read the dataset again."""

import math
from collections.abc import Sequence

from mmc4_pipeline.dataset.cut import CutDocument
from schemas.statistics import SIDE_BIN, SIMILARITY_BINS, Statistics


def shard_statistics(documents: Sequence[CutDocument]) -> Statistics:
    """Count the histograms of a shard; those of parts of it add up to the same."""
    result = Statistics()
    for document in documents:
        result.best_similarity.update(
            _similarity_bin(max(score.similarity)) for score in document.scores.values() if score.similarity
        )
        if document.reason is not None:
            continue
        result.images[len(document.placed)] += 1
        result.sentences[len(document.page.sentences)] += 1
        for item in document.placed:
            result.matched_similarity[_similarity_bin(item.similarity)] += 1
            if item.image.width is not None and item.image.height is not None:
                result.short_side[min(item.image.width, item.image.height) // SIDE_BIN] += 1
    return result


def _similarity_bin(similarity: float) -> int:
    """Give the bin; 1.0 belongs to the last one. Written so that a NaN counts as -1 and never stops a run."""
    bounded = max(-1.0, similarity)
    return min(math.floor(bounded * SIMILARITY_BINS), SIMILARITY_BINS - 1)
