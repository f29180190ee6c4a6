"""The assignment by place: page order, and the best one within a window around it, by comparison with a search."""

from random import Random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmc4_pipeline.assignment import Assignment, assign, before_each

SIXTYFOURTHS = 64  # similarities are whole numbers of these, so that sums are exact; few values give many ties
Document = tuple[np.ndarray, list[int | None]]


@st.composite
def documents(draw: st.DrawFn, *, placed: bool = False) -> Document:
    """Make a matrix of similarities and the gap of each image: how many sentences stand before it on the page."""
    images, sentences = draw(st.integers(0, 7)), draw(st.integers(1, 6))
    few = draw(st.sampled_from([1, 3, SIXTYFOURTHS]))
    values = st.lists(st.integers(-few, few), min_size=sentences, max_size=sentences)
    rows = draw(st.lists(values, min_size=images, max_size=images))
    gap = st.integers(0, sentences)
    gaps = draw(st.lists(gap if placed else st.none() | gap, min_size=images, max_size=images))
    return (np.array(rows, dtype=np.float32) / SIXTYFOURTHS).reshape(images, sentences), gaps


def within(document: Document, window: int) -> np.ndarray:
    """Return the similarities, with -inf for each sentence that is further away from the image than the window."""
    similarity, gaps = document
    limited = similarity.astype(np.float64)
    last = similarity.shape[1] - 1
    for row, gap in zip(limited, gaps, strict=True):
        for sentence in range(last + 1):
            if gap is not None and abs(sentence - min(gap, last)) > window:
                row[sentence] = -np.inf
    return limited


def best_by_search(limited: np.ndarray) -> tuple[int, float]:
    """Return how many images can have a sentence of their own, and the largest sum of their similarities."""
    best = {0: (0, 0.0)}  # by the set of sentences that are taken
    for row in limited:
        for taken, (pairs, total) in list(best.items()):
            for sentence in np.flatnonzero(np.isfinite(row)).tolist():
                if not taken >> sentence & 1:
                    found = (pairs + 1, total + row[sentence])
                    best[taken | 1 << sentence] = max(found, best.get(taken | 1 << sentence, found))
    return max(best.values())


def pairs_and_sum(limited: np.ndarray, matched: np.ndarray) -> tuple[int, float]:
    """Return the same of an assignment. Fails if images share a sentence that is not the best one of all but one."""
    total = 0.0
    for sentence in set(matched.tolist()):
        rows = limited[matched == sentence]
        not_at_best = rows[rows[:, sentence] < rows.max(axis=1)]
        assert len(not_at_best) <= 1
        total += (not_at_best if len(not_at_best) else rows)[:, sentence].max()
    return len(set(matched.tolist())), total


@given(documents(), st.integers(0, 3))
@settings(max_examples=200)
@example((np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]], dtype=np.float32), [0, 0]), 1)  # the best one is out of reach
@example((np.array([[1.0, -1.0], [1.0, -1.0]], dtype=np.float32), [0, 0]), 0)  # one sentence in reach of two images
@example((np.array([[1.0, 0, 0], [0, 0, 0], [0, 0, 0]], dtype=np.float32), [1, 0, 0]), 1)  # fewer pairs, larger sum
def test_as_many_images_as_possible_have_a_sentence_of_their_own_in_the_window_and_the_best_sum(
    document: Document, window: int
) -> None:
    limited = within(document, window)
    matched = assign(document[0], Assignment(window=window), document[1])
    assert np.isfinite(limited[range(len(matched)), matched]).all()
    assert pairs_and_sum(limited, matched) == best_by_search(limited)
    most_similar = assign(document[0], Assignment("max", window), document[1])
    assert most_similar.tolist() == limited.argmax(axis=1).tolist()


@given(documents())
def test_a_window_as_large_as_the_document_changes_nothing(document: Document) -> None:
    similarity, gaps = document
    for method in ("hungarian", "max"):
        without = assign(similarity, Assignment(method)).tolist()
        for window in (similarity.shape[1], 10**9):
            assert assign(similarity, Assignment(method, window), gaps).tolist() == without


@given(documents(placed=True))
def test_a_window_of_nothing_is_page_order(document: Document) -> None:
    similarity, gaps = document
    sentences = similarity.shape[1]
    page = assign(similarity, Assignment("page"), gaps).tolist()
    assert page == [min(gap, sentences - 1) for gap in gaps if gap is not None]
    assert before_each(page, Assignment("page"), gaps, sentences) == gaps
    for method in ("hungarian", "max"):
        narrow = Assignment(method, 0)
        matched = assign(similarity, narrow, gaps).tolist()
        assert matched == page
        assert before_each(matched, narrow, gaps, sentences) == gaps


@given(documents(), st.integers(0, 3), st.sampled_from([2.0**-60, 2.0**40]), st.randoms())
def test_neither_the_scale_nor_the_order_of_the_images_counts(
    document: Document, window: int, scale: float, shuffled: Random
) -> None:
    similarity, gaps = document
    near = Assignment(window=window)
    matched = assign(similarity, near, gaps)
    assert assign(np.asfortranarray(similarity.astype(np.float64) * scale), near, gaps).tolist() == matched.tolist()
    order = shuffled.sample(range(len(gaps)), len(gaps))
    permuted = (similarity[order], [gaps[image] for image in order])
    again = assign(permuted[0], near, permuted[1])  # the same, or another one that is as good
    limited = within(document, window)
    assert pairs_and_sum(limited[order], again) == pairs_and_sum(limited, matched)


def test_an_image_leaves_its_gap_only_for_another_sentence() -> None:
    near = Assignment(window=2)
    assert before_each([1, 1, 2, 2, 0], near, [1, 3, 3, 2, None], 3) == [1, 1, 3, 2, 0]
    assert before_each([1, 1, 2, 2, 0], Assignment(), [1, 3, 3, 2, None], 3) == [1, 1, 2, 2, 0]


def test_page_order_needs_every_place() -> None:
    for gaps in ([0, None], [0], []):
        with pytest.raises(ValueError, match="place"):
            assign(np.zeros((2, 3), np.float32), Assignment("page"), gaps)
