"""Files of scores: what was written comes back, today's layout of CLIP included, and several scores are joined."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.run_folders import stage_folder
from mmc4_pipeline.scoring.files import read_scores, write_scores
from mmc4_pipeline.scoring.folders import find_scores, joined, side_by_side
from schemas.columns import CLIP_COLUMNS, Column, Shape
from schemas.manifest import ScoreInput, ScorePlan, ShardNote
from schemas.reasons import Stage
from schemas.score import DocumentScores, ImageScore
from schemas.statistics import Counts

OWN = (
    Column("itm", Shape.PAIR, "a match"),
    Column("size", Shape.IMAGE, "a size", (0.0, 10.0)),
    Column("caption", Shape.TEXT, "what it shows"),
    Column("coherence", Shape.DOCUMENT, "how well they fit", (-1.0, 1.0)),
)
NUMBER = st.none() | st.floats(0, 1, width=32)
VALUES = st.fixed_dictionaries(
    {"itm": st.lists(NUMBER, max_size=3), "size": NUMBER, "caption": st.none() | st.text(st.characters(codec="utf-8"))}
)


@given(st.lists(st.lists(VALUES, max_size=3), max_size=3), NUMBER)
def test_scores_come_back_as_they_went(
    tmp_path_factory: pytest.TempPathFactory, documents: list, of_document: float
) -> None:
    path = str(tmp_path_factory.mktemp("scores") / "scores.parquet")
    scores = [
        DocumentScores(
            str(key), [ImageScore(at, values) for at, values in enumerate(images)], {"coherence": of_document}
        )
        for key, images in enumerate(documents)
    ]
    write_scores(path, scores, OWN)
    assert list(read_scores(path, OWN)) == scores
    again = write_scores(path, scores, OWN)
    assert again == write_scores(path, scores, OWN)


def test_a_column_that_is_not_declared_is_refused(tmp_path: Path) -> None:
    for scores in (
        DocumentScores("k", [ImageScore(0, {"coherence": 0.5})]),
        DocumentScores("k", [], {"size": 0.5}),
    ):
        with pytest.raises(ValueError, match=r"coherence|size"):
            write_scores(str(tmp_path / "scores.parquet"), [scores], OWN)


def write_earlier(path: str) -> None:
    """Write scores in the layout that CLIP's had before scorers declared columns."""
    numbers = [("nsfw", pa.float32()), ("face", pa.float32()), ("ad", pa.float32()), ("reason", pa.string())]
    image = [
        pa.field("position", pa.int64(), nullable=False),
        pa.field("similarity", pa.list_(pa.float32()), nullable=False),
        *(pa.field(name, kind) for name, kind in numbers),
    ]
    rows = [{"position": 0, "similarity": [0.5, 0.25], "nsfw": 0.125, "face": None, "ad": 0.75, "reason": None}]
    rows.append({"position": 2, "similarity": [], "nsfw": None, "face": None, "ad": None, "reason": "corrupt"})
    fields = [
        pa.field("key", pa.string(), nullable=False),
        pa.field("images", pa.list_(pa.struct(image)), nullable=False),
    ]
    pq.write_table(pa.Table.from_pylist([{"key": "k", "images": rows}], pa.schema(fields)), path, compression="zstd")


def finished(output: Path, name: str, plan: ScorePlan, scores: list[DocumentScores] | None) -> None:
    """Write finished scores of one shard; without scores, in the layout of an earlier version."""
    folder = stage_folder(str(output), Stage.SCORE, name)
    folder.begin(plan, resume=False)
    path = folder.shard_file("scores", 0, 1)
    files = [] if scores is None else [write_scores(path, scores, plan.all_columns)]
    if scores is None:
        write_earlier(path)
    folder.finish_shard(ShardNote(shard=0, files=files, counts={"links": Counts()}))
    folder.finish()


