"""The assignment is the best there is: against trying every possibility."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmc4_pipeline.match import assign

similarities = st.tuples(st.integers(0, 5), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.floats(-1, 1, width=16))
)


@given(similarities)
def test_no_other_assignment_has_a_larger_sum(similarity: np.ndarray) -> None:
    images, sentences = similarity.shape
    matched = assign(similarity)
    assert matched.shape == (images,)
    total = similarity[range(images), matched].sum() if images else 0.0
    if images <= sentences:
        assert len(set(matched.tolist())) == images
        best = max(
            (similarity[range(images), chosen].sum() for chosen in permutations(range(sentences), images)), default=0.0
        )
        assert total == pytest.approx(best, abs=1e-5)
    else:
        assert set(matched.tolist()) == set(range(sentences))


def test_images_beyond_the_sentences_go_to_their_most_similar_one() -> None:
    similarity = np.array([[0.9, 0.1], [0.8, 0.7], [0.6, 0.5]], dtype=np.float32)
    assert assign(similarity).tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    "similarity",
    [np.zeros((2, 0), np.float32), np.zeros(3, np.float32), np.full((1, 1), np.nan, np.float32)],
)
def test_matrices_that_are_none_are_refused(similarity: np.ndarray) -> None:
    with pytest.raises(ValueError, match="matrix"):
        assign(similarity)
