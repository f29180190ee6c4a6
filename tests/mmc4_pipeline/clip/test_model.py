"""CLIP models: random weights are reproducible, and errors name the flag."""

import pickle
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image as PillowImage

from mmc4_pipeline.clip.model import ClipModel, find_device
from mmc4_pipeline.clip.weights import feature_width, require_weights
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models.clip_choice import ClipChoice, file_sha256

IMAGES = [PillowImage.effect_noise((50 + n, 40), 64).convert("RGB") for n in range(3)]
SENTENCES = ["a dog", "a cat on a mat", "a very long sentence " * 50]


def test_random_weights_are_the_same_in_every_run(tiny: str) -> None:
    choice = ClipChoice(tiny, "random")
    torch.manual_seed(99)
    first = ClipModel(choice, "cpu")
    torch.manual_seed(7)
    second = ClipModel(choice, "cpu")
    assert np.array_equal(first.image_features(IMAGES), second.image_features(IMAGES))
    assert np.array_equal(first.text_features(SENTENCES), second.text_features(SENTENCES))


@pytest.mark.parametrize("config", ["tiny", "tiny_custom"])
def test_features_have_length_one_and_the_promised_width(config: str, request: pytest.FixtureRequest) -> None:
    choice = ClipChoice(request.getfixturevalue(config), "random")
    model = ClipModel(choice, "cpu")
    for features in (model.image_features(IMAGES), model.text_features(SENTENCES)):
        assert features.dtype == np.float32
        assert features.shape == (3, model.width) == (3, feature_width(choice)) == (3, 16)
        assert np.allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)


def test_weights_of_a_file_are_those_of_the_file(tiny: str, tmp_path: Path) -> None:
    random = ClipModel(ClipChoice(tiny, "random"), "cpu")  # which registers the config with open_clip
    torch.manual_seed(123)
    other = open_clip.create_model("tiny-test-clip").eval()
    path = tmp_path / "other.pt"
    torch.save(other.state_dict(), path)
    loaded = ClipModel(ClipChoice(tiny, str(path)), "cpu")
    with torch.inference_mode():
        expected = other.encode_text(open_clip.get_tokenizer("tiny-test-clip")(SENTENCES), normalize=True).numpy()
    assert np.allclose(loaded.text_features(SENTENCES), expected, atol=1e-6)
    assert not np.allclose(loaded.text_features(SENTENCES), random.text_features(SENTENCES), atol=1e-3)


class Evil:
    """Would write a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """Return what unpickling would call."""
        return Path.touch, (self._path,)


def test_files_that_do_not_have_the_model_s_weights_are_refused(tiny: str, tmp_path: Path) -> None:
    (tmp_path / "garbage.pt").write_bytes(b"no weights at all")
    (tmp_path / "empty.pt").touch()
    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"weight": Evil(tmp_path / "touched")}))
    torch.save({"visual.conv1.weight": torch.zeros(3)}, tmp_path / "other.pt")
    for name in ("garbage.pt", "empty.pt", "evil.pt", "other.pt"):
        with pytest.raises(UserError, match=rf"--clip_pretrained .*{name}: does not fit --clip_model .*tiny"):
            ClipModel(ClipChoice(tiny, str(tmp_path / name)), "cpu")
    assert not (tmp_path / "touched").exists()


def test_an_unknown_model_is_named(tmp_path: Path) -> None:
    for use in (require_weights, feature_width):
        with pytest.raises(UserError, match="--clip_model ViT-Z-99: "):
            use(ClipChoice("ViT-Z-99", "random"))
    with pytest.raises(UserError, match=r"--clip_model .*missing\.json: no such file"):
        require_weights(ClipChoice(str(tmp_path / "missing.json"), "random"))


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"embed_dim": 16}'])
def test_an_invalid_config_is_named_and_does_not_affect_others(tiny: str, tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken-test-clip.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"--clip_model .*broken-test-clip\.json"):
        require_weights(ClipChoice(str(path), "random"))
    assert feature_width(ClipChoice(tiny, "random")) == 16


def test_an_unknown_tag_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"--clip_pretrained opanai: .*ViT-L-14 .*openai"):
        require_weights(ClipChoice("ViT-L-14", "opanai"))


def test_files_and_random_weights_need_nothing(tiny: str, tmp_path: Path) -> None:
    (tmp_path / "w.pt").touch()
    require_weights(ClipChoice(tiny, "random"))
    require_weights(ClipChoice(tiny, str(tmp_path / "w.pt")))
    assert feature_width(ClipChoice("ViT-L-14", "openai")) == 768


def test_scores_are_distinguished_by_model_and_content_of_the_weights(tiny: str, tmp_path: Path) -> None:
    one, other = tmp_path / "w.pt", tmp_path / "deep" / "w.pt"
    other.parent.mkdir()
    one.write_bytes(b"1")
    other.write_bytes(b"1")
    choice = ClipChoice(tiny, str(one))
    assert choice.name == "tiny-test-clip_w"
    assert ClipChoice("ViT-L-14", "openai").name == "ViT-L-14_openai"
    assert choice.identity() == ClipChoice(tiny, str(other)).identity()
    other.write_bytes(b"2")
    assert choice.identity() != ClipChoice(tiny, str(other)).identity()
    assert file_sha256(str(one)) == "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"  # of "1"


def test_the_device_is_the_requested_one() -> None:
    assert find_device("cpu") == "cpu"
    assert find_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_sentence_s_features_do_not_depend_on_its_batch(tiny: str) -> None:
    model = ClipModel(ClipChoice(tiny, "random"), "cpu")
    sentences = ["A dog.", "", "word " * 500, "A long sentence about many things that goes on for a while.", "A dog."]
    together = model.text_features(sentences)
    alone = [model.text_features([sentence])[0] for sentence in sentences]
    assert np.allclose(together, alone, atol=1e-5)
    assert np.array_equal(together[0], together[4])
