"""Which fetched weights a run uses."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from beam_jobs.command_line import OWN_OPTIONS, parse
from beam_jobs.options.score import chosen_scorers
from beam_jobs.score import require_models
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models import catalogue
from mmc4_pipeline.models.folder import identify, models_folder
from mmc4_pipeline.recipe import load_recipe
from mmc4_pipeline.scorers.clip import Clip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MMC4_MODELS", str(tmp_path))
    (tmp_path / "nsfw_torch.pt").write_bytes(b"a head")
    return tmp_path


def nsfw(*argv: str) -> str | None:
    (clip,) = chosen_scorers(parse(list(argv), "mmc4 score", "", OWN_OPTIONS))
    assert isinstance(clip, Clip)
    return clip.nsfw_weights


def test_the_folder_is_the_environment_s_or_the_user_s_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MMC4_MODELS", "/somewhere/else")
    assert models_folder() == Path("/somewhere/else")
    monkeypatch.delenv("MMC4_MODELS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert tmp_path in models_folder().parents


def test_the_fetched_head_is_used_if_it_is_needed_and_fits(folder: Path) -> None:
    assert nsfw() == nsfw("--clip_pretrained", "random") == str(folder / "nsfw_torch.pt")
    assert nsfw("--nsfw_weights", "mine.pt") == "mine.pt"
    assert nsfw("--set", "filters.nsfw=null") is None
    assert nsfw("--clip_model", "ViT-B-32") is None
    assert nsfw("--clip_pretrained", "laion2b_s32b_b82k") is None
    (folder / "mine.pt").write_bytes(b"who knows what this was trained on")
    assert nsfw("--clip_pretrained", str(folder / "mine.pt")) is None
    (folder / "nsfw_torch.pt").unlink()
    assert nsfw() is None


def test_missing_weights_are_refused_with_the_command_that_fetches_them(tmp_path: Path) -> None:
    clip = Clip("ViT-L-14", "random")
    with pytest.raises(UserError, match=r"filters\.nsfw .*--nsfw_weights: .*`mmc4 models fetch` .*nsfw_torch\.pt"):
        require_models(load_recipe("mmc4"), [clip])
    (tmp_path / "nsfw_torch.pt").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"nsfw_torch\.pt: .*sha256 .*`mmc4 models fetch`"):
        require_models(load_recipe("mmc4"), [replace(clip, nsfw_weights=str(tmp_path / "nsfw_torch.pt"))])


def test_a_file_is_identified_by_content_and_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "NSFW", replace(catalogue.NSFW, sha256=hashlib.sha256(b"it").hexdigest()))
    for name in ("nsfw_torch.pt", "copy.pt"):
        (tmp_path / name).write_bytes(b"it")
        assert identify(str(tmp_path / name)) == catalogue.NSFW
    (tmp_path / "mine.pt").write_bytes(b"mine")
    assert identify(str(tmp_path / "mine.pt")) is None
    for file in catalogue.published_files():
        (tmp_path / file.name).write_bytes(b"something else")
        with pytest.raises(UserError, match=rf"{file.name}: .*{file.sha256}.*`mmc4 models fetch`"):
            identify(str(tmp_path / file.name))
