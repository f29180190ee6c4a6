"""`mmc4 verify` checks the shards of every format."""

import shutil
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from mmc4_pipeline import storage
from mmc4_pipeline.dataset.files import ShardFile, shards_of
from mmc4_pipeline.formats.base import FinishedShard
from mmc4_pipeline.formats.registry import known_formats
from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.verify.dataset import verify
from schemas.manifest import CutPlan

MakeDataset = Callable[..., StageFolder]
FORMATS = list(known_formats())


def shard(folder: StageFolder, name: str, number: int = 1) -> Path:
    """Return the path of a shard in a format."""
    return Path(folder.file(known_formats()[name]().file_name(number, 2)))


def copy_without(folder: StageFolder, name: str, *, first_image: bool) -> None:
    """Write a shard without the first document, or without its first image; the manifest gets the new hash."""
    item, path, number = known_formats()[name](), shard(folder, name), 0

    def choose(_: str, image_urls: object) -> list[bool] | None:
        nonlocal number
        number += 1
        images = len(list(image_urls))  # type: ignore[call-overload]
        if number > 1:
            return [True] * images
        return [False, *[True] * (images - 1)] if first_image else None

    old = path.with_suffix(".old")
    path.rename(old)
    with old.open("rb") as stream, storage.write_atomically(str(path)) as writer:
        item.copy_shard(stream, str(old), writer, item.stem_of(path.name), choose)
    old.unlink()
    manifest = Path(folder.file("manifest.json"))
    listed = orjson.loads(manifest.read_bytes())
    (file,) = (file for file in listed["files"] if file["name"] == item.file_name(1, 2))
    file |= {"bytes": writer.position, "sha256": writer.hexdigest()}
    manifest.write_bytes(orjson.dumps(listed))
    shards = [FinishedShard(each.file, documents(each, folder)) for each in shards_of(folder.manifest(CutPlan))]
    own = [each for each in shards if item.number_of(each.file.name) is not None]
    for each in own:
        for beside, written in item.described(folder.path, each).items():
            Path(folder.file(beside)).write_bytes(written)
    for index, described in item.index_files(folder.path, own):
        Path(folder.file(index)).write_bytes(described.read())


def documents(item: ShardFile, folder: StageFolder) -> int:
    path = folder.file(item.file.name)
    with storage.open_read(path) as stream:
        return sum(1 for _ in item.format.read_shard(stream, path))


def with_another(name: str) -> list[str]:
    """Return a format and the default one, whose shards the ledger names."""
    return list(dict.fromkeys(["openflamingo", name]))


@pytest.mark.parametrize("name", FORMATS)
def test_a_clean_dataset_passes_whatever_its_only_format(make_dataset: MakeDataset, name: str) -> None:
    report = verify(make_dataset(formats=[name]))
    assert report.problems == []
    assert (report.documents, report.images, report.links) == (12, 36, 48)


def test_a_clean_dataset_in_all_formats_passes(make_dataset: MakeDataset) -> None:
    folder = make_dataset(formats=FORMATS)
    assert len(shards_of(folder.manifest(CutPlan))) == 2 * len(FORMATS)
    assert verify(folder, workers=2).problems == []


@pytest.mark.parametrize("name", FORMATS)
def test_an_image_that_a_format_lacks_is_found(make_dataset: MakeDataset, name: str) -> None:
    folder = make_dataset(formats=with_another(name))
    copy_without(folder, name, first_image=True)
    found = verify(folder).problems
    assert any(shard(folder, name).name in problem and "https://site1.example/" in problem for problem in found)
    assert any("36 links" in problem and f"35 images in the {name} shards" in problem for problem in found)
    assert len(found) == 2


@pytest.mark.parametrize("name", FORMATS)
def test_a_document_that_a_format_lacks_is_found(make_dataset: MakeDataset, name: str) -> None:
    folder = make_dataset(formats=with_another(name))
    copy_without(folder, name, first_image=False)
    found = verify(folder).problems
    assert any("12 documents" in problem and f"11 in the {name} shards" in problem for problem in found)
    assert any(problem.startswith(f"{shard(folder, name)}: ") for problem in found)
    assert len(found) == 3


@pytest.mark.parametrize("name", FORMATS)
def test_a_truncated_shard_is_found(make_dataset: MakeDataset, name: str) -> None:
    folder = make_dataset(formats=with_another(name))
    path = shard(folder, name)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    found = verify(folder).problems
    assert all(problem.startswith(f"{path}: ") for problem in found)
    assert any(f"{len(whole) // 2} bytes" in problem and str(len(whole)) in problem for problem in found)


@pytest.mark.parametrize("name", FORMATS)
def test_a_shard_that_the_manifest_does_not_list_is_found(make_dataset: MakeDataset, name: str) -> None:
    folder = make_dataset(formats=with_another(name))
    shutil.copy(shard(folder, name), shard(folder, name, 7))
    (found,) = verify(folder).problems
    assert found.startswith(f"{shard(folder, name, 7)}: ")


@pytest.mark.parametrize("name", FORMATS)
def test_a_flipped_byte_is_found(make_dataset: MakeDataset, name: str) -> None:
    folder = make_dataset(formats=[name], documents=4)
    path = shard(folder, name)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    assert any(problem.startswith(f"{path}: ") for problem in verify(folder).problems)


@pytest.mark.parametrize("name", FORMATS)
def test_files_that_describe_the_shards_are_compared_with_them(make_dataset: MakeDataset, name: str) -> None:
    folder = make_dataset(formats=[name], documents=4)
    item = known_formats()[name]()
    shards = [FinishedShard(each.file, documents(each, folder)) for each in shards_of(folder.manifest(CutPlan))]
    beside = [name for each in shards for name in item.described(folder.path, each)]
    for index in [*beside, *(index for index, _ in item.index_files(folder.path, shards))]:
        path = Path(folder.file(index))
        content = path.read_bytes()
        path.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
        assert [problem.partition(": ")[0] for problem in verify(folder).problems] == [str(path)]
        path.unlink()
        assert [problem.partition(": ")[0] for problem in verify(folder).problems] == [str(path)]
        path.write_bytes(content)


def test_a_format_is_checked_by_the_ledger_of_another(make_dataset: MakeDataset) -> None:
    folder = make_dataset(formats=["obelics", "webdataset"])
    shutil.copy(shard(folder, "webdataset", 0), shard(folder, "webdataset", 1))
    found = verify(folder).problems
    assert any("https://site0.example/0.jpg" in problem for problem in found)
    assert all(str(shard(folder, "webdataset", 1)) in problem for problem in found)
