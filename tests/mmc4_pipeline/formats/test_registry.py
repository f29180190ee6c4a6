"""What holds for every format, and how the command line names them."""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mmc4_pipeline import formats
from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.formats import energon
from mmc4_pipeline.formats.mmc4_jsonl import Mmc4Jsonl
from mmc4_pipeline.formats.openflamingo import OpenFlamingo
from mmc4_pipeline.formats.registry import known_formats, parse_formats
from mmc4_pipeline.storage import HashingWriter
from tests.mmc4_pipeline.formats.pictures import jpeg

TEMPLATES = ["chat_jsonl:template=llava,max_tokens=9,image_tokens=5", "chat_jsonl:template=ms_swift"]
FORMATS = [*known_formats(), "mmc4_jsonl:compression=zip", "mmc4_jsonl:similarity_matrix=false", *TEMPLATES]


def test_every_module_is_a_format_of_its_name() -> None:
    modules = {path.stem for path in Path(formats.__path__[0]).glob("*.py")}
    assert set(known_formats()) == modules - {"__init__", "base", "registry", "sequence"}


def test_no_two_formats_write_the_same_file() -> None:
    names = [item().file_name(3, 4) for item in known_formats().values()]
    assert len(set(names)) == len(names)
    assert OpenFlamingo().file_name(3, 4) == "shard-00003.tar"


@pytest.mark.parametrize("choice", FORMATS)
def test_as_many_come_back_as_were_written(
    choice: str, documents: list[CutDocument], write: Callable, read: Callable
) -> None:
    (item,) = parse_formats([choice]).values()
    assert len(read(item, write(item, documents))) == 3
    assert read(item, write(item, [])) == []


@pytest.mark.parametrize("choice", FORMATS)
def test_a_view_says_what_was_written(choice: str, documents: list[CutDocument], write: Callable) -> None:
    (item,) = parse_formats([choice]).values()
    without_images = replace(documents[1], reason=None)
    kept = [without_images, *(document for document in documents if document.reason is None)]
    path = write(item, kept)
    with path.open("rb") as stream:
        views = list(item.documents(stream, str(path)))
    for view, document in zip(views, kept, strict=True):
        assert view.url == document.page.url
        assert view.image_urls == tuple(placed.image.url for placed in document.placed)
        assert view.sentences in (None, len(document.page.sentences))
        assert view.key in (None, document.page.key)


@pytest.mark.parametrize("choice", ["openflamingo", "webdataset", "mmc4_jsonl"])
def test_these_formats_store_mmc4_s_documents(
    choice: str, documents: list[CutDocument], write: Callable, read: Callable
) -> None:
    (item,) = parse_formats([choice]).values()
    assert all(item.mmc4_document(stored) is not None for stored in read(item, write(item, documents)))


@pytest.mark.parametrize("choice", FORMATS)
def test_documents_in_mmc4_s_form_and_images_come_back(
    choice: str, documents: list[CutDocument], write: Callable, read: Callable
) -> None:
    (item,) = parse_formats([choice]).values()
    kept = [document for document in documents if document.reason is None]
    for stored, document in zip(read(item, write(item, documents)), kept, strict=True):
        mmc4 = item.mmc4_document(stored)
        if mmc4 is not None:
            assert mmc4.text_list == document.page.sentences
            assert [info.raw_url for info in mmc4.image_info] == [placed.image.url for placed in document.placed]
        for number, placed in enumerate(document.placed):
            assert item.jpeg(stored, number) == (jpeg(placed.image) if item.needs_images else None)


@pytest.mark.parametrize("choice", FORMATS)
def test_the_same_documents_give_the_same_bytes(choice: str, documents: list[CutDocument], write: Callable) -> None:
    (item,) = parse_formats([choice]).values()
    assert write(item, documents, "a").read_bytes() == write(item, documents, "b").read_bytes()


@pytest.mark.parametrize("choice", FORMATS)
@pytest.mark.parametrize("removed", [{"2/1"}, {"3/0", "0/0"}, {"0/0", "0/1"}, {"2/0", "2/1", "2/2", "3/1"}, set()])
def test_a_copy_is_as_if_what_is_removed_had_never_been_there(
    choice: str, removed: set[str], documents: list[CutDocument], write: Callable
) -> None:
    (item,) = parse_formats([choice]).values()
    urls = {f"https://a.example/{name}.jpg" for name in removed}
    pages = [document.page.url for document in documents if document.reason is None]

    def choose(page_url: str, image_urls: Sequence[str]) -> list[bool] | None:
        assert page_url == pages.pop(0)
        chosen = [url not in urls for url in image_urls]
        return chosen if any(chosen) else None

    source, target = write(item, documents), io.BytesIO()
    with source.open("rb") as stream:
        item.copy_shard(stream, str(source), HashingWriter(target), "shard-00007", choose)
    remaining = [
        replace(document, placed=[placed for placed in document.placed if placed.image.url not in urls])
        for document in documents
    ]
    expected = [document for document in remaining if document.placed]
    assert target.getvalue() == write(item, expected, "expected").read_bytes()
    assert not pages


@pytest.mark.parametrize("choice", FORMATS)
def test_a_truncated_shard_is_noticed(
    choice: str, documents: list[CutDocument], write: Callable, read: Callable
) -> None:
    (item,) = parse_formats([choice]).values()
    path: Path = write(item, documents)
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\x00")) if item.extension == "tar" else len(whole) - 1
    for length in {*range(0, end, 512), *range(100, end, 97), end}:
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=path.name):
            read(item, path)
    path.write_bytes(b"something else " * 200)
    with pytest.raises(UserError, match=path.name):
        read(item, path)


def test_settings_are_read() -> None:
    chosen = parse_formats(["webdataset", "mmc4_jsonl:compression=zip,similarity_matrix=false"])
    assert list(chosen) == ["webdataset", "mmc4_jsonl"]
    assert chosen["mmc4_jsonl"] == Mmc4Jsonl("zip", similarity_matrix=False)


@pytest.mark.parametrize(
    ("choices", "complaint"),
    [
        (["mmc4"], f"--formats mmc4.*{', '.join(known_formats())}"),
        (["obelics", "obelics"], "--formats.*obelics"),
        (["mmc4_jsonl", "mmc4_jsonl:compression=zip"], "--formats.*mmc4_jsonl"),
        (["mmc4_jsonl:compression=xz"], "mmc4_jsonl: compression: .*'gz' or 'zip'"),
        (["mmc4_jsonl:zip"], "--formats mmc4_jsonl.*zip.*compression, similarity_matrix"),
        (["obelics:a=b"], "--formats obelics.*a=b"),
        ([], f"--formats.*{', '.join(known_formats())}"),
    ],
)
def test_a_wrong_choice_is_refused_by_name(choices: list[str], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        parse_formats(choices)


def test_a_format_without_its_package_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energon, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"--formats energon: .*pip install 'mmc4-pipeline\[energon\]'"):
        parse_formats(["openflamingo", "energon"])
