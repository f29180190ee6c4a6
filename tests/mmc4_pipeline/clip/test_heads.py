"""The heads: the published weights give the published scores, and other files are refused."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mmc4_pipeline.clip.heads import FaceHead, NsfwHead, load_head, probabilities, save_head
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models import catalogue
from mmc4_pipeline.models.clip_choice import ClipChoice, file_sha256

MODELS = Path(__file__).parents[4] / "shared" / "models"


@pytest.mark.skipif(not (MODELS / "nsfw_clip_l14.pt").is_file(), reason="the published weights are not here")
def test_the_published_nsfw_head_gives_its_reference_scores() -> None:
    head = load_head(NsfwHead, str(MODELS / "nsfw_clip_l14.pt"), 768)
    reference = np.load(MODELS / "nsfw_clip_l14_reference.npz")
    features, expected = reference["features"], reference["scores"]
    scores = probabilities(head, features)
    assert len(scores) > 0
    assert np.abs(scores - expected.reshape(-1)).max() < 1e-5


def test_a_face_head_is_a_logistic_regression(tmp_path: Path) -> None:
    weight, bias = torch.tensor([[1.0, -2.0, 0.5]]), torch.tensor([0.25])
    torch.save({"linear.weight": weight, "linear.bias": bias}, tmp_path / "face.pt")
    head = load_head(FaceHead, str(tmp_path / "face.pt"), 3)
    features = np.array([[1, 0, 0], [0, 1, 0], [0, 0, -0.5]], np.float32)
    expected = 1 / (1 + np.exp(-np.array([1.25, -1.75, 0.0])))
    assert np.allclose(probabilities(head, features), expected, atol=1e-6)


@pytest.mark.parametrize("head", [NsfwHead, FaceHead])
def test_a_saved_head_comes_back_and_takes_any_number_of_images(
    tmp_path: Path, head: type[NsfwHead | FaceHead]
) -> None:
    torch.manual_seed(1)
    made = head(16).eval()
    torch.save(made.state_dict(), tmp_path / "head.pt")
    loaded = load_head(head, str(tmp_path / "head.pt"), 16)
    features = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32)
    together = probabilities(loaded, features)
    assert together.shape == (5,)
    assert ((together >= 0) & (together <= 1)).all()
    one_by_one = np.concatenate([probabilities(loaded, row[None]) for row in features])
    assert np.allclose(together, one_by_one, atol=1e-6)
    assert np.allclose(together, probabilities(made, features))
    assert probabilities(loaded, np.zeros((0, 16), np.float32)).shape == (0,)


class Evil:
    """Would write a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """Return what unpickling would call."""
        return Path.touch, (self._path,)


@pytest.mark.parametrize("head", [NsfwHead, FaceHead])
def test_other_files_are_refused_by_name(tmp_path: Path, head: type[NsfwHead | FaceHead]) -> None:
    torch.save(head(32).state_dict(), tmp_path / "wide.pt")
    torch.save((FaceHead if head is NsfwHead else NsfwHead)(16).state_dict(), tmp_path / "other.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "garbage.pt").write_bytes(b"garbage")
    (tmp_path / "empty.pt").touch()
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil(tmp_path / "touched")))
    for name in ("wide", "other", "list", "garbage", "empty", "evil"):
        with pytest.raises(UserError, match=rf"{name}\.pt: .*{head.__name__} .*16"):
            load_head(head, str(tmp_path / f"{name}.pt"), 16)
    assert not (tmp_path / "touched").exists()
    with pytest.raises(UserError, match=r"missing\.pt: no such file"):
        load_head(head, str(tmp_path / "missing.pt"), 16)


def test_a_head_names_the_clip_it_was_made_for(tmp_path: Path) -> None:
    (tmp_path / "clip.pt").write_bytes(b"a user's own CLIP")
    (tmp_path / "other.pt").write_bytes(b"another")
    by_tag, by_content = ClipChoice("ViT-L-14", "openai"), ClipChoice("ViT-L-14", str(tmp_path / "clip.pt"))
    path = str(tmp_path / "heads" / "face.pt")
    for made_for, fits, others in (
        (
            by_tag,
            (by_tag, by_content, ClipChoice("ViT-L-14", "random"), ClipChoice("ViT-L-14-quickgelu", "openai")),
            (ClipChoice("ViT-L-14", "laion2b_s32b_b82k"), ClipChoice("ViT-B-32", "openai")),
        ),
        (by_content, (by_content,), (ClipChoice("ViT-L-14", str(tmp_path / "other.pt")),)),
    ):
        head = FaceHead(16).eval()
        save_head(head, path, made_for)
        features = np.eye(16, dtype=np.float32)
        for clip in (None, *fits):
            assert np.array_equal(
                probabilities(load_head(FaceHead, path, 16, clip), features), probabilities(head, features)
            )
        for clip in others:
            with pytest.raises(UserError, match=r"face\.pt: .*ViT-L-14 .*, not for "):
                load_head(FaceHead, path, 16, clip)


@pytest.mark.parametrize("made_for", ["ViT-L-14", {"model": "ViT-L-14"}, None])
def test_a_head_with_an_invalid_clip_is_refused(tmp_path: Path, made_for: object) -> None:
    torch.save({**FaceHead(16).state_dict(), "clip": made_for}, tmp_path / "face.pt")
    with pytest.raises(UserError, match=r"face\.pt: .*FaceHead"):
        load_head(FaceHead, str(tmp_path / "face.pt"), 16)


def test_the_published_head_is_for_its_clip_and_has_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "nsfw_torch.pt"
    torch.save(NsfwHead(768).state_dict(), path)
    with pytest.raises(UserError, match=r"nsfw_torch\.pt: .*sha256 .*3c97d5"):
        load_head(NsfwHead, str(path), 768)
    monkeypatch.setattr(catalogue, "NSFW", replace(catalogue.NSFW, sha256=file_sha256(str(path))))
    path.rename(tmp_path / "renamed.pt")  # identified by its content
    for name in ("openai", "random"):
        load_head(NsfwHead, str(tmp_path / "renamed.pt"), 768, ClipChoice("ViT-L-14", name))
    with pytest.raises(UserError, match=r"ViT-L-14 .*openai, not for ViT-L-14 .*laion2b"):
        load_head(NsfwHead, str(tmp_path / "renamed.pt"), 768, ClipChoice("ViT-L-14", "laion2b_s32b_b82k"))