def clip_plan() -> ScorePlan:
    clip = {"model": "ViT-L-14", "weights": "openai"}
    given_input = ScoreInput(images="0" * 16)
    return ScorePlan(shards=1, clip=clip, precision="auto", save_features=False, heads={"nsfw": "0"}, input=given_input)


def own_plan(*columns: Column) -> ScorePlan:
    return ScorePlan(shards=1, scorer="own", settings={"k": 3}, columns=columns, input=ScoreInput(images="0" * 16))


def test_scores_of_an_earlier_version_are_read_and_joined_with_others(tmp_path: Path) -> None:
    finished(tmp_path, "ViT-L-14_openai", clip_plan(), None)
    own = DocumentScores("k", [ImageScore(0, {"itm": [None, 0.5], "caption": "a cat"})], {"coherence": 0.25})
    finished(tmp_path, "own_3", own_plan(*OWN), [own, DocumentScores("other", [])])
    assert [item.name for item in find_scores(str(tmp_path), ["clip", "own"])] == ["ViT-L-14_openai", "own_3"]
    scores = side_by_side(find_scores(str(tmp_path), ["own_3", "ViT-L-14_openai"]))
    assert (scores[0].plan.clip, scores[0].plan.empty_columns) == ({"model": "ViT-L-14", "weights": "openai"}, ["face"])
    assert [item.columns for item in scores] == [CLIP_COLUMNS, OWN]
    (document,) = joined(scores, 0)
    first, corrupt = document.images
    assert (list(first.similarity), first.number("nsfw"), first.number("face")) == ([0.5, 0.25], 0.125, None)
    assert (first.number("itm"), first.at("itm", 0), first.at("itm", 1)) == (0.5, None, 0.5)
    assert (first.values["caption"], first.number("coherence"), first.number("size")) == ("a cat", 0.25, None)
    assert (corrupt.reason, list(corrupt.similarity), corrupt.number("itm"), corrupt.number("coherence")) == (
        ("corrupt", [], None, 0.25)
    )


def test_clip_is_still_written_in_the_earlier_layout(tmp_path: Path) -> None:
    write_earlier(str(tmp_path / "earlier.parquet"))
    scores = list(read_scores(str(tmp_path / "earlier.parquet"), CLIP_COLUMNS))
    write_scores(str(tmp_path / "now.parquet"), scores, CLIP_COLUMNS)
    before, now = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("earlier", "now"))
    assert now.schema == before.schema
    assert now == before


def test_scores_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    finished(tmp_path, "one", clip_plan(), None)
    finished(tmp_path, "two", clip_plan(), None)
    finished(tmp_path, "own", own_plan(Column("ad", Shape.IMAGE, "another")), [])
    finished(tmp_path, "Own", own_plan(Column("ad", Shape.IMAGE, "a third")), [])
    with pytest.raises(UserError, match=r"--scores: .*one, two"):
        find_scores(str(tmp_path), ["clip"])
    with pytest.raises(UserError, match=r"'three'.*Own, one, own, two"):
        find_scores(str(tmp_path), ["three"])
    with pytest.raises(UserError, match=r"own and Own: .* ad_own"):
        side_by_side(find_scores(str(tmp_path), ["one", "own", "Own"]))
    with pytest.raises(UserError, match=r"own.*similarity"):
        side_by_side(find_scores(str(tmp_path), ["own"]))
    (tmp_path / "scores/own/plan.json").rename(tmp_path / "elsewhere")
    assert [item.name for item in find_scores(str(tmp_path), ["two"])] == ["two"]


def test_files_with_other_columns_are_refused_by_name(tmp_path: Path) -> None:
    path = str(tmp_path / "scores.parquet")
    write_scores(path, [], OWN)
    for columns in (CLIP_COLUMNS, (*OWN, Column("more", Shape.DOCUMENT, "more"))):
        with pytest.raises(UserError, match=r"scores\.parquet"):
            list(read_scores(path, columns))
    (tmp_path / "scores.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match=r"scores\.parquet"):
        list(read_scores(path, OWN))
