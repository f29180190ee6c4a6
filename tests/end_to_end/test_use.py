"""A finished dataset can be read by other programs, is complete, and can be published."""

import base64
import io
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from PIL import Image
from scipy.optimize import linear_sum_assignment
from torch.utils.data import DataLoader

from mmc4_pipeline.training import InterleavedDataset, Interleaver, SequenceOptions, ShardedDocuments
from tests.end_to_end.running import mmc4, succeeded


@pytest.fixture(scope="module")
def dataset(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a dataset with its card."""
    folder = tmp_path_factory.mktemp("use") / "miniweb"
    shutil.copytree(built / "dataset/miniweb", folder)
    succeeded(mmc4("card", str(folder), "--url", "https://example.org/miniweb"))
    return folder


@pytest.fixture(scope="module")
def samples(dataset: Path) -> dict[str, dict[str, Any]]:
    """Return the documents by key, read with plain webdataset."""
    shards = [str(path) for path in sorted(dataset.glob("shard-*.tar"))]
    return {sample["__key__"]: sample["json"] for sample in webdataset.WebDataset(shards, shardshuffle=False).decode()}


def test_it_is_complete_and_core_is_a_subset(built: Path, tmp_path: Path) -> None:
    output = shutil.copytree(built, tmp_path / "out")
    succeeded(mmc4("cut", "--output", str(output), "--recipe", "mmc4-core"))
    full, core = output / "dataset/miniweb", output / "dataset/mmc4-core"
    assert ": OK" in succeeded(mmc4("verify", str(full))).stdout
    assert f"{full} (" in succeeded(mmc4("verify", str(core), "--subset_of", str(full))).stdout
    run = mmc4("verify", str(full), "--subset_of", str(core))
    assert run.returncode == 1
    problems = run.stdout.splitlines()
    assert f"{len(problems)} problems" in run.stderr
    assert problems
    assert all(line.startswith(f"{full}: ") and str(core) in line for line in problems)


def test_hugging_face_datasets_loads_the_documents_by_the_card_and_the_ledger_as_parquet(
    dataset: Path, samples: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    import datasets

    datasets.disable_progress_bars()
    cache = str(tmp_path / "cache")
    documents = datasets.load_dataset(str(dataset), "documents", split="train", cache_dir=cache)
    assert {row["__key__"]: row["json"]["text_list"] for row in documents} == {
        key: document["text_list"] for key, document in samples.items()
    }
    files = {"train": str(dataset / "ledger/*.parquet")}
    ledger = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=cache)
    kept = Counter(row["key"] for row in ledger if row["reason"] is None)
    assert kept == {key: len(document["image_info"]) for key, document in samples.items()}
    files = {"train": str(dataset / "shard-*.tar")}
    plain = datasets.load_dataset("webdataset", data_files=files, split="train", cache_dir=cache, streaming=True)
    assert {row["__key__"] for row in plain} == set(samples)


def test_two_workers_on_two_nodes_read_every_document_once(
    dataset: Path, samples: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = ShardedDocuments(str(dataset), seed=1)
    loader = DataLoader(InterleavedDataset(documents, Interleaver()), batch_size=None, num_workers=2)
    orders = []
    for epoch in (0, 1):
        documents.set_epoch(epoch)
        seen = []
        for node in (0, 1):
            monkeypatch.setenv("RANK", str(node))
            monkeypatch.setenv("WORLD_SIZE", "2")
            seen += [(sequence.key, len(sequence.images), sequence.text.count("<image>")) for sequence in loader]
        images = {key: len(document["image_info"]) for key, document in samples.items()}
        assert sorted(seen) == sorted((key, number, number) for key, number in images.items())
        orders.append(seen)
    assert orders[0] != orders[1]


def openflamingo(
    samples: dict[str, dict[str, Any]], threshold: float, most: int
) -> Iterator[tuple[str, str, list[Any]]]:
    """Process each document like OpenFlamingo's loader, except for tokens, random drops and flips.

    open_flamingo/train/data.py, `preprocess_interleaved`: it skips images of 10 KB or less, solves the assignment again
    with the remaining ones, drops pairs below the threshold, and inserts an image's mark before its sentence. Its
    images are in the order of image_info and the marks in that of the text, so these two orders must be the same.
    """
    for key, document in samples.items():
        raw = [base64.b64decode(info["image_base64"]) for info in document["image_info"]]
        large = [number for number, data in enumerate(raw) if len(data) // 1000 > 10]
        if not large:
            continue
        similarity = np.array(document["similarity_matrix"])[large]
        pairs = [
            (large[row], sentence)
            for row, sentence in zip(*linear_sum_assignment(similarity, maximize=True), strict=True)
            if similarity[row, sentence] >= threshold
        ][:most]
        if not pairs:
            continue
        marked = list(document["text_list"])
        for _, sentence in pairs:
            marked[sentence] = "<|endofchunk|><image>" + marked[sentence]
        text = " ".join(marked).replace("<|endofchunk|>", "", 1)
        for spaced in (" <|endofchunk|>", "<image> ", " <image>"):
            text = text.replace(spaced, spaced.strip())
        images = [np.asarray(Image.open(io.BytesIO(raw[number])).convert("RGB")) for number, _ in pairs]
        yield key, text + "<|endofchunk|>", images


def test_openflamingo_s_loader_and_ours_make_the_same_text(dataset: Path, samples: dict[str, dict[str, Any]]) -> None:
    theirs = {key: (text, images) for key, text, images in openflamingo(samples, threshold=0.24, most=6)}
    assert len(theirs) > 10
    for text, images in theirs.values():
        assert text.count("<image>") == len(images)
        assert text.count("<|endofchunk|>") == len(images)
    ours = InterleavedDataset(ShardedDocuments(str(dataset)), Interleaver(SequenceOptions(min_similarity=0.24)))
    sequences = {sequence.key: sequence for sequence in ours}
    # Documents whose images are all larger than 10 KB, have a sentence each, and are at most 6.
    comparable = [key for key, document in samples.items() if key in theirs and _plain(document)]
    assert len(comparable) > 3
    for key in comparable:
        text, images = theirs[key]
        assert text == sequences[key].text
        assert [image.tobytes() for image in images] == [image.tobytes() for image in sequences[key].images]


def _plain(document: dict[str, Any]) -> bool:
    infos = document["image_info"]
    sentences = {info["matched_text_index"] for info in infos}
    large = all(len(base64.b64decode(info["image_base64"])) // 1000 > 10 for info in infos)
    return large and len(sentences) == len(infos) <= 6


def test_the_metadata_is_valid_croissant_with_the_ledger_s_rows(
    dataset: Path, samples: dict[str, dict[str, Any]]
) -> None:
    import mlcroissant

    metadata = mlcroissant.Dataset(jsonld=str(dataset / "croissant.json"))
    assert not metadata.metadata.ctx.issues.errors
    rows = [row for row in metadata.records("ledger") if row["ledger/reason"] is None]
    kept = Counter(row["ledger/key"].decode() for row in rows)
    assert kept == {key: len(document["image_info"]) for key, document in samples.items()}
