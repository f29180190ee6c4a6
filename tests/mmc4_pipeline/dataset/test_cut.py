"""The cut: every link is accounted for, images are assigned by the rules, and mmc4-core is a subset of mmc4."""

from collections import Counter
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.dataset.cut import cut_shard, ledger_rows
from mmc4_pipeline.dataset.statistics import statistics_of_documents
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.images.process_shard import decide_shard
from mmc4_pipeline.recipe import load_recipe
from schemas.image import Image
from schemas.page import ImageLink, Page
from schemas.reasons import Drop, Reason, Stage
from schemas.score import DocumentScores, ImageScore
from tests.pages import new_page

MMC4, CORE = load_recipe("mmc4"), load_recipe("mmc4-core")
Data = tuple[list[Page], list[Image], list[DocumentScores]]


def one_document(similarity: list[list[float]], sentences: int = 2, **nsfw: float) -> Data:
    """Return a document with one image per row of `similarity`; `nsfw` is by position: p0=0.9."""
    links = [ImageLink(at, f"https://a.example/{at}.jpg", "", None, None) for at in range(len(similarity))]
    texts = [f"Sentence {number}." for number in range(sentences)]
    page = new_page("k", texts, links, url="https://a.example/")
    images = [
        Image("k", at, link.url, sha256=str(at), width=300, height=300, phash=(0xFFF << (12 * at)) & (2**64 - 1))
        for at, link in enumerate(links)
    ]
    scores = [ImageScore(at, {"similarity": row, "nsfw": nsfw.get(f"p{at}", 0.0)}) for at, row in enumerate(similarity)]
    return [page], images, [DocumentScores("k", scores)]


def cut(data: Data, recipe: object = MMC4) -> list[CutDocument]:
    return list(cut_shard(*data, recipe))  # type: ignore[arg-type]


def test_images_are_assigned_so_that_the_sum_of_similarities_is_largest() -> None:
    (document,) = cut(one_document([[0.9, 0.8], [0.7, 0.2], [0.3, 0.4]]))
    placed = {item.image.position: (item.sentence, round(item.similarity, 3)) for item in document.placed}
    assert placed == {0: (1, 0.8), 1: (0, 0.7), 2: (1, 0.4)}  # 0.8 + 0.7 beats 0.9 + 0.4; the third shares a sentence
    assert (document.reason, document.dropped) == (None, {})


def test_the_paper_s_other_assignment_lets_images_share_a_sentence() -> None:
    (document,) = cut(one_document([[0.9, 0.8], [0.7, 0.2], [0.3, 0.4]]), load_recipe("mmc4", ("assignment=max",)))
    assert [(item.image.position, item.sentence) for item in document.placed] == [(0, 0), (1, 0), (2, 1)]


@pytest.mark.parametrize("row", [[0.5], [0.5, 0.5, 0.5], [], [0.5, float("nan")], [float("inf"), 0.5]])
def test_scores_that_are_not_a_row_of_the_matrix_are_an_error_that_names_the_image(row: list[float]) -> None:
    with pytest.raises(UserError, match=r"https://a\.example/1\.jpg on https://a\.example/: .* 2 "):
        cut(one_document([[0.5, 0.1], row]))


def test_each_drop_has_its_stage_and_reason() -> None:
    (page,), images, (scores,) = one_document([[0.5, 0.1]] * 5, p3=0.2)
    links = [ImageLink(5, "https://a.example/logo.jpg", "", None, None, reason=Reason.URL_TOKEN, filter="url")]
    page = replace(page, could_have_url_duplicate=True, links=page.links + links)
    images[0] = replace(images[0], offset=512, length=700)
    images[1] = Image("k", 1, images[1].url, http_status=404, reason=Reason.HTTP_ERROR)
    marked = [item for item in scores.images if item.position != 1]
    marked[0] = replace(marked[0], values={**marked[0].values, "ad": 0.25})
    marked[1] = ImageScore(2, {}, reason=Reason.CORRUPT)
    marked[3] = ImageScore(4, {"similarity": [0.1, 0.14], "nsfw": 0.0})
    (document,) = cut(([page], images, [DocumentScores("k", marked)]))
    assert document.dropped == {
        5: (Stage.PAGES, Drop(Reason.URL_TOKEN, "url")),
        1: (Stage.IMAGES, Drop(Reason.HTTP_ERROR)),
        2: (Stage.SCORE, Drop(Reason.CORRUPT)),
        3: (Stage.CUT, Drop(Reason.NSFW, "nsfw")),
        4: (Stage.CUT, Drop(Reason.LOW_SIMILARITY, "similarity")),
    }
    assert [item.image.position for item in document.placed] == [0]
    assert Counter(document.cut_reasons()) == {None: 1, Reason.NSFW: 1, Reason.LOW_SIMILARITY: 1}
    rows = list(ledger_rows(document, "shard-0.tar"))
    assert [row.position for row in rows] == [0, 1, 2, 3, 4, 5]
    assert [(row.shard, row.key) for row in rows] == [("shard-0.tar", "k")] + [(None, None)] * 5
    assert [row.filter for row in rows] == [None, None, None, "nsfw", "similarity", "url"]
    assert (rows[0].sentence, rows[0].matched_similarity, rows[0].best_similarity) == (0, 0.5, 0.5)
    assert (rows[1].http_status, rows[1].stage, rows[1].reason) == (404, Stage.IMAGES, Reason.HTTP_ERROR)
    assert (rows[2].best_similarity, rows[4].best_similarity, rows[3].nsfw) == (None, 0.14, 0.2)
    assert (rows[5].image_url, rows[5].width) == ("https://a.example/logo.jpg", None)
    assert [row.sentences for row in rows] == [2] * 6
    assert [row.stored_bytes for row in rows] == [700, None, None, None, None, None]
    assert [row.ad for row in rows] == [0.25, None, None, None, None, None]


