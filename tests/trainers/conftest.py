"""The dataset that trainers read, in every format, built from a miniature web; and its documents."""

import base64
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.end_to_end.conftest import built, web
from tests.end_to_end.running import RECIPE, mmc4, succeeded

__all__ = ["built", "web"]
FORMATS = ("openflamingo", "webdataset", "energon", "parquet", "mds", "chat_jsonl:template=ms_swift")


@pytest.fixture(scope="session")
def dataset(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cut the dataset in every format that a trainer's loader reads; return its folder."""
    output = tmp_path_factory.mktemp("trainers") / "out"
    shutil.copytree(built, output, ignore=shutil.ignore_patterns("dataset"))
    succeeded(mmc4("cut", "--output", str(output), "--recipe", RECIPE, "--formats", *FORMATS))
    return output / "dataset/miniweb"


@pytest.fixture(scope="session")
def documents(dataset: Path) -> dict[str, dict[str, Any]]:
    """Return the documents of OpenFlamingo's shards by key."""
    found = {}
    for path in sorted(dataset.glob("shard-*.tar")):
        with tarfile.open(path) as shard:
            for member in shard:
                file = shard.extractfile(member)
                assert file
                found[member.name.removesuffix(".json")] = json.load(file)
    assert len(found) > 20
    return found


@pytest.fixture(scope="session")
def parts(documents: dict[str, dict[str, Any]]) -> dict[str, list[Any]]:
    """Return the parts of each document: texts, and the width and height of the images before their sentences."""
    return {key: _parts(document) for key, document in documents.items()}


def _parts(document: dict[str, Any]) -> list[Any]:
    found: list[Any] = []
    for number, sentence in enumerate(document["text_list"]):
        images = [info for info in document["image_info"] if info["matched_text_index"] == number]
        found += [_size(info) for info in images]
        if found and not images:
            found[-1] += f" {sentence}"
        else:
            found.append(sentence)
    return found


def _size(info: dict[str, Any]) -> list[int]:
    return list(Image.open(io.BytesIO(base64.b64decode(info["image_base64"]))).size)
