"""`mmc4 models fetch` as users run it."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmc4_pipeline.clip.heads import NsfwHead
from mmc4_pipeline.clip.weights import require_weights
from mmc4_pipeline.models import catalogue
from mmc4_pipeline.models.clip_choice import ClipChoice
from mmc4_pipeline.models.folder import clip_weights
from mmc4_pipeline.models.hub import fetched_model
from tests.end_to_end.running import mmc4, refusal, succeeded
from tests.mmc4_pipeline.file_server import FileServer
from tests.mmc4_pipeline.hub import hub_model

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


FILES = {
    "README.md": b"about",
    "config.json": b"{}",
    "vocab.txt": b"a",
    "pytorch_model.bin": b"pickled" * 9,
    "model-00001-of-00002.safetensors": b"one" * 999,
    "model-00002-of-00002.safetensors": b"two" * 999,
    "model.safetensors.index.json": json.dumps(
        {"weight_map": {name: f"model-0000{name}-of-00002.safetensors" for name in "12"}}
    ).encode(),
    "pytorch_model.bin.index.json": b"{}",
    "onnx/config.json": b"{}",
}


def test_scorers_models_are_fetched_from_the_hub_and_their_heads_from_elsewhere(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MMC4_MODELS", str(tmp_path))
    name = catalogue.BLIP_ITM.name
    server = serve({**hub_model(name, FILES), "/linear.pth": b"head"})
    monkeypatch.setattr("mmc4_pipeline.models.hub.HUB", server.address)
    monkeypatch.setattr(catalogue, "AESTHETIC", replace(catalogue.AESTHETIC, url=f"{server.address}/linear.pth"))
    command = ("models", "fetch", "--scorer", "blip_itm", "aesthetic")

    path = f"/{name}/resolve/c0ffee/model-00002-of-00002.safetensors"
    server.files[path] = b"six" * 999
    run = mmc4(*command)
    assert f"{tmp_path}: 1 of 6 files " in refusal(run)
    assert hashlib.sha256(FILES["model-00002-of-00002.safetensors"]).hexdigest() in run.stdout
    assert fetched_model(name) is None

    server.files[path] = FILES["model-00002-of-00002.safetensors"]
    lines = succeeded(mmc4(*command)).stdout.splitlines()
    assert fetched_model(name) == str(tmp_path / name)
    kept = {
        str(path.relative_to(tmp_path / name)): path.read_bytes()
        for path in (tmp_path / name).rglob("*")
        if path.suffix != ".lock"
    }
    assert kept == {key: FILES[key] for key in FILES if not key.startswith(("README", "pytorch", "onnx"))}
    assert (tmp_path / "sa_0_4_vit_l_14_linear.pth").read_bytes() == b"head"
    assert sum("licence BSD-3-Clause" in line for line in lines) == 5
    assert [": already " in line for line in lines] == [True] * 4 + [False, True]


def test_offline_the_files_of_a_hub_model_are_named_with_their_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, serve: Serve
) -> None:
    serve({})
    monkeypatch.setenv("MMC4_MODELS", str(tmp_path))
    monkeypatch.setattr("mmc4_pipeline.models.hub.HUB", "http://127.0.0.1:1")
    run = mmc4("models", "fetch", "--scorer", "blip2:clip_model=ViT-B-16")
    assert "1 of 1 files " in run.stderr.splitlines()[-1]
    (line,) = run.stdout.splitlines()
    assert line.startswith("Salesforce/blip2-opt-2.7b: ")
    assert "*.safetensors" in line
    assert "https://huggingface.co/Salesforce/blip2-opt-2.7b/tree/main" in line
    assert line.endswith(f"{tmp_path}/Salesforce/blip2-opt-2.7b")


def test_a_recipe_of_another_clip_does_not_fetch_the_default_one(server: FileServer, tmp_path: Path) -> None:
    recipe = tmp_path / "siglip.yaml"
    recipe.write_text("extends: mmc4-datacomp\nscores: ViT-B-16-SigLIP_webli\n")
    (line,) = succeeded(mmc4("models", "fetch", "--recipe", str(recipe))).stdout.splitlines()
    assert "ViT-B-16-SigLIP_webli" in line
    assert "--clip_pretrained PATH" in line
    assert server.requests == []
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("name", catalogue.DATACOMP_CLIP.weights)
def test_a_clip_on_the_hub_is_fetched_and_found_by_its_tag(
    name: str, serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MMC4_MODELS", str(tmp_path))
    clip = ClipChoice(*catalogue.DATACOMP_CLIP_IDENTITY.values())
    assert clip_weights(clip) is None
    repository = catalogue.DATACOMP_CLIP.name
    server = serve(hub_model(repository, {**FILES, name: b"weights"}))
    monkeypatch.setattr("mmc4_pipeline.models.hub.HUB", server.address)
    (line,) = succeeded(mmc4("models", "fetch", "--recipe", "mmc4-datacomp")).stdout.splitlines()
    assert "sha256 checked" in line
    assert clip_weights(clip) == str(tmp_path / repository / name)
    assert clip.identity() == catalogue.DATACOMP_CLIP_IDENTITY  # scores don't depend on where the weights came from
    server.files.clear()
    require_weights(clip)


def test_usage() -> None:
    assert "--models_folder" in succeeded(mmc4("models", "fetch", "--help")).stdout
    assert mmc4("models").returncode == 2
    assert "recipe mmc5: " in refusal(mmc4("models", "fetch", "--recipe", "mmc5"))
