"""A face head is trained on one web and drops the faces of another.

The faces of these webs are drawings, which no detector finds, so its results are replaced by the truth about the webs.
"""

import re
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from mmc4_pipeline import storage
from mmc4_pipeline.miniweb.generate import generate
from mmc4_pipeline.miniweb.serve import serving
from mmc4_pipeline.models.clip_choice import file_sha256
from mmc4_pipeline.scoring.files import read_scores
from schemas.columns import CLIP_COLUMNS
from schemas.image import Image
from tests.end_to_end.running import WEIGHTS, Web, mmc4, refusal, succeeded
from tests.mmc4_pipeline.images.yunet import write_yunet

CLIP = ("--clip_model", str(WEIGHTS / "clip.json"), "--clip_pretrained", str(WEIGHTS / "clip.pt"))
DETECT = ("--set", "face_detector.every_image=true", "--set", "face_detector.model=auto")
BOX = [10.0, 20.0, 30.5, 40.0, 0.9]


@pytest.fixture(autouse=True)
def _no_models_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMC4_MODELS", str(tmp_path / "no models"))


def faces_of(folder: Path) -> set[str]:
    """Return the URLs of the faces in a web."""
    links = orjson.loads((folder / "truth.json").read_bytes())["links"]
    return {link["image_url"] for link in links if link["kind"] == "face"}


def plant_boxes(output: Path, web: Path) -> None:
    """Replace the detections of the images stage by the truth, for every stored image."""
    faces = faces_of(web)
    for path in (output / "images").glob("images-*.parquet"):
        images = [
            replace(image, face_detections=None if image.offset is None else [BOX] * (image.url in faces))
            for image in storage.read_records(str(path), Image)
        ]
        storage.write_records(str(path), images, Image)


@pytest.fixture(scope="module")
def other_web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    folder = tmp_path_factory.mktemp("other")
    generate(folder, pages=320, seed=77)
    with serving(folder) as address:
        yield Web(folder, address)


