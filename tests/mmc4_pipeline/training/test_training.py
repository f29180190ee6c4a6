"""Training sequences: how a document is turned into one, and that each document is read once per epoch."""

import base64
import io
import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.training import (
    END_OF_CHUNK,
    IMAGE,
    InterleavedDataset,
    Interleaver,
    Sequence,
    SequenceOptions,
    ShardedDocuments,
    interleaved_pipeline,
)

MakeDataset = Callable[..., StageFolder]


def picture(red: int) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (red, 0, 0)).save(buffer, "JPEG")
    return base64.b64encode(buffer.getvalue()).decode()


PICTURES = [picture(red) for red in range(0, 256, 16)]


def document(sentences: list[str], *images: tuple[int, float]) -> dict[str, Any]:
    """Return a document whose images have the given sentence and similarity, and a colour of their own."""
    infos = [
        {"raw_url": f"{at}", "matched_text_index": sentence, "matched_sim": sim, "image_base64": PICTURES[at % 16]}
        for at, (sentence, sim) in enumerate(images)
    ]
    return {"url": "https://a.example/", "text_list": sentences, "image_info": infos}


def red(image: Image.Image) -> int:
    return round(image.getpixel((8, 8))[0] / 16)  # type: ignore[index]


class Words:
    """A tokenizer like those of transformers. A special token or a word is one token."""

    eos_token = "</s>"

    def __call__(self, text: str) -> dict[str, list[int]]:
        """Return the ids of the words."""
        for mark in (IMAGE, END_OF_CHUNK, self.eos_token):
            text = text.replace(mark, f" {mark} ")
        return {"input_ids": [hash(word) for word in text.split()]}


def made(source: dict[str, Any], options: SequenceOptions | None = None, **given: Any) -> Sequence:
    sequence = Interleaver(options, transform=red, **given)({"__key__": "k", "json": source})
    assert sequence is not None
    return sequence


THREE = document(["Zero.", "One.", "Two."], (2, 0.3), (1, 0.2), (1, 0.4))


def after_the_last(source: dict[str, Any], *images: int) -> dict[str, Any]:
    for image in images:
        source["image_info"][image]["follows_sentence"] = True
    return source


@pytest.mark.parametrize("place", ["before", "after"])
def test_images_after_the_last_sentence_come_last(place: Any) -> None:
    source = after_the_last(document(["Zero.", "One."], (1, 0.3), (0, 0.2), (1, 0.4), (1, 0.5)), 0, 3)
    sequence = made(source, SequenceOptions(image_place=place))
    assert sequence.images == [1, 2, 0, 3]
    texts = {
        "before": "<image>Zero.<|endofchunk|><image>One.<|endofchunk|><image><image><|endofchunk|>",
        "after": "Zero.<image>One.<|endofchunk|><image><|endofchunk|><image><image><|endofchunk|>",
    }
    assert sequence.text == texts[place]


def test_images_after_the_last_sentence_are_omitted_first() -> None:
    source = after_the_last(document(["Zero.", "One."], (0, 0.3), (1, 0.2)), 1)
    sequence = made(source, SequenceOptions(max_tokens=5), tokenizer=Words())
    assert sequence.text == "<image>Zero. One.<|endofchunk|></s>"
    assert (sequence.omitted_sentences, sequence.omitted_images) == (0, 1)


def test_images_before_their_sentence_are_the_default() -> None:
    sequence = made(THREE)
    assert sequence.text == "Zero.<image><image>One.<|endofchunk|><image>Two.<|endofchunk|>"
    assert sequence.images == [1, 2, 0]  # in the order of the text, not of the page's links
    assert (sequence.key, sequence.url, sequence.tokens) == ("k", "https://a.example/", None)


def test_images_after_their_sentence() -> None:
    sequence = made(THREE, SequenceOptions(image_place="after"))
    assert sequence.text == "Zero. One.<image><image>Two.<|endofchunk|><image><|endofchunk|>"
    assert sequence.images == [1, 2, 0]


def test_threshold_and_most_images() -> None:
    assert made(THREE, SequenceOptions(min_similarity=0.3)).images == [2, 0]
    most = made(THREE, SequenceOptions(max_images=2))
    assert most.images == [1, 2]
    assert most.text == "Zero.<image><image>One. Two.<|endofchunk|>"


