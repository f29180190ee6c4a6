"""A CLIP model small enough for a test: real open_clip, random weights."""

import json
from pathlib import Path

import pytest

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("clip") / "tiny-test-clip.json"
    path.write_text(json.dumps(TINY))
    return str(path)


@pytest.fixture(scope="session")
def tiny_custom(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a config with a separate text tower, like that of SigLIP and many others."""
    path: Path = tmp_path_factory.mktemp("clip") / "tiny-test-custom.json"
    path.write_text(json.dumps({**TINY, "custom_text": True}))
    return str(path)