def test_a_document_that_breaks_a_rule_takes_its_images_with_it() -> None:
    (document,) = cut(one_document([[0.5, 0.1]]), CORE)
    assert (document.reason, document.placed) == (Reason.DOCUMENT, [])
    assert document.dropped == {0: (Stage.CUT, Drop(Reason.DOCUMENT, "document"))}


def test_a_document_without_scored_images_is_dropped_too() -> None:
    pages, _, _ = one_document([])
    (document,) = cut((pages, [], []))
    assert (document.reason, document.placed, document.dropped) == (Reason.DOCUMENT, [], {})
    assert list(ledger_rows(document, "s")) == []


def test_an_image_that_was_kept_but_not_scored_is_an_error_that_names_it() -> None:
    pages, images, (scores,) = one_document([[0.5, 0.1]] * 2)
    with pytest.raises(UserError, match=r"https://a\.example/1\.jpg on https://a\.example/: .*mmc4 score"):
        cut((pages, images, [DocumentScores("k", scores.images[:1])]))
    with pytest.raises(UserError, match="mmc4 score"):
        cut((pages, images, []))
    with pytest.raises(UserError, match="mmc4 score"):
        cut((pages, images[:1], [scores]))


@st.composite
def scored_shards(draw: st.DrawFn) -> Data:
    """Make a shard as the earlier stages write it: duplicates are dropped, every kept image is scored."""
    pages, images, scores = [], [], []
    for number in range(draw(st.integers(1, 4))):
        key, sentences = f"k{number}", draw(st.integers(1, 7))
        reasons = draw(st.lists(st.sampled_from([None, None, None, Reason.URL_TOKEN]), max_size=8))
        links = [
            ImageLink(at, f"https://a.example/{at}", "", None, None, reason=reason) for at, reason in enumerate(reasons)
        ]
        pages.append(new_page(key, ["S."] * sentences, links))
        for link in links:
            if link.reason is None:
                phash = (1 << draw(st.integers(0, 30))) - 1  # often near one another
                failed = draw(st.sampled_from([None, None, None, Reason.TIMEOUT]))
                images.append(Image(key, link.position, link.url, width=300, height=300, phash=phash, reason=failed))
    images = decide_shard(images, MMC4, {})
    similarities = st.sampled_from([0.1, 0.14, 0.16, 0.24, 0.26, 0.3, 0.5])
    for page in pages:
        rows = []
        for image in images:
            if image.key == page.key and image.reason is None:
                row = [draw(similarities) for _ in page.sentences]
                nsfw = draw(st.sampled_from([0.0, 0.0, 0.05, 0.5]))
                corrupt = draw(st.integers(0, 9)) == 0
                score = (
                    ImageScore(image.position, {}, reason=Reason.CORRUPT)
                    if corrupt
                    else ImageScore(image.position, {"similarity": row, "nsfw": nsfw})
                )
                rows.append(score)
        if rows:
            scores.append(DocumentScores(page.key, rows))
    return pages, images, scores


@given(scored_shards())
@settings(max_examples=60)
def test_every_link_is_in_the_ledger_once_either_kept_or_dropped(data: Data) -> None:
    for recipe in (MMC4, CORE):
        documents = cut(data, recipe)
        assert [document.page for document in documents] == data[0]
        for document in documents:
            rows = list(ledger_rows(document, "s"))
            assert [row.position for row in rows] == [link.position for link in document.page.links]
            kept = {row.position for row in rows if row.shard is not None}
            assert kept == {item.image.position for item in document.placed}
            assert all((row.shard is None) == (row.reason is not None) == (row.stage is not None) for row in rows)
            assert (document.reason is None) == bool(kept)
            scored = [score for item in data[2] if item.key == document.page.key for score in item.images]
            reasons = list(document.cut_reasons())
            assert len(reasons) == sum(score.reason is None for score in scored)
            assert reasons.count(None) == len(kept)


