"""Applying a recipe's filters in order, each to what the filters before it kept."""

from typing import ClassVar

import pytest

from filters.bad_words import BadWords
from filters.base import Filter
from filters.corpus_duplicates import CorpusDuplicates
from filters.deny_list import DenyList
from filters.document import DocumentRules
from filters.document_duplicates import DocumentDuplicates
from filters.resolution import Resolution
from filters.similarity import Similarity
from filters.url import Url
from mmc4_pipeline.apply_filters import Candidate, apply_filters, apply_link_filters
from schemas.image import Image
from schemas.page import ImageLink
from schemas.reasons import Drop, Reason, Stage
from schemas.score import ImageScore


def candidate(phash: int, side: int = 300, best: float = 0.5, reason: Reason | None = None) -> Candidate:
    image = Image("k", 0, "https://a.example/a.jpg", width=side, height=side, phash=phash, reason=reason)
    return Candidate(image, ImageLink(0, image.url, "", None, None), ImageScore(0, {"similarity": [best]}))


def test_the_duplicate_that_passes_the_earlier_filters_is_kept() -> None:
    small, large = candidate(0, side=10), candidate(0, side=300)
    size_first = {"resolution": Resolution(150), "document_duplicates": DocumentDuplicates(5)}
    assert apply_filters([small, large], size_first, {}) == [Drop(Reason.TOO_SMALL, "resolution"), None]
    size_last = dict(reversed(size_first.items()))
    duplicate = Drop(Reason.DOCUMENT_DUPLICATE, "document_duplicates")
    assert apply_filters([small, large], size_last, {}) == [Drop(Reason.TOO_SMALL, "resolution"), duplicate]


def test_an_image_dropped_earlier_stays_dropped_and_is_no_filter_s_duplicate() -> None:
    gone, same = candidate(0, reason=Reason.TIMEOUT), candidate(0)
    duplicates = {"document_duplicates": DocumentDuplicates(5)}
    assert apply_filters([gone, same], duplicates, {}) == [Drop(Reason.TIMEOUT), None]


def test_a_group_filter_skips_a_candidate_without_an_image() -> None:
    link = ImageLink(0, "https://a.example/a.jpg", "", None, None)
    filters = {"document_duplicates": DocumentDuplicates(5)}
    duplicate = Drop(Reason.DOCUMENT_DUPLICATE, "document_duplicates")
    assert apply_filters([candidate(0), Candidate(link=link), candidate(0)], filters, {}) == [None, None, duplicate]


def test_links_are_returned_with_the_filter_that_dropped_them() -> None:
    urls = ("https://a.example/logo.gif", "https://a.example/a.gif", "https://a.example/a.png")
    links = [ImageLink(position, url, "", None, None) for position, url in enumerate(urls)]
    filters = {"words": Url(("gif", "png"), ("logo",)), "types": Url(("png",))}
    assert [(link.position, link.reason, link.filter) for link in apply_link_filters(links, filters, "")] == [
        (0, Reason.URL_TOKEN, "words"),
        (1, Reason.URL_EXTENSION, "types"),
        (2, None, None),
    ]
    assert apply_link_filters(links, {}, "") == links


def test_the_first_reason_counts() -> None:
    both = candidate(0, side=10, best=0.0)
    filters: dict[str, Filter] = {"similarity": Similarity(0.15), "resolution": Resolution(150)}
    assert apply_filters([both], filters, {}) == [Drop(Reason.LOW_SIMILARITY, "similarity")]
    assert apply_filters([both], dict(reversed(filters.items())), {}) == [Drop(Reason.TOO_SMALL, "resolution")]


def test_a_filter_skips_a_candidate_that_lacks_what_it_needs() -> None:
    filters: dict[str, Filter] = {
        "url": Url(("png",), ()),
        "similarity": Similarity(0.9),
        "document": DocumentRules(min_images=100),  # decides after the assignment
    }
    assert apply_filters([Candidate(candidate(0).image)], filters, {}) == [None]
    assert apply_filters([candidate(0)], filters, {}) == [Drop(Reason.URL_EXTENSION, "url")]


def test_a_corpus_filter_gets_what_was_learned_under_its_own_name() -> None:
    filters = {"one": CorpusDuplicates(sample=10, max_in_sample=1, max_distance=0)}
    images = [candidate(7), candidate(9)]
    assert apply_filters(images, filters, {"one": [7], "other": [9]}) == [Drop(Reason.CORPUS_DUPLICATE, "one"), None]
    assert apply_filters(images, filters, {}) == [None, None]


def test_a_filter_of_an_unknown_kind_is_an_error() -> None:
    class Strange(Filter):
        stage: ClassVar[Stage] = Stage.CUT

    with pytest.raises(TypeError, match="Strange"):
        apply_filters([candidate(0)], {"strange": Strange()}, {})


def test_a_filter_that_is_not_loaded_is_an_error() -> None:
    with pytest.raises(TypeError, match="DenyList"):
        apply_filters([candidate(0)], {"deny_list": DenyList("deny.txt")}, {})
    assert apply_filters([candidate(0)], {"bad_words": BadWords("words.txt")}, {}) == [
        None
    ]  # it has decided in the pages stage


def test_a_document_without_images_has_no_drops() -> None:
    assert apply_filters([], {"document_duplicates": DocumentDuplicates(5)}, {}) == []
