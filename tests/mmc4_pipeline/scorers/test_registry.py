"""Scorers by name: settings from the command line, and columns that can't be used."""

import sys
from pathlib import Path

import pytest

from mmc4_pipeline import scorers
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.scorers.clip import Clip
from mmc4_pipeline.scorers.registry import known_scorers, name_of, parse_scorers

SCORER = """
from dataclasses import dataclass
from mmc4_pipeline.scoring.base import ShardScores, SimpleScorer
from schemas.columns import Column, Shape

@dataclass(frozen=True)
class Own(SimpleScorer):
    columns = ({columns},)

    def score_shard(self, shard, /):
        return ShardScores(shard.scores_of_images({{}}))
"""


def test_every_built_in_scorer_is_known_by_its_module() -> None:
    modules = {path.stem for path in Path(scorers.__path__[0]).glob("*.py")} - {"__init__", "registry"}
    assert set(known_scorers()) == modules
    assert all(item.__module__ == f"mmc4_pipeline.scorers.{name}" for name, item in known_scorers().items())


def test_settings_follow_a_colon_and_replace_those_of_other_options() -> None:
    flags = {"model": "ViT-L-14", "pretrained": "openai", "save_features": True}
    large, small = parse_scorers(["clip", "clip:model=ViT-B-32,pretrained=datacomp_xl_s13b_b90k"], flags)
    assert (large, large.folder) == (Clip(save_features=True), "ViT-L-14_openai")
    assert small == Clip("ViT-B-32", "datacomp_xl_s13b_b90k", save_features=True)
    assert (name_of(small), small.folder) == ("clip", "ViT-B-32_datacomp_xl_s13b_b90k")


@pytest.mark.parametrize(
    ("choices", "complaint"),
    [
        (["clipp"], "--scorer clipp: .*clip"),
        (["clip:modle=a"], "--scorer clip: modle=a: .*model"),
        (["clip:precision=fp8"], "--scorer clip: precision: .*fp8"),
        (["clip", "clip:precision=fp16"], "--scorer clip:precision=fp16: .*ViT-L-14_openai"),
    ],
)
def test_what_cannot_be_used_is_refused(choices: list[str], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        parse_scorers(choices, {})


@pytest.mark.parametrize(
    "columns",
    [
        'Column("Upper", Shape.IMAGE, "")',
        'Column("page_url", Shape.TEXT, "")',
        'Column("sentences", Shape.IMAGE, "")',
        'Column("best_one", Shape.IMAGE, "")',
        'Column("one", Shape.IMAGE, "", (1.0, 1.0))',
        'Column("one", Shape.IMAGE, ""), Column("one", Shape.TEXT, "")',
    ],
)
def test_columns_that_the_ledger_cannot_have_are_refused_by_the_scorer(
    columns: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.py").write_text(SCORER.format(columns=columns))
    metadata = tmp_path / "own-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[mmc4.scorers]\nown = own\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own", raising=False)
    known_scorers.cache_clear()
    try:
        with pytest.raises(UserError, match=r"^scorer own: .*column"):
            known_scorers()
    finally:
        known_scorers.cache_clear()
