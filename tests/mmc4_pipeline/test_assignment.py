"""The assignment is optimal, by comparison with all possibilities, another solver and a document of MMC4."""

from functools import cache
from itertools import permutations
from typing import get_args

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from mmc4_pipeline.assignment import Assignment, Method, assign, before_each

SIXTYFOURTHS = 64  # similarities are whole numbers of these: sums are exact, and small ranges give many ties


def random_matrix(random: np.random.Generator, largest: int) -> np.ndarray:
    """Give a matrix of a random shape and a random number of distinct values, from -1 to 1."""
    shape = random.integers(0, largest + 1), random.integers(1, largest + 1)
    few = random.choice([1, 3, 10, SIXTYFOURTHS])
    return (random.integers(-few, few + 1, shape) / SIXTYFOURTHS).astype(np.float32)


@cache
def every_possibility(choosers: int, choices: int) -> np.ndarray:
    return np.array(list(permutations(range(choices), choosers)), dtype=np.int64)


def best_by_trying(similarity: np.ndarray) -> float:
    """Give the largest sum over pairs of different images and different sentences, as many pairs as there can be."""
    wide = similarity if similarity.shape[0] <= similarity.shape[1] else similarity.T
    return float(wide[range(len(wide)), every_possibility(*wide.shape)].sum(axis=1).max()) if wide.size else 0.0


def best_by_another_solver(similarity: np.ndarray) -> float:
    if not similarity.size:
        return 0.0
    above_zero = csr_array(similarity.astype(np.float64) + 2)  # a zero would not be an edge
    images, sentences = min_weight_full_bipartite_matching(above_zero, maximize=True)
    return float(similarity[images, sentences].sum())


def sum_of_matched(similarity: np.ndarray, matched: np.ndarray) -> float:
    """Give the sum over the images that have a sentence to themselves, the others being at their most similar one.

    Fails where they are not: where two images that are not at their most similar sentence share one.
    """
    total = 0.0
    for sentence in set(matched.tolist()):
        rows = similarity[matched == sentence]
        not_at_best = rows[rows[:, sentence] < rows.max(axis=1)]
        assert len(not_at_best) <= 1
        total += float((not_at_best if len(not_at_best) else rows)[:, sentence].max())
    return total


@pytest.mark.parametrize(
    ("best", "largest", "matrices"), [(best_by_trying, 6, 6000), (best_by_another_solver, 30, 4000)]
)
def test_no_other_assignment_has_a_larger_sum(best, largest: int, matrices: int) -> None:  # noqa: ANN001
    random = np.random.default_rng(4)
    surplus = ties = 0
    for _ in range(matrices):
        similarity = random_matrix(random, largest)
        images, sentences = similarity.shape
        matched = assign(similarity)
        assert matched.shape == (images,)
        assert len(set(matched.tolist())) == min(images, sentences)
        assert sum_of_matched(similarity, matched) == best(similarity), similarity
        surplus += images > sentences
        ties += len(np.unique(similarity)) < similarity.size
    assert min(surplus, ties) > matrices / 4


def test_images_in_excess_of_the_sentences_go_to_their_most_similar_one() -> None:
    similarity = np.array([[0.9, 0.1], [0.8, 0.7], [0.6, 0.5]], dtype=np.float32)
    assert assign(similarity).tolist() == [0, 1, 0]


def test_the_paper_s_alternative_lets_images_share_their_most_similar_sentence() -> None:
    random = np.random.default_rng(4)
    for _ in range(500):
        similarity = random_matrix(random, 8)
        matched = assign(similarity, Assignment("max"))
        assert matched.tolist() == [row.tolist().index(max(row)) for row in similarity]


def test_the_document_in_mmc4_s_readme() -> None:
    """https://github.com/allenai/mmc4#documents, the example document (its url: www.hfitinfo.com/hofi-48.html)."""
    similarity = [
        [0.24363446235656738, 0.31758785247802734, 0.27694183588027954],
        [0.2233106791973114, 0.3234919607639313, 0.26118797063827515],
    ]
    published = [(2, 0.27694183588027954), (1, 0.3234919607639313)]
    matched = assign(similarity).tolist()
    assert [(sentence, similarity[image][sentence]) for image, sentence in enumerate(matched)] == published
    assert assign(similarity, Assignment("max")).tolist() == [1, 1]


@pytest.mark.parametrize("method", get_args(Method))
@pytest.mark.parametrize(
    "similarity",
    [
        np.zeros((2, 0), np.float32),
        np.zeros(3, np.float32),
        np.zeros((1, 2, 3), np.float32),
        np.full((1, 1), np.nan, np.float32),
        np.array([[0.5, np.inf]], np.float32),
        [[0.1, 0.2], [0.3]],
        [["0.1", "0.2"]],
        [[None]],
    ],
)
def test_invalid_matrices_are_refused(similarity: object, method: Method) -> None:
    with pytest.raises(ValueError, match="matrix"):
        assign(similarity, Assignment(method))  # type: ignore[arg-type]


def test_a_publisher_s_assignment_is_kept_and_other_images_get_their_most_similar_sentence() -> None:
    similarity = [[0.1, 0.2, 0.9], [0.3, 0.2, 0.1], [0.1, 0.5, 0.4]]
    published = Assignment("published")
    assert assign(similarity, published, published=[0, 0, None]).tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match="zip"):
        assign(similarity, published)
    assert before_each([0, 2, 2, 1], published, [0, 2, 3, None], 3) == [0, 2, 3, 1]