@given(scored_shards())
@settings(max_examples=60)
def test_placed_images_follow_the_rules(data: Data) -> None:
    for document in cut(data):
        sentences = [item.sentence for item in document.placed]
        places = [(item.sentence, item.image.position) for item in document.placed]
        assert places == sorted(places)  # reading order
        if len(sentences) <= len(document.page.sentences):
            assert len(set(sentences)) == len(sentences)
        for item in document.placed:
            nsfw = item.score.number("nsfw")
            assert nsfw is not None
            assert nsfw <= 0.1
            assert max(item.score.similarity) >= 0.15
            assert item.similarity == pytest.approx(item.score.similarity[item.sentence])


@given(scored_shards())
@settings(max_examples=60)
def test_core_is_a_subset_of_the_full_corpus(data: Data) -> None:
    full = {(item.page.key, placed.image.position) for item in cut(data, MMC4) for placed in item.placed}
    core = [item for item in cut(data, CORE) if item.reason is None]
    assert {(item.page.key, placed.image.position) for item in core for placed in item.placed} <= full
    for document in core:
        assert 4 <= len(document.page.sentences) <= 40
        assert 2 <= len(document.placed) <= 15
        assert sum(item.similarity > 0.25 for item in document.placed) >= 0.75 * len(document.placed)


def at_places(data: Data, places: list[int | None]) -> Data:
    """Return a document whose images are on its page after the given sentences."""
    (page,), images, scores = data
    links = [
        ImageLink(link.position, link.url, "", None, None, after_sentence=after)
        for link, after in zip(page.links, places, strict=True)
    ]
    return [replace(page, links=links)], images, scores


PAGE_ORDER = load_recipe("mmc4", ("assignment=page",))
NEAR = load_recipe("mmc4", ("assignment.window=0",))


def test_in_page_order_images_follow_their_page_up_to_the_place_after_the_last_sentence() -> None:
    data = at_places(one_document([[0.9, 0.2], [0.9, 0.3], [0.9, 0.4], [0.9, 0.5]]), [1, -1, 0, 1])
    (document,) = cut(data, PAGE_ORDER)
    placed = [(item.before, item.image.position, item.sentence, round(item.similarity, 3)) for item in document.placed]
    assert placed == [(0, 1, 0, 0.9), (1, 2, 1, 0.4), (2, 0, 1, 0.2), (2, 3, 1, 0.5)]
    assert cut(data, NEAR) == [document]


def test_an_image_without_a_place_is_dropped_in_page_order_and_goes_anywhere_in_a_window() -> None:
    data = at_places(one_document([[0.2, 0.9], [0.9, 0.8]]), [0, None])
    (document,) = cut(data, PAGE_ORDER)
    assert [(item.image.position, item.before) for item in document.placed] == [(0, 1)]
    assert document.dropped == {1: (Stage.CUT, Drop(Reason.NO_PLACE))}
    assert list(ledger_rows(document, "s"))[1].reason == Reason.NO_PLACE
    (document,) = cut(data, NEAR)
    assert [(item.image.position, item.before) for item in document.placed] == [(1, 0), (0, 1)]


def test_the_ledger_has_what_the_publisher_recorded_next_to_what_was_measured() -> None:
    (page,), images, scores = one_document([[0.5, 0.25], [0.5, 0.75], [0.25, 0.5]])
    first, second, third = page.links
    links = [
        msgspec.structs.replace(first, published_sentence=1, published_similarity=0.3),
        msgspec.structs.replace(second, published_sentence=1, after_sentence=1),
        third,
    ]
    data = [replace(page, links=links)], images, scores
    (document,) = cut(data, load_recipe("mmc4", ("assignment=published",)))
    assert [(item.image.position, item.sentence, item.before) for item in document.placed] == [
        (0, 1, 1),
        (2, 1, 1),
        (1, 1, 2),
    ]
    rows = list(ledger_rows(document, "s"))
    columns = ("sentence", "published_sentence", "published_similarity", "remeasured_similarity", "matched_similarity")
    assert [tuple(getattr(row, name) for name in columns) for row in rows] == [
        (1, 1, 0.3, 0.25, 0.25),
        (1, 1, None, 0.75, 0.75),
        (1, None, None, None, 0.5),
    ]
    (other,) = cut(data)
    for made, counted in ((document, (Counter({-5: 1}), 2, 0)), (other, (Counter({-5: 1}), 1, 1))):
        found = statistics_of_documents([made], 0).published
        assert (found.changes, found.same, found.other) == counted
