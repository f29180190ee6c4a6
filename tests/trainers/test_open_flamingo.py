"""OpenFlamingo's own loader reads the shards, and its own model trains on them."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.trainers.running import EXAMPLES, run

pytestmark = pytest.mark.engines("trainers")


def test_its_model_learns_from_the_shards(dataset: Path, documents: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    sentences = [text for document in documents.values() for text in document["text_list"]]
    (tmp_path / "text").write_text("\n".join(sentences))
    model = tmp_path / "model"
    run(Path(__file__).with_name("tiny_language_model.py"), tmp_path / "text", model)
    (shard,) = dataset.glob("shard-*.tar")
    models = ["--language_model", model, "--clip", "ViT-S-32-alt", "--clip_weights", ""]
    printed = run(
        EXAMPLES / "train_open_flamingo.py",
        *(shard, f"--documents={len(documents)}", *models),
        *("--batch_size=4", "--min_similarity=-1", "--steps=3"),
    )
    losses = [float(loss) for loss in re.findall(r"^step \d+: loss (\S+)$", printed, re.MULTILINE)]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
