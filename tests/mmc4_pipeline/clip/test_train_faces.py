"""A face head is trained on a detector's results; its threshold has the requested recall on held-out images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from mmc4_pipeline.clip.face_sample import Examples
from mmc4_pipeline.clip.heads import FaceHead, load_head, probabilities, save_head
from mmc4_pipeline.clip.model import ClipModel
from mmc4_pipeline.clip.train_faces import MINIMUM, train_face_head
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.miniweb import drawing, models
from mmc4_pipeline.miniweb.drawing import COLOURS, FACE_COLOURS, SHAPES, TEXTURES, Scene
from mmc4_pipeline.models.clip_choice import ClipChoice
from mmc4_pipeline.recipe import FaceHeadSettings

CLIP = ClipChoice(str(models.WEIGHTS / "clip.json"), str(models.WEIGHTS / "clip.pt"))
HALF = FaceHeadSettings(recall=0.9, held_out=0.5)


def picture(seed: int) -> PillowImage.Image:
    """Draw a picture of the miniature web; every third is a face."""
    random = np.random.default_rng([17, seed])
    width, height = (int(side) for side in random.integers(70, 130, 2))
    if seed % 3 == 0:
        scene = Scene(str(random.choice(FACE_COLOURS)), "face", "plain", seed)
    else:
        scene = Scene(*(str(random.choice(names)) for names in (list(COLOURS), SHAPES, TEXTURES)), seed)
    return PillowImage.fromarray(drawing.draw(scene, width, height))


@pytest.fixture(scope="module")
def drawn() -> Examples:
    """Return 600 pictures of 50 sites."""
    model, pictures = ClipModel(CLIP, "cpu"), [picture(seed) for seed in range(600)]
    features = np.concatenate([model.image_features(pictures[at : at + 50]) for at in range(0, 600, 50)])
    return Examples(features, np.arange(600) % 3 == 0, [f"{number % 50}.example" for number in range(600)])


def part(examples: Examples, chosen: slice) -> Examples:
    return Examples(examples.features[chosen], examples.has_face[chosen], examples.sites[chosen])


def test_the_recall_holds_for_pictures_that_had_no_part_in_training(drawn: Examples) -> None:
    learned, fresh = part(drawn, slice(300)), part(drawn, slice(300, 600))
    trained = train_face_head(learned, HALF, seed=0)
    assert 0.9 <= trained.figures["recall"] <= 0.9 + 1 / trained.figures["held_out"]["faces"]
    flagged = probabilities(trained.head, fresh.features) > 0.5
    deviation = np.sqrt(0.9 * 0.1 * (1 / 100 + 1 / trained.figures["held_out"]["faces"]))
    assert abs(flagged[fresh.has_face].mean() - 0.9) < 3 * deviation
    assert flagged[~fresh.has_face].mean() < 0.05


def test_figures_are_those_of_the_sites_held_out(drawn: Examples) -> None:
    trained = train_face_head(drawn, HALF, seed=3)
    learned, held = trained.figures["trained_on"], trained.figures["held_out"]
    assert learned["images"] + held["images"] == 600
    assert learned["faces"] + held["faces"] == 200
    assert learned["sites"] + held["sites"] == 50  # none is in both
    assert 0.3 < held["sites"] / 50 < 0.7
    flagged = probabilities(trained.head, drawn.features) > 0.5
    assert trained.figures["flagged"] * held["images"] <= flagged.sum()
    assert 0 < trained.figures["cutoff"] < 1
    everything = train_face_head(drawn, FaceHeadSettings(recall=1.0, held_out=0.5), seed=3)
    assert everything.figures["recall"] == 1.0
    assert everything.figures["flagged"] > trained.figures["flagged"]


def test_the_same_examples_and_seed_give_the_same_file(drawn: Examples, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        save_head(train_face_head(drawn, HALF, seed).head, str(tmp_path / f"{name}.pt"), CLIP)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes() != (tmp_path / "c.pt").read_bytes()
    loaded = load_head(FaceHead, str(tmp_path / "a.pt"), drawn.features.shape[1], CLIP)
    again = train_face_head(drawn, HALF, 0).head
    assert np.array_equal(probabilities(loaded, drawn.features), probabilities(again, drawn.features))


@pytest.mark.parametrize(
    ("faces", "what"), [(0, "with a face"), (2 * MINIMUM - 1, "with a face"), (590, "without a face")]
)
def test_of_too_few_nothing_is_learned(drawn: Examples, faces: int, what: str) -> None:
    few = Examples(drawn.features, np.arange(600) < faces, drawn.sites)
    with pytest.raises(UserError, match=rf"too few images {what}: \d+ .* \d+ .*{MINIMUM}.*face_head\.sample"):
        train_face_head(few, HALF, seed=0)


def test_one_site_can_not_be_split(drawn: Examples) -> None:
    alone = Examples(drawn.features, drawn.has_face, ["a.example"] * 600)
    with pytest.raises(UserError, match=r"too few images .* 0 .*face_head\.sample"):
        train_face_head(alone, HALF, seed=0)
