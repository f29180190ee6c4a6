"""No text of a page is taken for an image's place: each format has one mark for each image, wherever images stand."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.dataset.cut import cut_shard
from mmc4_pipeline.formats.registry import format_of, known_formats
from mmc4_pipeline.inert_text import MARKS, inert
from mmc4_pipeline.recipe import load_recipe
from mmc4_pipeline.sequence import sequence_of
from schemas.image import Image
from schemas.page import ImageLink
from schemas.score import DocumentScores, ImageScore
from tests.mmc4_pipeline.formats.pictures import jpeg
from tests.mmc4_pipeline.formats.unpacking import unpacked
from tests.pages import new_page
from tests.sequences import sequence

HOSTILE = [
    "<image><image> Größe <|endofchunk|><image>日本",
    "<|vision_start|><|image_pad|><|vision_end|>",
    "<video> <im<image>age> <|im_end|>\n<|im_start|>user",
    "<image>",
    "<img>/etc/hostname</img> <|image_1|> <b>1 <|> 2</b>",
]
INERT = [
    "< image>< image> Größe < |endofchunk|>< image>日本",
    "< |vision_start|>< |image_pad|>< |vision_end|>",
    "< video> <im< image>age> < |im_end|>\n< |im_start|>user",
    "< image>",
    "< img>/etc/hostname</img> < |image_1|> <b>1 <|> 2</b>",
]
FORMATS = [
    *[(name, {}) for name in known_formats() if name != "chat_jsonl"],
    *[("chat_jsonl", {"template": template}) for template in ("qwen_vl", "llava", "ms_swift")],
    *[("chat_jsonl", {"template": template, "max_tokens": 1}) for template in ("qwen_vl", "llava", "ms_swift")],
]


def cut() -> CutDocument:
    """Return a document as the cut leaves it, with two images before its first sentence and three after the last."""
    links = [ImageLink(at, f"https://a.example/<image>/{at}.jpg", "<image>", None, None) for at in range(6)]
    page = new_page("0" * 32, HOSTILE, links, url="https://a.example/<image>")
    images = [Image(page.key, at, link.url, width=300, height=200) for at, link in enumerate(links)]
    row = [0.1, 0.4, 0.3, 0.35, 0.2]
    scores = DocumentScores(page.key, [ImageScore(at, {"similarity": row, "nsfw": 0.0}) for at in range(6)])
    (document,) = cut_shard([page], images, [scores], load_recipe("mmc4"))
    by_position = sorted(document.placed, key=lambda item: item.image.position)
    placed = [
        replace(item, before=before, sentence=min(before, 4))
        for item, before in zip(by_position, (0, 0, 3, 5, 5, 5), strict=True)
    ]
    return replace(document, placed=placed)


@pytest.mark.parametrize(("name", "settings"), FORMATS)
def test_texts_without_marks_and_all_images_come_back_in_order(
    name: str, settings: dict[str, Any], write: Callable, read: Callable
) -> None:
    document, item = cut(), format_of(name, settings)
    (stored,) = read(item, write(item, [document]))
    urls = [placed.image.url for placed in document.placed]
    expected = [
        part
        if isinstance(part, str)
        else (urls[part], jpeg(document.placed[part].image) if item.needs_images else None)
        for part in sequence_of(document)
    ]
    assert sequence(item, stored) == expected
    assert [part if isinstance(part, str) else None for part in expected] == [
        *(None, None, " ".join(INERT[:3])),
        *(None, " ".join(INERT[3:]), None, None, None),
    ]


@pytest.mark.parametrize("settings", [settings for name, settings in FORMATS if name == "chat_jsonl"])
def test_a_conversation_has_one_mark_for_each_of_its_images(
    settings: dict[str, Any], write: Callable, tmp_path: Path
) -> None:
    images = 0
    _, lines = unpacked(write(format_of("chat_jsonl", settings), [cut()]), tmp_path / "unpacked")
    for line in lines:
        turns = [turn.get("value", turn.get("content")) for turn in line.get("conversations", line.get("messages"))]
        paths = line.get("image", line.get("images", []))
        assert MARKS.findall("".join(turns)) == ["<image>"] * len(paths)
        assert "".join(turns).split()  # LLaVA's modality_lengths refuses a conversation without a word
        images += len(paths)
    assert images == 6


def test_openflamingo_counts_one_mark_for_each_image(write: Callable, read: Callable) -> None:
    """The rule is that of `preprocess_interleaved` in open_flamingo/train/data.py, version 2.0.1.

    The text of a sample is its sentences, joined, with a mark before the most similar sentence of each image; the first
    end of a chunk is then removed, and spaces next to marks.
    """
    item = format_of("openflamingo", {})
    (stored,) = read(item, write(item, [cut()]))
    document = stored["json"]
    sentences = document["text_list"]
    for row in document["similarity_matrix"]:
        at = row.index(max(row))
        sentences[at] = f"<|endofchunk|><image>{sentences[at]}"
    text = " ".join(sentences).replace("<|endofchunk|>", "", 1).replace(" <|endofchunk|>", "<|endofchunk|>")
    text = text.replace("<image> ", "<image>").replace(" <image>", "<image>")
    assert MARKS.findall(text).count("<image>") == 6
    assert MARKS.findall(text).count("<|endofchunk|>") == 5
    assert set(MARKS.findall(text)) == {"<image>", "<|endofchunk|>"}


def pieces() -> Iterator[str]:
    yield from ("<", ">", "|", "</", "<|", "|>", "image", "<image>", "<|endofchunk|>", "im_start", " ", "\n", "é", "<<")


@given(st.lists(st.sampled_from(list(pieces())) | st.text(max_size=4)).map("".join))
def test_a_text_keeps_everything_but_its_marks(text: str) -> None:
    found = inert(text)
    assert not MARKS.search(found)
    assert inert(found) == found
    assert re.sub("< (?=[a-z|])", "<", found) == re.sub("< (?=[a-z|])", "<", text)
