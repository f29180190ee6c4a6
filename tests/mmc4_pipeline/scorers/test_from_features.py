"""Scorers that read what CLIP has stored: LAION's aesthetic predictor, and how similar a document's images are."""

import hashlib
import itertools
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models import catalogue
from mmc4_pipeline.scorers.aesthetic import Aesthetic
from mmc4_pipeline.scorers.image_sequence import ImageSequence
from mmc4_pipeline.scoring.base import Machine
from mmc4_pipeline.scoring.shard import Features, Shard
from schemas.image import Image
from tests.mmc4_pipeline.one_shard import shard_of
from tests.pages import new_page

WIDTH = 8


def features_of(*places: tuple[str, int]) -> Features:
    generator = np.random.default_rng(3)
    rows = {place: generator.normal(0.5, 1, WIDTH) for place in places}
    return {place: (row / np.linalg.norm(row)).astype(np.float16) for place, row in rows.items()}


def shard(images: dict[str, int], features: Features, name: str = "clip") -> Shard:
    """Return a shard of documents with that many images; nothing of the images' bytes is read."""
    stored = [Image(key, position, "u") for key, number in images.items() for position in range(number)]
    return shard_of([new_page(key, ["A."]) for key in images], stored, BytesIO(), features={name: features})


def test_document_scores_are_the_means_of_all_and_of_neighbouring_pairs() -> None:
    features = features_of(*(("five", at) for at in range(5)), ("two", 0), ("two", 1), ("one", 0), ("broken", 0))
    found = ImageSequence().load(Machine()).score_shard(shard({"five": 5, "two": 2, "one": 1, "broken": 3}, features))
    assert [document.key for document in found.documents] == ["five", "two", "one", "broken"]
    rows = [features["five", at].astype(np.float64) for at in range(5)]
    rows = [row / np.linalg.norm(row) for row in rows]
    every = np.mean([one @ other for one, other in itertools.combinations(rows, 2)])
    neighbours = np.mean([one @ other for one, other in itertools.pairwise(rows)])
    five, two, *without = (document.values for document in found.documents)
    assert five["in_sample_similarity"] == pytest.approx(every)
    assert five["image_sequence"] == pytest.approx(neighbours - every)
    assert two["image_sequence"] == pytest.approx(0)
    assert without == [{}, {}]


def test_images_in_an_order_have_a_higher_sequence_score_than_shuffled_ones() -> None:
    angles = np.linspace(0, np.pi / 2, 7)
    line = [np.array([np.cos(angle), np.sin(angle)]) for angle in angles]
    scores = []
    for order in (range(7), (3, 0, 5, 1, 6, 2, 4)):
        features = {("d", at): line[number] for at, number in enumerate(order)}
        (document,) = ImageSequence().score_shard(shard({"d": 7}, features)).documents
        scores.append((document.values["image_sequence"], document.values["in_sample_similarity"]))
    assert scores[0][0] > 0 > scores[1][0]
    assert scores[0][1] == pytest.approx(scores[1][1])


@pytest.fixture
def head(tmp_path: Path) -> torch.nn.Linear:
    torch.manual_seed(5)
    head = torch.nn.Linear(WIDTH, 1)
    torch.save(head.state_dict(), tmp_path / "sa_0_4_vit_l_14_linear.pth")
    return head


def test_aesthetic_scores_are_those_of_the_linear_layer(
    head: torch.nn.Linear, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMC4_MODELS", str(tmp_path))
    scorer = Aesthetic()
    scorer.check()
    assert scorer.plan()["settings"] == {
        "clip": "ViT-L-14_openai",
        "weights": hashlib.sha256((tmp_path / "sa_0_4_vit_l_14_linear.pth").read_bytes()).hexdigest(),
    }
    features = features_of(("d", 0), ("d", 1), ("d", 3))
    (document,) = scorer.load(Machine()).score_shard(shard({"d": 4}, features, "ViT-L-14_openai")).documents
    for image in document.images:
        if image.position == 2:
            assert image.values == {}
            continue
        row = torch.from_numpy(features["d", image.position].astype(np.float32))
        expected = head(torch.nn.functional.normalize(row, dim=0)).item()
        assert image.number("aesthetic") == pytest.approx(expected, abs=1e-5)


@pytest.mark.usefixtures("head")
def test_aesthetic_weights_that_cannot_be_used_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMC4_MODELS", str(tmp_path))
    wide = {("d", 0): np.ones(2 * WIDTH)}
    with pytest.raises(UserError, match=rf"{2 * WIDTH} .*{WIDTH}"):
        Aesthetic().load(Machine()).score_shard(shard({"d": 1}, wide, "ViT-L-14_openai"))
    file = tmp_path / catalogue.AESTHETIC.name
    torch.save([1], file)
    with pytest.raises(UserError, match=rf"{file}: "):
        Aesthetic().check()
    file.unlink()
    with pytest.raises(UserError, match=rf"{file} .*`mmc4 models fetch --scorer aesthetic`"):
        Aesthetic().check()
