"""Assignments by other matrices than CLIP's similarity: one, or a weighted sum, in which pairs may be missing."""

from dataclasses import replace
from math import nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.assignment import Assignment
from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.dataset.cut import cut_shard, ledger_rows
from mmc4_pipeline.dataset.weighing import weighted
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.recipe import load_recipe
from schemas.columns import CLIP_COLUMNS, Column, Shape
from schemas.image import Image
from schemas.page import ImageLink
from schemas.reasons import Drop, Reason, Stage
from schemas.score import DocumentScores, ImageScore
from tests.pages import new_page

ITM = Column("itm", Shape.PAIR, "the probability of a match")
FAR = Column("far", Shape.PAIR, "a cosine similarity", (-1.0, 1.0))
COLUMNS = (*CLIP_COLUMNS, ITM, FAR)
ANY = load_recipe("mmc4", ("filters.nsfw=null", "filters.similarity.min=-1"))


def cut(by: dict[str, float], *rows: dict[str, Any], method: str = "hungarian") -> CutDocument:
    """Cut a document of three sentences, with one image for each row of values."""
    links = [ImageLink(at, f"https://a.example/{at}.jpg", "", None, None) for at in range(len(rows))]
    images = [
        Image("k", at, link.url, width=300, height=300, phash=(0xFFF << (12 * at)) & (2**64 - 1))
        for at, link in enumerate(links)
    ]
    scores = [ImageScore(at, {"similarity": [0.5, 0.4, 0.3], **row}) for at, row in enumerate(rows)]
    recipe = replace(ANY, assignment=Assignment(method, by=by))  # type: ignore[arg-type]
    page = new_page("k", ["One.", "Two.", "Three."], links)
    (document,) = cut_shard([page], images, [DocumentScores("k", scores)], recipe, COLUMNS)
    return document


def sentences(document: CutDocument) -> dict[int, int]:
    return {item.image.position: item.sentence for item in document.placed}


def test_the_named_matrix_assigns_and_the_document_keeps_clip_s_similarity() -> None:
    document = cut({"itm": 1.0}, {"itm": [0.1, 0.2, 0.9]}, {"itm": [0.8, 0.7, 0.95]})
    assert sentences(document) == {0: 2, 1: 0}
    assert {item.image.position: item.similarity for item in document.placed} == pytest.approx({0: 0.3, 1: 0.5})
    rows: list[Any] = list(ledger_rows(document, "shard-0.tar", COLUMNS))
    assert [(row.matched_itm, row.best_itm, row.matched_similarity) for row in rows] == [
        (0.9, 0.9, pytest.approx(0.3)),
        (0.8, 0.95, pytest.approx(0.5)),
    ]
    assert [(row.matched_far, row.best_far) for row in rows] == [(None, None)] * 2


def test_a_weighted_sum_assigns() -> None:
    row = {"itm": [0.0, 0.2, 0.5]}
    assert sentences(cut({"similarity": 0.9, "itm": 0.1}, row)) == {0: 0}
    assert sentences(cut({"similarity": 0.1, "itm": 0.9}, row)) == {0: 2}


def test_a_missing_pair_is_chosen_only_if_nothing_better_remains() -> None:
    assert sentences(cut({"far": 1.0}, {"far": [None, -0.9, None]}, method="max")) == {0: 1}
    document = cut({"itm": 1.0}, {"itm": [None, None, 0.4]}, {"itm": [None, None, 0.9]})
    assert sentences(document)[1] == 2
    assert sentences(document)[0] in (0, 1)  # each sentence gets one image first
    rows: list[Any] = list(ledger_rows(document, "shard-0.tar", COLUMNS))
    assert [row.matched_itm for row in rows] == [None, 0.9]


@pytest.mark.parametrize("row", [{}, {"itm": None}, {"itm": []}, {"itm": [None, None, None]}])
def test_an_image_without_any_value_is_dropped(row: dict[str, Any]) -> None:
    document = cut({"similarity": 0.5, "itm": 0.5}, row, {"itm": [0.1, 0.2, 0.9]})
    assert sentences(document) == {1: 2}
    assert document.dropped == {0: (Stage.CUT, Drop(Reason.NOT_SCORED))}


@pytest.mark.parametrize("row", [[0.5], [0.1, nan, 0.2], [0.1] * 4])
def test_rows_that_do_not_fit_the_document_end_the_run(row: list[float]) -> None:
    with pytest.raises(UserError, match=r"a\.example/0\.jpg .*3 .*itm"):
        cut({"itm": 1.0}, {"itm": row})


@given(st.lists(st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=2), min_size=1, max_size=5))
def test_the_similarity_alone_is_taken_as_it_is(rows: list[list[float]]) -> None:
    scores = [ImageScore(at, {"similarity": row}) for at, row in enumerate(rows)]
    found = weighted(scores, Assignment(), CLIP_COLUMNS)
    assert found.dtype == np.float32
    assert found.tolist() == rows
