"""The judge: a recipe's filters in order, each on what those before it left."""

from typing import ClassVar

import pytest

from filters.base import Filter
from filters.corpus_duplicates import CorpusDuplicates
from filters.document import DocumentRules
from filters.document_duplicates import DocumentDuplicates
from filters.resolution import Resolution
from filters.similarity import Similarity
from filters.url import Url
from mmc4_pipeline.apply_filters import Candidate, apply_filters
from schemas.image import Image
from schemas.page import ImageLink
from schemas.reasons import Reason, Stage
from schemas.score import ImageScore


def candidate(phash: int, side: int = 300, best: float = 0.5, reason: Reason | None = None) -> Candidate:
    image = Image("k", 0, "https://a.example/a.jpg", width=side, height=side, phash=phash, reason=reason)
    return Candidate(image, ImageLink(0, image.url, "", None, None), ImageScore(0, [best]))


def test_of_two_duplicates_the_one_that_passes_the_filters_before_stays() -> None:
    small, large = candidate(0, side=10), candidate(0, side=300)
    size_first = {"resolution": Resolution(150), "document_duplicates": DocumentDuplicates(5)}
    assert apply_filters([small, large], size_first, {}) == [Reason.TOO_SMALL, None]
    size_last = dict(reversed(size_first.items()))
    assert apply_filters([small, large], size_last, {}) == [Reason.TOO_SMALL, Reason.DOCUMENT_DUPLICATE]


def test_what_came_in_dropped_stays_dropped_and_counts_for_nobody() -> None:
    gone, same = candidate(0, reason=Reason.TIMEOUT), candidate(0)
    assert apply_filters([gone, same], {"document_duplicates": DocumentDuplicates(5)}, {}) == [Reason.TIMEOUT, None]


def test_the_first_reason_counts() -> None:
    both = candidate(0, side=10, best=0.0)
    filters: dict[str, Filter] = {"similarity": Similarity(0.15), "resolution": Resolution(150)}
    assert apply_filters([both], filters, {}) == [Reason.LOW_SIMILARITY]
    assert apply_filters([both], dict(reversed(filters.items())), {}) == [Reason.TOO_SMALL]


def test_each_kind_sees_its_part_and_lacks_it_harmlessly() -> None:
    filters: dict[str, Filter] = {
        "url": Url(("png",), ()),
        "similarity": Similarity(0.9),
        "document": DocumentRules(min_images=100),  # judged after the assignment
    }
    assert apply_filters([Candidate(candidate(0).image)], filters, {}) == [None]
    assert apply_filters([candidate(0)], filters, {}) == [Reason.URL_EXTENSION]


def test_a_corpus_filter_gets_what_was_learned_under_its_own_name() -> None:
    filters = {"one": CorpusDuplicates(sample=10, max_in_sample=1, max_distance=0)}
    images = [candidate(7), candidate(9)]
    assert apply_filters(images, filters, {"one": [7], "other": [9]}) == [Reason.CORPUS_DUPLICATE, None]
    assert apply_filters(images, filters, {}) == [None, None]


def test_a_filter_of_no_known_kind_is_an_error() -> None:
    class Strange(Filter):
        stage: ClassVar[Stage] = Stage.CUT

    with pytest.raises(TypeError, match="Strange is of no known kind"):
        apply_filters([candidate(0)], {"strange": Strange()}, {})


def test_a_document_without_images_has_no_verdicts() -> None:
    assert apply_filters([], {"document_duplicates": DocumentDuplicates(5)}, {}) == []