@pytest.fixture(scope="module")
def learned_from(other_web: Web, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the stages up to images with face detection (of large faces only, to save time); return the output folder."""
    output = tmp_path_factory.mktemp("learned") / "out"
    for stage in ("locate", "pages"):
        succeeded(mmc4(*other_web.stage(stage, output)))
    quick = ("--set", "face_detector.max_side=64", "--set", "face_detector.min_share=0.5")
    images = (*other_web.stage("images", output), *DETECT, *quick)
    succeeded(mmc4(*images))
    manifest = orjson.loads((output / "images/manifest.json").read_bytes())
    assert manifest["face_detector"]["detector"] == "cascade"
    assert manifest["face_detector"]["max_side"] == 64
    searched = [image for path in (output / "images").glob("images-*.parquet") for image in read_images(path)]
    assert {image.face_detections is not None for image in searched if image.reason is None} == {True}

    error = refusal(mmc4(*images, "--resume", "--face_detector_weights", write_yunet(output.parent / "yunet.onnx")))
    assert re.search(r"face_detector\.detector\b.*\bcascade\b.*\byunet\b", error)
    error = refusal(mmc4(*images[:-1], "face_detector.min_share=0.4", "--resume"))
    assert re.search(r"face_detector\.min_share\b.*\b0\.5\b.*\b0\.4\b", error)
    plant_boxes(output, other_web.folder)
    return output


def read_images(path: Path) -> list[Image]:
    return list(storage.read_records(str(path), Image))


def train(output: Path, head: Path, *more: str) -> dict[str, Any]:
    given = ("--output", str(output), "--head", str(head), "--set", "face_head.held_out=0.5", *CLIP, *more)
    assert str(head) in succeeded(mmc4("train_faces", *given)).stdout
    return orjson.loads(head.with_suffix(".json").read_bytes())  # type: ignore[no-any-return]


def test_a_head_finds_faces_on_pages_that_it_was_not_trained_on(
    learned_from: Path, web: Web, built: Path, tmp_path: Path
) -> None:
    head = tmp_path / "heads" / "face_head.pt"
    figures = train(learned_from, head)
    assert figures["head"] == {"name": "face_head.pt", "sha256": file_sha256(str(head))}
    assert figures["recall"] >= figures["wanted_recall"] == 0.95
    assert figures["precision"] > 0.8
    assert figures["detector"]["detector"] == "cascade"
    assert min(figures[part]["faces"] for part in ("trained_on", "held_out")) >= 20

    output = tmp_path / "out"
    for stage in ("locations", "pages", "images"):
        shutil.copytree(built / stage, output / stage)
    plant_boxes(output, web.folder)
    weights = ("--nsfw_weights", str(WEIGHTS / "nsfw.pt"), "--face_weights", str(head))
    succeeded(mmc4("score", "--output", str(output), *CLIP, *weights))
    probabilities = scored(output)
    planted = faces_of(web.folder)
    found = [probability > 0.5 for url, probability in probabilities.items() if url in planted]
    wrong = [probability > 0.5 for url, probability in probabilities.items() if url not in planted]
    assert len(found) >= 10
    assert sum(found) >= len(found) - 2  # at a recall of 95%, missing three of a dozen is unlikely
    assert sum(wrong) <= 0.05 * len(wrong)

    for recipe in ("mmc4", "mmc4-ff"):
        succeeded(mmc4("cut", "--output", str(output), "--recipe", recipe))
    every, fewer = boxes(output / "dataset/mmc4"), boxes(output / "dataset/mmc4-ff")
    assert {url for url, faces in every.items() if faces == [BOX]} == planted & every.keys() != set()
    assert {faces is None for url, faces in every.items() if url not in planted} == {True}
    assert fewer.keys() < every.keys()
    missed = {url for url, probability in probabilities.items() if probability <= 0.5}
    assert fewer.keys() & planted <= missed


def scored(output: Path) -> dict[str, float]:
    """Return the face probability of each scored image, by its URL."""
    urls = {
        (i.key, i.position): i.url for path in (output / "images").glob("images-*.parquet") for i in read_images(path)
    }
    return {
        urls[document.key, score.position]: face
        for path in output.glob("scores/*/scores-*.parquet")
        for document in read_scores(str(path), CLIP_COLUMNS)
        for score in document.images
        if (face := score.number("face")) is not None
    }


def boxes(dataset: Path) -> dict[str, Any]:
    """Return the face_detections of each image of a dataset, by its URL."""
    found = {}
    for path in dataset.glob("shard-*.tar"):
        with tarfile.open(path) as tar:
            documents = [orjson.loads(tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
        found |= {info["raw_url"]: info["face_detections"] for document in documents for info in document["image_info"]}
    return found


def test_training_is_refused_with_the_reason(learned_from: Path, built: Path, tmp_path: Path) -> None:
    head = ("--head", str(tmp_path / "face_head.pt"), *CLIP)
    few = refusal(mmc4("train_faces", "--output", str(built), *head, "--set", "face_head.sample=60"))
    assert "--set face_head.sample=" in few
    small = ("--output", str(learned_from), "--set", "face_head.sample=30")
    assert "--set face_head.sample=" in refusal(mmc4("train_faces", *small, *head))
    nowhere = refusal(mmc4("train_faces", "--output", str(tmp_path / "nowhere"), *head))
    assert "`mmc4 images`" in nowhere
    assert ".pt" in refusal(mmc4("train_faces", "--output", str(built), "--head", str(tmp_path / "face.json")))
    assert list(tmp_path.iterdir()) == []


def test_the_manifest_names_the_detector_and_cut_refuses_a_detector_that_did_not_run(built: Path) -> None:
    error = refusal(mmc4("cut", "--output", str(built), "--recipe", "mmc4", "--set", "face_detector.every_image=true"))
    assert "face_detector.every_image: true" in error
    assert orjson.loads((built / "dataset/miniweb/manifest.json").read_bytes())["face_detector"] is None