def test_a_document_with_too_few_images_gives_no_sequence_or_text_alone() -> None:
    strict = Interleaver(SequenceOptions(min_similarity=0.9))
    assert strict({"__key__": "k", "json": THREE}) is None
    assert made(THREE, SequenceOptions(min_similarity=0.9, min_images=0)).text == "Zero. One. Two."
    assert Interleaver(SequenceOptions(min_images=4))({"__key__": "k", "json": THREE}) is None


def test_the_token_limit_leaves_out_whole_sentences_with_their_images() -> None:
    source = document(["a b c", "d e f", "g h i"], (0, 0.3), (1, 0.3), (2, 0.3))
    whole = made(source, tokenizer=Words())
    assert whole.text == "<image>a b c<|endofchunk|><image>d e f<|endofchunk|><image>g h i<|endofchunk|></s>"
    assert whole.tokens is not None
    assert len(whole.tokens) == 16
    for limit, sentences in ((16, 3), (15, 2), (11, 2), (10, 1), (6, 1)):
        sequence = made(source, SequenceOptions(max_tokens=limit), tokenizer=Words())
        assert sequence.tokens is not None
        assert len(sequence.tokens) <= limit
        assert sequence.text.endswith("<|endofchunk|></s>")
        assert sequence.images == list(range(sentences))
        assert (sequence.omitted_sentences, sequence.omitted_images) == (3 - sentences, 3 - sentences)
    assert Interleaver(SequenceOptions(max_tokens=5), tokenizer=Words())({"__key__": "k", "json": source}) is None


def test_a_limit_without_a_tokenizer_is_refused() -> None:
    with pytest.raises(UserError, match=r"max_tokens .*tokenizer"):
        Interleaver(SequenceOptions(max_tokens=256))


pieces = st.lists(st.sampled_from([IMAGE, END_OF_CHUNK, "</s>", "<ima", "ge>", "a", " b"])).map("".join)
sentences = st.lists(pieces | st.text(alphabet="ab <>|", max_size=6), min_size=1, max_size=6)
places = st.lists(st.tuples(st.integers(0, 5), st.floats(0, 1)), min_size=1, max_size=8)


@given(
    sentences,
    places,
    st.sampled_from(["before", "after"]),
    st.none() | st.integers(1, 40),
    st.none() | st.integers(1, 9),
)
def test_there_are_as_many_image_tokens_as_images_whatever_the_page_s_text(
    texts: list[str], at: list[tuple[int, float]], place: Any, limit: int | None, most: int | None
) -> None:
    source = document(texts, *[(sentence % len(texts), similarity) for sentence, similarity in at])
    options = SequenceOptions(place, max_tokens=limit, max_images=most)
    sequence = Interleaver(options, tokenizer=Words(), transform=red)({"__key__": "k", "json": source})
    if sequence is None:
        assert limit is not None
        return
    assert sequence.text.count(IMAGE) == len(sequence.images)
    assert sequence.text.endswith(END_OF_CHUNK + "</s>")
    assert sequence.text.count("</s>") == 1
    assert sequence.tokens == Words()(sequence.text)["input_ids"]
    assert limit is None or len(sequence.tokens) <= limit
    assert len(sequence.images) + sequence.omitted_images == min(len(at), most or len(at))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"image_base64": "no base64"}, "Error"),
        ({"image_base64": base64.b64encode(b"no picture").decode()}, "cannot identify image"),
        ({"matched_text_index": 3}, "sentence 3 of 3"),
        ({"matched_text_index": "1"}, "TypeError"),
    ],
)
def test_a_broken_document_is_named(change: dict[str, Any], why: str) -> None:
    broken = document(["Zero.", "One.", "Two."], (0, 0.3))
    broken["image_info"][0] |= change
    with pytest.raises(UserError, match=rf"a\.tar: 0123: .*{why}"):
        Interleaver()({"__url__": "a.tar", "__key__": "0123", "json": json.dumps(broken).encode()})


def test_errors_of_a_transform_are_passed_on() -> None:
    def transform(_: Any) -> None:
        raise ValueError("no such channel")

    with pytest.raises(ValueError, match="no such channel"):
        Interleaver(transform=transform)({"__key__": "k", "json": THREE})


def nodes(number: int) -> Iterator[int]:
    """Be each of several nodes in turn."""
    with pytest.MonkeyPatch.context() as environment:
        for node in range(number):
            environment.setenv("RANK", str(node))
            environment.setenv("WORLD_SIZE", str(number))
            yield node


def keys(items: Any) -> list[str]:
    return [item.key for item in items]


