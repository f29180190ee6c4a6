"""Without --nsfw_weights, scoring uses the head that `mmc4 models fetch` has fetched."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from mmc4_pipeline.models import catalogue
from mmc4_pipeline.models.clip_choice import ClipChoice, file_sha256
from tests.end_to_end.running import MINIWEB, WEIGHTS, contents, mmc4, refusal, succeeded


def test_the_fetched_head_scores_like_a_given_one(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The miniature web's head and CLIP stand in for the published ones, which are too large for a test."""
    clip, head = ClipChoice(str(WEIGHTS / "clip.json"), str(WEIGHTS / "clip.pt")), WEIGHTS / "nsfw.pt"
    monkeypatch.setattr(catalogue, "CLIP_IDENTITY", clip.identity())
    monkeypatch.setattr(catalogue, "NSFW", replace(catalogue.NSFW, sha256=file_sha256(str(head))))
    monkeypatch.setenv("MMC4_MODELS", str(tmp_path / "models"))
    output = tmp_path / "out"
    for stage in ("pages", "images"):
        shutil.copytree(built / stage, output / stage)
    named = {
        "output": output,
        "recipe": MINIWEB / "miniweb.yaml",
        "clip_model": clip.model,
        "clip_pretrained": clip.pretrained,
        "face_weights": WEIGHTS / "faces.pt",
    }
    arguments = ["score", *(word for name, value in named.items() for word in (f"--{name}", str(value)))]
    assert re.search(r"filters\.nsfw .*--nsfw_weights.*`mmc4 models fetch`", refusal(mmc4(*arguments)))

    (tmp_path / "models").mkdir()
    shutil.copy(head, tmp_path / "models" / "nsfw_torch.pt")
    succeeded(mmc4(*arguments))
    scores = contents(output, "scores/*/*.parquet")
    assert scores == contents(built, "scores/*/*.parquet")
    assert scores
    (manifest,) = output.glob("scores/*/manifest.json")
    assert orjson.loads(manifest.read_bytes())["heads"] == {
        "nsfw": file_sha256(str(head)),
        "face": file_sha256(str(WEIGHTS / "faces.pt")),
    }
