"""OpenAI's own file of weights, as published: a TorchScript archive in half precision, with QuickGELU."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image as PillowImage
from torch import nn

from mmc4_pipeline.clip.model import ClipModel
from mmc4_pipeline.clip.weights import require_weights
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models import catalogue
from mmc4_pipeline.models.clip_choice import ClipChoice, file_sha256
from tests.mmc4_pipeline.clip.openai_archive import archive

IMAGES = [PillowImage.effect_noise((50, 40), 64).convert("RGB")]
SENTENCES = ["a dog"]


@pytest.fixture
def quick(tiny: str, tmp_path: Path) -> nn.Module:
    """Return a model with QuickGELU and weights that half precision represents exactly."""
    config = json.loads(Path(tiny).read_text())
    (tmp_path / "tiny-test-quick.json").write_text(json.dumps({**config, "quick_gelu": True}))
    open_clip.add_model_config(tmp_path / "tiny-test-quick.json")
    torch.manual_seed(11)
    model = open_clip.create_model("tiny-test-quick")
    model.load_state_dict({name: value.half().float() * 3 for name, value in model.state_dict().items()})
    model.load_state_dict({name: value.half().float() for name, value in model.state_dict().items()})
    return model.eval()


def assert_same(ours: ClipModel, model: nn.Module) -> None:
    tokens = open_clip.get_tokenizer("tiny-test-quick")(SENTENCES)
    pixels = open_clip.image_transform(32, is_train=False, resize_mode="shortest", interpolation="bicubic")(IMAGES[0])
    with torch.inference_mode():
        assert np.allclose(ours.text_features(SENTENCES), model.encode_text(tokens, normalize=True), atol=1e-6)
        assert np.allclose(ours.image_features(IMAGES), model.encode_image(pixels[None], normalize=True), atol=1e-6)


def test_the_archive_gives_the_features_of_the_model_that_was_published(
    quick: nn.Module, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "anything.pt"
    archive(quick, path)
    monkeypatch.setattr(catalogue, "CLIP", replace(catalogue.CLIP, sha256=file_sha256(str(path))))
    choice = ClipChoice(tiny, str(path))
    require_weights(choice)
    assert_same(ClipModel(choice, "cpu"), quick)
    assert choice.identity()["weights"] == "openai"


@pytest.mark.parametrize("name", ["CLIP", "SMALL_CLIP"])
def test_the_fetched_archive_is_used_for_its_tag(
    quick: nn.Module, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    published = getattr(catalogue, name)
    path = tmp_path / "models" / published.name
    path.parent.mkdir()
    archive(quick, path)
    monkeypatch.setenv("MMC4_MODELS", str(path.parent))
    monkeypatch.setattr(catalogue, name, replace(published, sha256=file_sha256(str(path))))
    monkeypatch.setattr(catalogue, f"{name}_IDENTITY", {"model": "tiny-test-clip", "weights": "openai"})
    choice = ClipChoice(tiny, "openai")
    require_weights(choice)
    assert_same(ClipModel(choice, "cpu"), quick)
    assert choice.name == "tiny-test-clip_openai"
    path.write_bytes(path.read_bytes() + b"!")
    for use in (require_weights, lambda choice: ClipModel(choice, "cpu")):
        with pytest.raises(UserError, match=r"ViT-[BL]-\d+\.pt: .*sha256 .*`mmc4 models fetch`"):
            use(choice)


def test_another_archive_is_refused(quick: nn.Module, tiny: str, tmp_path: Path) -> None:
    archive(quick, tmp_path / "anything.pt")
    with pytest.raises(UserError, match=r"anything\.pt: .*--clip_model"):
        ClipModel(ClipChoice(tiny, str(tmp_path / "anything.pt")), "cpu")


def test_a_tag_whose_weights_were_trained_with_quick_gelu_is_computed_with_it(
    quick: nn.Module, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(quick.state_dict(), tmp_path / "w.pt")
    planted = {"planted": {"file": str(tmp_path / "w.pt"), "quick_gelu": True}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny-test-clip", planted)  # noqa: SLF001 - open_clip's table of tags
    assert_same(ClipModel(ClipChoice(tiny, "planted"), "cpu"), quick)
    assert open_clip.get_pretrained_cfg("ViT-L-14", "openai")["quick_gelu"]
