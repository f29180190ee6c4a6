"""Trainers' own loaders read each format with the texts, images and order of OpenFlamingo's shards."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.trainers.running import EXAMPLES, run

pytestmark = pytest.mark.engines("trainers")


def lines(script: str, *arguments: str | Path) -> list[dict[str, Any]]:
    """Run an example and return the lines of JSON that it prints."""
    printed = run(EXAMPLES / f"{script}.py", *arguments).splitlines()
    return [json.loads(line) for line in printed if line.startswith("{")]


def by_key(rows: list[dict[str, Any]]) -> dict[str, Any]:
    found = {row["key"]: row["parts"] for row in rows}
    assert len(found) == len(rows)
    return found


def test_datasets_streams_parquet_with_decoded_images(dataset: Path, parts: dict[str, list[Any]]) -> None:
    assert by_key(lines("read_datasets", dataset / "parquet/*.parquet")) == parts


def test_nemo_curator_reads_webdataset(dataset: Path, parts: dict[str, list[Any]]) -> None:
    (shard,) = (dataset / "webdataset").glob("*.tar")
    assert by_key(lines("read_nemo_curator", shard)) == parts


def test_mosaicml_reads_mds_and_continues_in_an_epoch(
    dataset: Path, parts: dict[str, list[Any]], tmp_path: Path
) -> None:
    position = ("--position", tmp_path / "position.json")
    begun = lines("read_mosaicml", dataset / "mds", *position, "--steps=5")
    assert len(begun) == 5
    assert by_key(begun + lines("read_mosaicml", dataset / "mds", *position)) == parts


def test_energon_reads_its_samples_and_continues_in_an_epoch(
    dataset: Path, documents: dict[str, dict[str, Any]], parts: dict[str, list[Any]], tmp_path: Path
) -> None:
    def steps(position: str, number: int) -> list[dict[str, Any]]:
        return lines("read_energon", dataset / "energon", "--position", tmp_path / position, f"--steps={number}")

    whole = steps("whole", 20)
    assert steps("stopped", 3) + steps("stopped", 17) == whole
    assert len(whole) == 20
    for sample in whole:
        document = documents[sample["key"]]
        assert sample["texts"] == document["text_list"]
        assert sample["matched"] == [info["matched_text_index"] for info in document["image_info"]]
        assert sample["sizes"] == [part for part in parts[sample["key"]] if isinstance(part, list)]


def test_torchtitan_packs_every_document(dataset: Path, parts: dict[str, list[Any]], tmp_path: Path) -> None:
    run(Path(__file__).with_name("tiny_tokenizer.py"), tmp_path)
    files = dataset / "parquet/*.parquet"
    batches = lines("read_torchtitan", files, "--tokenizer", tmp_path, "--steps=1000")
    images = sum(isinstance(part, list) for document in parts.values() for part in document)
    assert sum(batch["images"] for batch in batches) == sum(batch["marks"] for batch in batches) == images
    assert all(batch["shape"][1] == 4096 for batch in batches)


def test_ms_swift_reads_chat_jsonl(
    dataset: Path, parts: dict[str, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarfile.open(dataset / "chat_jsonl/shard-00000.tar") as shard:
        shard.extractall(tmp_path, filter="data")
    monkeypatch.setenv("ROOT_IMAGE_DIR", str(tmp_path))
    rows = lines("read_ms_swift", next(tmp_path.glob("*.jsonl")))
    expected = {
        "".join(part if isinstance(part, str) else "<image>" for part in document): [
            part for part in document if isinstance(part, list)
        ]
        for document in parts.values()
    }
    assert {row["text"]: row["sizes"] for row in rows} == expected
