"""Conversations: each template by the rules of its trainer's loader, and documents split to a context length."""

import re
import tarfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.formats import chat_jsonl
from mmc4_pipeline.formats.chat_jsonl import ChatJsonl
from mmc4_pipeline.sequence import sequence_of
from tests.mmc4_pipeline.formats.pictures import jpeg
from tests.mmc4_pipeline.formats.unpacking import unpacked

Sequence = list[str | bytes]
ORDERS = pytest.mark.parametrize("order", ["documents", "in_page_order"])
TEMPLATES = ["qwen_vl", "llava", "ms_swift"]


def expected(document: CutDocument) -> Sequence:
    return [part if isinstance(part, str) else jpeg(document.placed[part].image) for part in sequence_of(document)]


def of_qwen_vl(line: dict[str, Any], folder: Path) -> Sequence:
    """Read a line by the rules of `_build_messages` in qwen-vl-finetune/qwenvl/data/data_processor.py.

    `image` is a path or a list of paths below the folder. In turns of "human", each <image> takes the next one, and
    other text is stripped. All images must be taken; any other turn has text only.
    """
    pool = [(folder / path).read_bytes() for path in line.get("image") or []]
    found: Sequence = []
    for turn in line["conversations"]:
        if turn["from"] == "human":
            for segment in re.split("(<image>|<video>)", turn["value"]):
                if segment == "<image>":
                    found.append(pool.pop(0))
                elif segment.strip():
                    found.append(segment.strip())
        else:
            found.append(turn["value"])
    assert not pool
    return [part for part in found if part]


def of_llava(line: dict[str, Any], folder: Path) -> Sequence:
    """Read a line by the rules of LazySupervisedDataset and preprocess_multimodal in llava/train/train.py.

    A line with the key `image` has a path or a list of paths below --image_folder. Turns alternate, "human" first. A
    single <image> of a turn is moved to the turn's beginning.
    """
    assert "image" not in line or line["image"]
    assert [turn["from"] for turn in line["conversations"]] == ["human", "gpt"] * (len(line["conversations"]) // 2)
    pool = [(folder / path).read_bytes() for path in line.get("image", [])]
    found: Sequence = []
    for turn in line["conversations"]:
        value = turn["value"]
        if value.count("<image>") == 1 and not value.startswith("<image>"):
            value = "<image>\n" + value.replace("<image>", "").strip()
        for segment in re.split("(<image>)", value):
            text = segment.strip("\n") if turn["from"] == "human" else segment
            found.append(pool.pop(0) if segment == "<image>" else text)
    assert not pool
    return [part for part in found if part]


def of_ms_swift(line: dict[str, Any], folder: Path) -> Sequence:
    """Read a line by the rules of docs/source_en/Customization/Custom-dataset.md ("Pre-training", "Multimodal").

    One message of the assistant; each <image> in it takes the next of `images`. All lines have the same columns.
    """
    (message,) = line["messages"]
    assert message["role"] == "assistant"
    pool = [(folder / path).read_bytes() for path in line["images"]]
    found = [pool.pop(0) if segment == "<image>" else segment for segment in re.split("(<image>)", message["content"])]
    assert not pool
    return [part for part in found if part]


READERS = {"qwen_vl": of_qwen_vl, "llava": of_llava, "ms_swift": of_ms_swift}


@ORDERS
@pytest.mark.parametrize("template", TEMPLATES)
def test_each_loader_finds_texts_and_images_in_order(
    template: Any, order: str, request: pytest.FixtureRequest, write: Callable, tmp_path: Path
) -> None:
    kept = [document for document in request.getfixturevalue(order) if document.reason is None]
    folder, lines = unpacked(write(ChatJsonl(template), kept), tmp_path / "unpacked")
    assert len(lines) == len(kept)
    for line, document in zip(lines, kept, strict=True):
        assert READERS[template](line, folder) == expected(document)
    assert template != "ms_swift" or len({tuple(line) for line in lines}) == 1


@ORDERS
@pytest.mark.parametrize("limit", [None, 1, 12, 30])
@pytest.mark.parametrize("template", TEMPLATES)
def test_rows_come_back_however_they_are_split(
    template: Any, limit: int | None, order: str, request: pytest.FixtureRequest, write: Callable, read: Callable
) -> None:
    kept = [document for document in request.getfixturevalue(order) if document.reason is None]
    item = ChatJsonl(template, limit, image_tokens=5)
    for row, document in zip(read(item, write(item, kept)), kept, strict=True):
        images = iter(row["images"])
        assert [next(images) if text is None else text for text in row["texts"]] == expected(document)
        assert row["sentence_lengths"] == [len(sentence) for sentence in document.page.sentences]


def test_documents_are_split_between_sentences_to_the_limit(
    in_page_order: list[CutDocument], write: Callable, tmp_path: Path
) -> None:
    sentences = [f"Sentence {number:02d} is here...." for number in range(30)]  # 23 bytes, or 8 tokens
    page = replace(in_page_order[0].page, sentences=sentences)
    first, second = in_page_order[0].placed
    document = replace(in_page_order[0], page=page, placed=[replace(first, before=4), replace(second, before=30)])
    _, lines = unpacked(write(ChatJsonl("ms_swift", 80, image_tokens=40), [document]), tmp_path / "unpacked")
    assert [(len(line["sentence_lengths"]), len(line["images"])) for line in lines] == [
        (5, 1),
        (10, 0),
        (10, 0),
        (5, 1),
    ]
    contents = [line["messages"][0]["content"] for line in lines]
    assert contents[0] == f"{' '.join(sentences[:4])}<image>{sentences[4]}"
    assert contents[3] == f"{' '.join(sentences[25:])}<image>"
    assert " ".join(contents).replace("<image>", " ").split() == " ".join(sentences).split()
    assert [line["id"] for line in lines] == [f"{page.key}-{number}" for number in range(4)]


def test_media_in_a_page_s_own_text_are_not_places(
    in_page_order: list[CutDocument], write: Callable, read: Callable
) -> None:
    texts = ["<image>", "A <video>.", "", "<im<image>age>"]
    document = replace(in_page_order[0], page=replace(in_page_order[0].page, sentences=texts))
    for template in TEMPLATES:
        item = ChatJsonl(template)  # type: ignore[arg-type]
        (row,) = read(item, write(item, [document]))
        assert row["texts"] == ["< image> A < video>.", None, "  <im< image>age>", None]


def test_a_folder_has_few_images(
    in_page_order: list[CutDocument], write: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_jsonl, "PER_FOLDER", 3)
    with tarfile.open(write(ChatJsonl(), in_page_order)) as tar:
        folders = Counter(name.rpartition("/")[0] for name in tar.getnames() if name.endswith(".jpg"))
    assert folders == {"images/0/0007/0": 3, "images/0/0007/1": 3, "images/0/0007/2": 1}