@pytest.mark.parametrize("shards", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("processes", [1, 2, 3, 4, 7])
def test_every_document_is_read_once_per_epoch(make_dataset: MakeDataset, shards: int, processes: int) -> None:
    path = make_dataset(shards=shards, documents=13).path
    for seed in (None, 1):
        dataset = InterleavedDataset(ShardedDocuments(path, seed=seed, shuffle_buffer=4), Interleaver())
        seen = Counter(key for _ in nodes(processes) for key in keys(dataset))
        assert len(seen) == 13
        assert set(seen.values()) == {1}


def test_few_shards_are_shared_evenly(make_dataset: MakeDataset) -> None:
    documents = ShardedDocuments(make_dataset(shards=1, documents=12).path)
    assert [len(list(documents)) for _ in nodes(4)] == [3, 3, 3, 3]


def test_the_order_follows_from_seed_and_epoch(make_dataset: MakeDataset) -> None:
    path = make_dataset(shards=3, documents=30).path

    def order(seed: int | None, epoch: int = 0) -> list[str]:
        documents = ShardedDocuments(path, seed=seed, shuffle_buffer=8)
        documents.set_epoch(epoch)
        return keys(InterleavedDataset(documents, Interleaver()))

    orders = [order(None), order(1), order(1, epoch=1), order(2)]
    assert len({tuple(made) for made in orders}) == 4
    assert orders == [order(None), order(1), order(1, epoch=1), order(2)]
    assert len({frozenset(made) for made in orders}) == 1


def test_persistent_workers_see_the_next_epoch(make_dataset: MakeDataset) -> None:
    documents = ShardedDocuments(make_dataset(shards=2, documents=20).path, seed=1, shuffle_buffer=8)
    dataset = InterleavedDataset(documents, Interleaver(transform=red))
    loader = DataLoader(dataset, batch_size=None, num_workers=2, persistent_workers=True)
    orders = []
    for epoch in (0, 1, 0):
        documents.set_epoch(epoch)
        orders.append(keys(loader))
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


def test_the_webdataset_pipeline_has_the_same_sequences(make_dataset: MakeDataset) -> None:
    documents = ShardedDocuments(make_dataset(documents=8).path, seed=3)
    interleave = Interleaver(tokenizer=Words(), transform=red)
    pipeline = interleaved_pipeline(documents, interleave)
    expected = [(item.text, item.images, item.tokens) for item in InterleavedDataset(documents, interleave)]
    assert list(pipeline.compose(webdataset.to_tuple("text", "images", "tokens"))) == expected
    loader = webdataset.WebLoader(pipeline, batch_size=None, num_workers=2)
    assert sorted(sample["text"] for sample in loader) == sorted(text for text, _, _ in expected)


def test_an_interleaver_works_in_the_user_s_own_pipeline(make_dataset: MakeDataset) -> None:
    folder = make_dataset(shards=1, documents=4)
    pipeline = webdataset.WebDataset(folder.file("shard-00000.tar"), shardshuffle=False).map(Interleaver())
    assert keys(pipeline) == keys(InterleavedDataset(ShardedDocuments(folder.path), Interleaver()))


def test_a_broken_shard_ends_reading_with_its_name_in_workers_too(make_dataset: MakeDataset) -> None:
    folder = make_dataset(documents=8)
    path = Path(folder.file("shard-00001.tar"))
    path.write_bytes(path.read_bytes()[:-20_000])
    dataset = InterleavedDataset(ShardedDocuments(folder.path), Interleaver())
    with pytest.raises(UserError, match=r"shard-00001\.tar"):
        list(dataset)
    with pytest.raises(UserError, match=r"shard-00001\.tar"):
        list(DataLoader(dataset, batch_size=None, num_workers=1))


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what unpickling calls."""
        return os.mkdir, (str(self._path),)


def test_nothing_in_a_shard_is_unpickled(make_dataset: MakeDataset, tmp_path: Path) -> None:
    import pickle

    folder = make_dataset(documents=4, shards=1)
    data = pickle.dumps(Trap(tmp_path / "sprung"))
    with tarfile.open(folder.file("shard-00000.tar"), "w") as tar:
        member = tarfile.TarInfo("0123.pyd")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    with pytest.raises(UserError, match=r"shard-00000\.tar"):
        list(InterleavedDataset(ShardedDocuments(folder.path), Interleaver()))
    assert not (tmp_path / "sprung").exists()


def test_a_folder_without_a_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(str(tmp_path))):
        ShardedDocuments(str(tmp_path))
