"""OpenFlamingo's own loader reads the shards, and its own model trains on them."""

import json
import re
import tarfile
from pathlib import Path

import pytest

from tests.trainers.running import EXAMPLES, run

pytestmark = pytest.mark.engines("trainers")


def sentences(dataset: Path) -> list[str]:
    texts: list[str] = []
    for path in sorted(dataset.glob("shard-*.tar")):
        with tarfile.open(path) as shard:
            for member in shard:
                file = shard.extractfile(member)
                assert file
                texts += json.load(file)["text_list"]
    return texts


def test_its_model_learns_from_the_shards(built: Path, tmp_path: Path) -> None:
    dataset = built / "dataset/miniweb"
    (tmp_path / "text").write_text("\n".join(sentences(dataset)))
    model = tmp_path / "model"
    run(Path(__file__).with_name("tiny_language_model.py"), tmp_path / "text", model)
    documents = json.loads((dataset / "manifest.json").read_text())["counts"]["documents"]["kept"]
    (shard,) = dataset.glob("shard-*.tar")
    options = ["--documents", str(documents), "--language_model", model, "--clip", "ViT-S-32-alt", "--clip_weights", ""]
    printed = run(
        EXAMPLES / "train_open_flamingo.py", shard, *options, "--batch_size=4", "--min_similarity=-1", "--steps=3"
    )
    losses = [float(loss) for loss in re.findall(r"^step \d+: loss (\S+)$", printed, re.MULTILINE)]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
