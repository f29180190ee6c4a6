"""Scores of several models and precisions next to each other, and datasets cut by them."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
import webdataset

from mmc4_pipeline.clip.features import ImageFeatures, read_features
from mmc4_pipeline.clip.heads import NsfwHead, load_head, probabilities
from tests.end_to_end.running import MINIWEB, WEIGHTS, Web, contents, mmc4, refusal, succeeded


def copied(built: Path, output: Path, *stages: str) -> Path:
    """Copy some stages of a build, so that others can be run again."""
    for stage in ("locations", "pages", "images", *stages):
        shutil.copytree(built / stage, output / stage)
    return output


def score(output: Path, *more: str, weights: str = str(WEIGHTS / "clip.pt")) -> list[str]:
    named = {
        "clip_model": WEIGHTS / "clip.json",
        "nsfw_weights": WEIGHTS / "nsfw.pt",
        "recipe": MINIWEB / "miniweb.yaml",
    }
    words = [word for name, value in named.items() for word in (f"--{name}", str(value))]
    return ["score", "--output", str(output), "--clip_pretrained", weights, *words, *more]


def documents(output: Path) -> dict[str, dict[str, Any]]:
    shards = [str(path) for path in sorted((output / "dataset/miniweb").glob("shard-*.tar"))]
    samples = webdataset.WebDataset(shards, shardshuffle=False).decode()
    return {sample["__key__"]: sample["json"] for sample in samples}


def assigned(output: Path) -> dict[str, list[tuple[str, int]]]:
    return {
        key: [(image["raw_url"], image["matched_text_index"]) for image in document["image_info"]]
        for key, document in documents(output).items()
    }


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_changes_no_assignment(built: Path, tmp_path: Path, precision: str) -> None:
    output = copied(built, tmp_path / "out")
    log = succeeded(mmc4(*score(output, "--precision", precision, "-v"))).stderr
    assert re.search(rf"shard 0: [1-9]\d* images and [1-9]\d* sentences in \d+\.\d s, {precision} on \w+", log)
    succeeded(mmc4("cut", "--output", str(output), "--recipe", str(MINIWEB / "miniweb.yaml")))
    found, expected = assigned(output), assigned(built)
    assert len(expected) > 20
    assert found == expected
    note = orjson.loads((output / "scores/clip_clip/done/00000.json").read_bytes())
    assert note["computed_in"].startswith(precision)
    matrices = [documents(folder)[key]["similarity_matrix"] for folder in (output, built) for key in sorted(expected)]
    half = len(matrices) // 2
    apart = [np.abs(np.subtract(*pair)).max() for pair in zip(matrices[:half], matrices[half:], strict=True)]
    assert 0 < max(apart) < 5e-3


def saved_features(scores: Path) -> list[ImageFeatures]:
    """Return the features in a folder of scores, in the order of the shards."""
    return [item for path in sorted(scores.glob("features-*.parquet")) for item in read_features(str(path))]


def test_scores_of_two_models_are_stored_next_to_each_other_and_the_recipe_names_one(
    built: Path, web: Web, tmp_path: Path
) -> None:
    output, faces = copied(built, tmp_path / "out"), ("--face_weights", str(WEIGHTS / "faces.pt"))
    two = ("--scorer", "clip", "clip:pretrained=random,save_features=true")
    succeeded(mmc4(*score(output, *faces, *two)))
    assert contents(output, "scores/clip_clip/*.*") == contents(built, "scores/clip_clip/*.*") != {}
    (output / "scores/clip_random/done/00001.json").unlink()
    (output / "scores/clip_random/manifest.json").rename(tmp_path / "manifest.json")
    succeeded(mmc4(*score(output, *faces, *two, "--resume")))
    assert (output / "scores/clip_random/manifest.json").read_bytes() == (tmp_path / "manifest.json").read_bytes()
    scores = pq.read_table(output / "scores/clip_random/scores-00000-of-00002.parquet").to_pylist()
    images = [(document["key"], image) for document in scores for image in document["images"]]
    assert all(0 <= image["ad"] <= 1 for _, image in images)

    features = saved_features(output / "scores/clip_random")
    first = features[: len(images)]
    assert [(item.key, item.position) for item in first] == [(key, image["position"]) for key, image in images]
    head = load_head(NsfwHead, str(WEIGHTS / "nsfw.pt"), len(first[0].values))
    again = probabilities(head, np.stack([item.values for item in first]).astype(np.float32))
    assert np.abs(again - [image["nsfw"] for _, image in images]).max() < 0.02

    cut = ["cut", "--output", str(output), "--recipe"]
    said = refusal(mmc4(*cut, str(MINIWEB / "miniweb.yaml")))
    assert re.search("--scores: .*clip_clip, clip_random", said)
    recipe = tmp_path / "by-random.yaml"
    recipe.write_text("extends: mmc4\nscores: clip_random\nfilters: {nsfw: null, similarity: {min: -1}}\n")
    succeeded(mmc4(*cut, str(recipe)))
    manifest = orjson.loads((output / "dataset/by-random/manifest.json").read_bytes())
    assert (manifest["input"]["scores"], manifest["recipe"]["scores"]) == ("clip_random", "clip_random")

    both = tmp_path / "both.yaml"
    weights = "{clip_random.similarity: 100, clip_clip.similarity: 0.001}"
    both.write_text(
        f"extends: {MINIWEB}/miniweb.yaml\nscores: [clip_clip, clip_random]\n"
        f"assignment: {{method: max, by: {weights}}}\n"
        "filters: {low: {filter: at_least, column: clip_random.similarity, min: 0}}\n"
    )
    succeeded(mmc4(*cut, str(both)))
    kept = [row for row in pq.read_table(output / "dataset/both/ledger").to_pylist() if row["shard"]]
    assert len(kept) > 20
    for row in kept:  # the matrix with the large weight decides
        assert row["matched_similarity_clip_random"] == pytest.approx(row["best_similarity_clip_random"], abs=1e-4)
    assert any(row["matched_similarity"] < row["best_similarity"] for row in kept)
    assert all(row["best_similarity_clip_random"] >= 0 for row in kept)

    arguments = web.build_arguments(tmp_path / "elsewhere", recipe=str(recipe))
    said = refusal(mmc4("build", *arguments))
    assert re.search("recipe by-random: scores: clip_random, .*clip_clip", said)

    pages = pq.read_table(output / "pages/pages-00000-of-00002.parquet").to_pylist()
    removals = tmp_path / "removals.txt"
    removals.write_text(next(page["url"] for page in pages if page["key"] == images[0][0]))
    succeeded(mmc4("takedown", str(output), "--list", str(removals)))
    left = [item.key for item in saved_features(output / "scores/clip_random")]
    assert left == [item.key for item in features if item.key != images[0][0]]
    assert 0 < len(left) < len(features)


def test_a_resume_with_another_precision_is_refused(built: Path, tmp_path: Path) -> None:
    output = copied(built, tmp_path / "out")
    succeeded(mmc4(*score(output)))
    said = refusal(mmc4(*score(output, "--precision", "bf16", "--resume")))
    assert "precision: was auto, is bf16" in said
