"""What holds for every format, and how the command line names them."""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mmc4_pipeline.dataset.cut import CutDocument
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.formats.mmc4_jsonl import Mmc4Jsonl
from mmc4_pipeline.formats.openflamingo import OpenFlamingo
from mmc4_pipeline.formats.registry import known_formats, parse_formats
from mmc4_pipeline.storage import HashingWriter

FORMATS = [*known_formats(), "mmc4_jsonl:compression=zip", "mmc4_jsonl:similarity_matrix=false"]


def test_the_four_formats_are_known_by_their_modules() -> None:
    assert list(known_formats()) == ["mmc4_jsonl", "obelics", "openflamingo", "webdataset"]


def test_no_two_formats_write_the_same_file() -> None:
    names = [item().file_name(3) for item in known_formats().values()]
    assert len(set(names)) == len(names)
    assert OpenFlamingo().file_name(3) == "shard-00003.tar"


@pytest.mark.parametrize("choice", FORMATS)
def test_as_many_come_back_as_were_written(
    choice: str, documents: list[CutDocument], write: Callable, read: Callable
) -> None:
    (item,) = parse_formats([choice]).values()
    assert len(read(item, write(item, documents))) == 3
    assert read(item, write(item, [])) == []


@pytest.mark.parametrize("choice", FORMATS)
def test_the_same_documents_give_the_same_bytes(choice: str, documents: list[CutDocument], write: Callable) -> None:
    (item,) = parse_formats([choice]).values()
    assert write(item, documents, "a").read_bytes() == write(item, documents, "b").read_bytes()


@pytest.mark.parametrize("choice", FORMATS)
@pytest.mark.parametrize("goes", [{"2/1"}, {"3/0", "0/0"}, {"0/0", "0/1"}, {"2/0", "2/1", "2/2", "3/1"}, set()])
def test_a_copy_is_as_if_what_goes_had_never_been_there(
    choice: str, goes: set[str], documents: list[CutDocument], write: Callable
) -> None:
    (item,) = parse_formats([choice]).values()
    urls = {f"https://a.example/{name}.jpg" for name in goes}
    pages = [document.page.url for document in documents if document.reason is None]

    def stays(page_url: str, image_urls: Sequence[str]) -> list[bool] | None:
        assert page_url == pages.pop(0)
        chosen = [url not in urls for url in image_urls]
        return chosen if any(chosen) else None

    source, target = write(item, documents), io.BytesIO()
    with source.open("rb") as stream:
        item.copy_shard(stream, str(source), HashingWriter(target), item.stem(7), stays)
    left = [
        replace(document, placed=[placed for placed in document.placed if placed.image.url not in urls])
        for document in documents
    ]
    assert target.getvalue() == write(item, [document for document in left if document.placed], "left").read_bytes()
    assert not pages


@pytest.mark.parametrize("choice", FORMATS)
def test_no_cut_goes_unnoticed(choice: str, documents: list[CutDocument], write: Callable, read: Callable) -> None:
    (item,) = parse_formats([choice]).values()
    path: Path = write(item, documents)
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\x00")) if item.extension == "tar" else len(whole) - 1
    for length in {*range(0, end, 512), *range(100, end, 97), end}:
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match="not readable as a shard"):
            read(item, path)
    path.write_bytes(b"something else " * 200)
    with pytest.raises(UserError, match="not readable as a shard"):
        read(item, path)


def test_settings_are_read() -> None:
    chosen = parse_formats(["webdataset", "mmc4_jsonl:compression=zip,similarity_matrix=false"])
    assert list(chosen) == ["webdataset", "mmc4_jsonl"]
    assert chosen["mmc4_jsonl"] == Mmc4Jsonl("zip", similarity_matrix=False)


@pytest.mark.parametrize(
    ("choices", "complaint"),
    [
        (["mmc4"], "mmc4: no such format; there are mmc4_jsonl, obelics, openflamingo, webdataset"),
        (["obelics", "obelics"], "obelics is named twice"),
        (["mmc4_jsonl", "mmc4_jsonl:compression=zip"], "mmc4_jsonl is named twice"),
        (["mmc4_jsonl:compression=xz"], "mmc4_jsonl: compression: .*'gz' or 'zip'"),
        (["mmc4_jsonl:zip"], "zip is no setting; there are: compression, similarity_matrix"),
        (["obelics:a=b"], "a=b is no setting; there are: none"),
        ([], "name at least one of"),
    ],
)
def test_what_can_t_be_is_refused_by_name(choices: list[str], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        parse_formats(choices)
