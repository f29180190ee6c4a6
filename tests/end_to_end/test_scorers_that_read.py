"""A scorer that reads CLIP's scores and features: it runs after CLIP, with columns of every shape."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

from mmc4_pipeline.scorers.registry import known_scorers
from tests.end_to_end.running import MINIWEB, WEIGHTS, mmc4, refusal, succeeded

SCORER = """
from dataclasses import dataclass
import numpy as np
from mmc4_pipeline.scoring.base import ShardScores, SimpleScorer
from schemas.columns import Column, Shape
from schemas.score import DocumentScores, ImageScore

@dataclass(frozen=True)
class Reader(SimpleScorer):
    clip: str = "clip"
    columns = (
        Column("opposite", Shape.PAIR, "minus the two lowest similarities", (-1.0, 1.0)),
        Column("note", Shape.TEXT, "a text"),
        Column("spread", Shape.DOCUMENT, "how different the images are"),
    )

    @property
    def reads(self):
        return (self.clip,)

    def score_shard(self, shard, /):
        scores, features = shard.scores(self.clip), shard.features(self.clip)
        return ShardScores([self._score(scores[page.key], images, features) for page, images in shard.documents])

    def _score(self, document, images, features):
        values = np.stack([features[document.key, image.position] for image in images]).astype(np.float64)
        found = [
            ImageScore(item.position, {"opposite": self._row(item.similarity), "note": f"image {item.position}"})
            for item in document.images
        ]
        return DocumentScores(document.key, found, {"spread": float(values.std())})

    def _row(self, similarity):
        lowest = sorted(range(len(similarity)), key=lambda at: similarity[at])[:2]
        return [-value if at in lowest else None for at, value in enumerate(similarity)]
"""


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path / "plug_in"
    (folder / "reader-1.dist-info").mkdir(parents=True)
    (folder / "reader.py").write_text(SCORER)
    (folder / "reader-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: reader\nVersion: 1\n")
    (folder / "reader-1.dist-info/entry_points.txt").write_text("[mmc4.scorers]\nreader = reader\n")
    monkeypatch.syspath_prepend(str(folder))
    known_scorers.cache_clear()
    yield
    known_scorers.cache_clear()
    sys.modules.pop("reader", None)


@pytest.mark.engines
@pytest.mark.usefixtures("plug_in")
def test_it_runs_after_what_it_reads_and_its_matrix_assigns(built: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    for stage in ("locations", "pages", "images"):
        shutil.copytree(built / stage, output / stage)
    recipe = tmp_path / "own.yaml"
    recipe.write_text(
        f"extends: {MINIWEB}/miniweb.yaml\nscores: [reader, clip]\nassignment: {{method: max, by: opposite}}\n"
        "filters: {nsfw: null, wide: {filter: at_least, column: spread, min: 0}}\n"
    )
    clip = ("--clip_model", str(WEIGHTS / "clip.json"), "--clip_pretrained", str(WEIGHTS / "clip.pt"))
    common = ("--output", str(output), "--recipe", str(recipe))
    assert "clip" in refusal(mmc4("score", *common, *clip, "--scorer", "reader"))  # there are no such scores yet
    score = ("score", *common, *clip, "--save_features")  # the recipe lists both
    succeeded(mmc4(*score))
    plan = orjson.loads((output / "scores/reader/plan.json").read_bytes())
    assert (plan["scorer"], plan["settings"], list(plan["input"]["scores"])) == (
        "reader",
        {"clip": "clip"},
        ["clip_clip"],
    )

    succeeded(mmc4("cut", *common))
    rows = pq.read_table(output / "dataset/own/ledger").to_pylist()
    kept = [row for row in rows if row["shard"]]
    assert kept
    assert {row["note"] for row in kept} == {f"image {row['position']}" for row in kept}
    assert all(row["matched_opposite"] == row["best_opposite"] for row in kept)
    assert all(np.isclose(row["matched_similarity"], -row["matched_opposite"]) for row in kept)
    of_document = {row["document"]: set[float]() for row in kept}
    for row in kept:
        of_document[row["document"]].add(row["spread"])
    assert all(len(values) == 1 for values in of_document.values())
    assert "Spread of scored documents" in (output / "dataset/own/report.html").read_text()

    removals = tmp_path / "removals.txt"
    removals.write_text(kept[0]["page_url"])
    succeeded(mmc4("takedown", str(output), "--list", str(removals)))
    files = sorted((output / "scores/reader").glob("scores-*.parquet"))
    assert kept[0]["document"] not in {
        document["key"] for path in files for document in pq.read_table(path).to_pylist()
    }
    succeeded(mmc4("verify", str(output / "dataset/own")))
    succeeded(mmc4(*score, "--resume"))  # its plan follows the new fingerprints
    succeeded(mmc4("cut", *common, "--resume"))
