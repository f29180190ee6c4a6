"""Shards: their sizes, and that all formats are written in one pass over the images."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from mmc4_pipeline import storage
from mmc4_pipeline.dataset.shard_numbers import expected_bytes
from mmc4_pipeline.dataset.write_shards import DatasetSettings, write_shard
from mmc4_pipeline.formats.registry import known_formats, parse_formats
from mmc4_pipeline.stage_folder import StageFolder
from schemas.image import Image
from schemas.manifest import CutOptions, Manifest, decode
from schemas.reasons import Stage
from tests.mmc4_pipeline.cut_documents import document
from tests.mmc4_pipeline.planted_plans import cut_plan


@pytest.mark.parametrize("text", ["Plain words. ", "日本語。", 'Said "so". ', "\u2028 "])
@pytest.mark.parametrize("lengths", [(1,), (5000,) * 10, (100_000, 33_333), (0,) * 40])
def test_a_shard_s_file_is_at_most_as_large_as_expected(tmp_path: Path, text: str, lengths: tuple[int, ...]) -> None:
    documents = [document(number, *lengths, text=text) for number in range(40)]
    formats = parse_formats(["openflamingo", "webdataset"]).values()
    files = write_shard(
        StageFolder(str(tmp_path), Stage.CUT), formats, 0, 1, documents, lambda image: b"x" * (image.length or 0)
    )
    expected = sum(map(expected_bytes, documents))
    largest = max(file.bytes for file in files if "/" not in file.name)
    assert largest <= expected + 10240  # a tar ends on a record of 10 KB
    assert expected <= 3 * largest


def test_all_formats_are_written_in_one_pass_over_the_images(tmp_path: Path) -> None:
    offsets: list[int] = []

    def read(image: Image) -> bytes:
        offsets.append(image.offset or 0)
        return b"\xff\xd8"

    formats = [item() for item in known_formats().values()]
    documents = [document(number, 10, 20) for number in range(5)]
    files = write_shard(StageFolder(str(tmp_path), Stage.CUT), formats, 3, 4, documents, read)
    assert offsets == [1000 * number + at for number in range(5) for at in range(2)]
    assert [file.name for file in files] == [item.file_name(3, 4) for item in formats]


@pytest.mark.parametrize("choices", [["obelics"], ["webdataset", "mmc4_jsonl:compression=zip"]])
def test_settings_come_back_from_a_plan(choices: list[str]) -> None:
    settings = DatasetSettings(parse_formats(choices), 10**6)
    options = decode(storage.json_bytes(settings.plan()), CutOptions)
    plan = msgspec.structs.replace(cut_plan(1), options=options)
    back = DatasetSettings.of(Manifest(plan=plan, versions={}, counts={}, files=[]))
    assert back == settings
    assert back.named_in_ledger(2, 3) == settings.named_in_ledger(2, 3)


def test_no_image_is_read_for_formats_of_links(tmp_path: Path) -> None:
    def read(image: Image) -> bytes:
        pytest.fail(f"{image.url} was read")

    formats = parse_formats(["obelics", "mmc4_jsonl"]).values()
    write_shard(StageFolder(str(tmp_path), Stage.CUT), formats, 0, 1, [document(0, 10)], read)


def test_only_the_images_of_one_document_are_in_memory(tmp_path: Path) -> None:
    """A shard may be larger than memory: the images of a document are released before the next is read."""
    import tracemalloc

    documents = [document(number, 1_000_000) for number in range(40)]
    formats = parse_formats(["openflamingo", "webdataset"]).values()
    tracemalloc.start()
    write_shard(StageFolder(str(tmp_path), Stage.CUT), formats, 0, 1, documents, lambda image: bytes(image.length or 0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30_000_000  # of 40 MB of images; orjson reserves 8 times the size of its input


@pytest.mark.parametrize("formats", [["openflamingo"], ["webdataset", "obelics"]])
def test_no_file_remains_if_an_image_cannot_be_read(tmp_path: Path, formats: list[str]) -> None:
    def fail_at(number: int) -> Callable[[Image], bytes]:
        def read(image: Image) -> bytes:
            if image.key == f"{number:032x}":
                raise OSError
            return b"\xff\xd8"

        return read

    with pytest.raises(OSError):  # noqa: PT011 - the reader's own error
        write_shard(
            StageFolder(str(tmp_path), Stage.CUT),
            parse_formats(formats).values(),
            0,
            1,
            [document(number, 10) for number in range(3)],
            fail_at(2),
        )
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
