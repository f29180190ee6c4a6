"""A recipe names columns that several scores have, such as the similarities of two CLIPs."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from filters.at_least import AtLeast
from filters.at_most import AtMost
from mmc4_pipeline.assignment import Assignment
from mmc4_pipeline.dataset.column_names import column_problems, with_columns
from mmc4_pipeline.dataset.weighing import weighted
from mmc4_pipeline.recipe import Recipe, load_recipe
from mmc4_pipeline.report.figures.histograms import histograms
from mmc4_pipeline.run_folders import stage_folder
from mmc4_pipeline.scoring.files import write_scores
from mmc4_pipeline.scoring.folders import FoundScores, find_scores, joined, side_by_side
from schemas.columns import CLIP_COLUMNS, Column, Shape
from schemas.ledger import ledger_record
from schemas.manifest import ScoreInput, ScorePlan, ShardNote
from schemas.reasons import Stage
from schemas.score import DocumentScores, ImageScore
from schemas.statistics import Counts, Statistics

LARGE, SMALL, OWN = "ViT-L-14_openai", "ViT-B-32_datacomp.xl", "own"
NAMES = ("best_similarity", "best_similarity_vit_b_32_datacomp_xl", "ad", "ad_vit_b_32_datacomp_xl", "best_itm")
COUNTED = Statistics(scores={name: Counter({0: 1, 50: 1}) for name in NAMES})
ITM = (Column("itm", Shape.PAIR, "a match"), Column("note", Shape.TEXT, "a text"))


def finished(output: Path, name: str, plan: ScorePlan, images: list[ImageScore]) -> None:
    folder = stage_folder(str(output), Stage.SCORE, name)
    folder.begin(plan, resume=False)
    file = write_scores(folder.shard_file("scores", 0, 1), [DocumentScores("k", images)], plan.all_columns)
    folder.finish_shard(ShardNote(shard=0, files=[file], counts={"links": Counts()}))
    folder.finish()


def clip(model: str, *heads: str) -> ScorePlan:
    identity = {"model": model, "weights": "own"}
    named = dict.fromkeys(heads, "0")
    return ScorePlan(
        shards=1, clip=identity, precision="auto", save_features=False, heads=named, input=ScoreInput(images="0" * 16)
    )


@pytest.fixture
def scores(tmp_path: Path) -> list[FoundScores]:
    """Two CLIPs, only one of which has an NSFW head, and another scorer."""
    large = [ImageScore(0, {"similarity": [0.5, 0.0], "nsfw": 0.25, "ad": 0.5})]
    small = [ImageScore(0, {"similarity": [0.25, 1.0], "ad": 0.75})]
    own = [ImageScore(0, {"itm": [None, 0.5], "note": "a cat"})]
    finished(tmp_path, LARGE, clip("ViT-L-14", "nsfw"), large)
    finished(tmp_path, SMALL, clip("ViT-B-32"), small)
    plan = ScorePlan(shards=1, scorer="own", settings={}, columns=ITM, input=ScoreInput(images="0" * 16))
    finished(tmp_path, OWN, plan, own)
    return side_by_side(find_scores(str(tmp_path), [OWN, LARGE, SMALL]))


@pytest.fixture
def columns(scores: list[FoundScores]) -> tuple[Column, ...]:
    return tuple(column for item in scores for column in item.columns)


def recipe(*overrides: str) -> Recipe:
    return load_recipe("mmc4", overrides)


def test_the_first_keeps_the_names_and_all_are_in_the_ledger(
    scores: list[FoundScores], columns: tuple[Column, ...]
) -> None:
    assert [item.name for item in scores] == [LARGE, SMALL, OWN]
    assert [item.name for item in columns[:4]] == [item.name for item in CLIP_COLUMNS]
    assert [item.name for item in columns[4:]] == [
        *(f"{item.name}_vit_b_32_datacomp_xl" for item in CLIP_COLUMNS),
        "itm",
        "note",
    ]
    assert [item.qualified for item in columns[:4]] == [f"{LARGE}.{item.name}" for item in CLIP_COLUMNS]
    assert all(item.description.endswith(f"({LARGE})") for item in columns[:4])
    assert columns[8:] == ITM
    fields = ledger_record(columns).__dataclass_fields__
    assert {"best_similarity", "best_similarity_vit_b_32_datacomp_xl", "matched_itm", "ad", "note"} <= fields.keys()


def test_both_matrices_assign_and_both_can_decide(scores: list[FoundScores], columns: tuple[Column, ...]) -> None:
    asked = recipe(
        f"assignment.by={{{LARGE}.similarity: 0.5, {SMALL}.similarity: 0.25, itm: 2}}",
        f"filters.low={{filter: at_least, column: {SMALL}.similarity, min: 0.5}}",
        f"filters.high={{filter: at_most, column: {LARGE}.ad, max: 0.5}}",
        "filters.any={filter: at_least, column: itm, min: 0.25}",
        f"filters.same={{filter: at_least, column: {OWN}.itm, min: 0}}",
    )
    assert column_problems(asked, scores) == []
    made = with_columns(asked, columns)
    (document,) = joined(scores, 0)
    (image,) = document.images
    assert weighted([image], made.assignment, columns).tolist() == [[0.5 * 0.5 + 0.25 * 0.25, 0.25 * 1 + 2 * 0.5]]
    low, high = made.filters["low"], made.filters["high"]
    assert isinstance(low, AtLeast)
    assert isinstance(high, AtMost)
    assert (low.decide(image), high.decide(image)) == (None, None)
    assert replace(low, min=1.5).decide(image) == "similarity_vit_b_32_datacomp_xl"
    assert replace(high, max=0.4).decide(image) == "ad"
    assert (made.filters["any"].column, made.filters["same"].column) == ("itm", "itm")  # type: ignore[attr-defined]
    shown = {item.title: len(item.thresholds) for item in histograms(COUNTED, asked.to_json(), columns)}
    assert shown["Best similarity_vit_b_32_datacomp_xl of scored images"] == 1
    assert shown["Best similarity of scored images"] == 1
    assert shown["Ad_vit_b_32_datacomp_xl of scored images"] == 0
    assert (shown["Ad of scored images"], shown["Best itm of scored images"]) == (1, 2)


def test_what_a_recipe_does_not_choose_means_the_first(scores: list[FoundScores], columns: tuple[Column, ...]) -> None:
    asked = recipe()
    assert column_problems(asked, scores) == []
    assert with_columns(asked, columns) == asked
    assert asked.assignment == Assignment()


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("assignment.by={similarity: 0.7, itm: 0.3}", f"assignment.by: .*write {LARGE}.similarity or {SMALL}.sim"),
        (
            "filters.own={filter: at_most, column: ad, max: 1}",
            f"filters.own: 2 .* write {LARGE}.ad or {SMALL}.ad",
        ),
        (f"filters.own={{filter: at_most, column: {SMALL}.nsfw, max: 1}}", "filters.own: .*--nsfw_weights"),
        (
            f"filters.own={{filter: at_most, column: {OWN}.ad, max: 1}}",
            f"filters.own: .*column own.ad, .*{SMALL}.ad",
        ),
        ("filters.own={filter: at_most, column: other.itm, max: 1}", "filters.own: .*no column other.itm"),
        (f"filters.own={{filter: at_most, column: {OWN}.note, max: 1}}", "filters.own: .*text"),
        (f"assignment.by={OWN}.note", "assignment.by: .*own.note"),
        ("assignment.by=similarity_vit_b_32_datacomp_xl", "assignment.by: .*similarity_vit_b_32_datacomp_xl"),
    ],
)
def test_a_name_that_means_several_or_none_is_refused(scores: list[FoundScores], override: str, problem: str) -> None:
    (found,) = column_problems(recipe(override), scores)
    assert re.search(problem, found)
