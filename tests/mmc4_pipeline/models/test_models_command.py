"""`mmc4 models fetch` as users run it."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmc4_pipeline.clip.heads import NsfwHead
from mmc4_pipeline.models import catalogue
from tests.end_to_end.running import mmc4, refusal, succeeded
from tests.mmc4_pipeline.file_server import FileServer

Serve = Callable[[dict[str, bytes]], FileServer]


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, bytes]:
    """Return small files that stand in for the published ones."""
    torch.manual_seed(3)
    torch.save(NsfwHead(768).state_dict(), tmp_path / "head")
    monkeypatch.setenv("MMC4_MODELS", str(tmp_path / "models"))
    return {"/ViT-L-14.pt": b"clip" * 1000, "/nsfw_torch.pt": (tmp_path / "head").read_bytes(), "/yunet.onnx": b"yunet"}


@pytest.fixture
def server(serve: Serve, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> FileServer:
    server = serve(dict(files))
    for name, (path, content) in zip(("CLIP", "NSFW", "FACE_DETECTOR"), files.items(), strict=True):
        sha256 = hashlib.sha256(content).hexdigest()
        published = replace(getattr(catalogue, name), url=server.address + path, sha256=sha256)
        monkeypatch.setattr(catalogue, name, published)
    return server


def test_everything_a_recipe_needs_is_fetched_once(server: FileServer, files: dict[str, bytes], tmp_path: Path) -> None:
    lines = succeeded(mmc4("models", "fetch", "--recipe", "mmc4-ff")).stdout.splitlines()
    models = tmp_path / "models"
    for name, path in zip(("ViT-L-14.pt", "nsfw_torch.pt", "face_detection_yunet_2023mar.onnx"), files, strict=True):
        assert (models / name).read_bytes() == files[path]
        line = next(line for line in lines if line.startswith(f"{models}/{name}: "))
        assert f"from {server.address}{path}" in line
        assert "licence MIT" in line
    assert "`mmc4 train_faces`" in lines[-1]
    server.requests.clear()
    again = succeeded(mmc4("models", "fetch")).stdout.splitlines()
    assert [": already " in line for line in again] == [True, True]
    assert server.requests == []


def test_for_another_folder_the_environment_variable_is_printed(server: FileServer, tmp_path: Path) -> None:
    server.files["/ViT-L-14.pt"] = b"wrong"
    run = mmc4("models", "fetch", "--models_folder", str(tmp_path / "elsewhere"))
    assert f"{tmp_path}/elsewhere: 1 of 2 files " in refusal(run)
    assert len(run.stdout.splitlines()) == 2  # the other file was fetched nevertheless
    assert (tmp_path / "elsewhere" / "nsfw_torch.pt").exists()
    server.files["/ViT-L-14.pt"] = b"clip" * 1000
    out = succeeded(mmc4("models", "fetch", "--models_folder", str(tmp_path / "elsewhere"))).stdout
    assert f"export MMC4_MODELS={tmp_path}/elsewhere" in out
    assert not (tmp_path / "models").exists()


def test_offline_there_is_one_line_per_file_with_its_place(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    serve({})  # its fixture shortens the client's retries
    monkeypatch.setenv("MMC4_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    run = mmc4("models", "fetch", "--recipe", "mmc4-ff")
    *warnings, message = run.stderr.splitlines()
    assert "3 of 3 files " in message
    assert all(" WARNING " in line and "retrying in" in line for line in warnings)
    needed = (catalogue.CLIP, catalogue.NSFW, catalogue.FACE_DETECTOR)
    for line, file in zip(run.stdout.splitlines(), needed, strict=True):
        assert line.startswith(f"{file.name}: ")
        assert f"{file.url} (sha256 {file.sha256})" in line
        assert line.endswith(f" {tmp_path}/models/{file.name}")


def test_usage() -> None:
    assert "--models_folder" in succeeded(mmc4("models", "fetch", "--help")).stdout
    assert mmc4("models").returncode == 2
    assert "recipe mmc5: " in refusal(mmc4("models", "fetch", "--recipe", "mmc5"))
