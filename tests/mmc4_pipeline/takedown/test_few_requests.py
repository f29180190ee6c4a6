"""A takedown from a dataset on an object store reads and writes what is affected, however many shards there are."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from benchmarks.object_store import ObjectStore, running
from mmc4_pipeline import storage
from mmc4_pipeline.commands import takedown
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.stage_notes import ALL_NOTES, read_notes, writing_notes
from mmc4_pipeline.takedown.candidates import candidates
from mmc4_pipeline.takedown.folders import find_folders
from mmc4_pipeline.takedown.lists import Lists
from mmc4_pipeline.verify.dataset import verify
from schemas.reasons import Stage
from tests.mmc4_pipeline.planted_dataset import write_dataset

URL = "https://site3.example/1.jpg"  # of document 3, in shard 3


@pytest.fixture
def served() -> Iterator[tuple[ObjectStore, str]]:
    store = ObjectStore()
    with running(store) as url:
        yield store, url


@pytest.fixture
def removals(tmp_path: Path) -> str:
    path = tmp_path / "list.txt"
    path.write_text(f"{URL}\n")
    return str(path)


def put(store: ObjectStore, folder: Path, shards: int, name: str) -> None:
    write_dataset(folder / name / "data", shards=shards, documents=shards)
    store.load(folder / name)
    store.objects = {f"{name}/{key}" if key.startswith("data/") else key: body for key, body in store.objects.items()}
    store.forget_requests()


def test_it_touches_the_files_of_the_affected_shard_only(
    served: tuple[ObjectStore, str], removals: str, tmp_path: Path
) -> None:
    store, url = served
    put(store, tmp_path, 30, "out")
    takedown.main([f"{url}/out/data", "--list", removals])
    touched = {key for _, key in store.requests if key.endswith((".tar", ".parquet")) and "notes" not in key}
    assert {key.rpartition("/")[2] for key in touched} == {"shard-00003.tar", "ledger-00003-of-00030.parquet"}
    folder = StageFolder(f"{url}/out/data", Stage.CUT)
    assert folder.manifest().counts["links"].kept == 30 * 3 - 1
    assert verify(folder).problems == []
    assert list(folder.notes()) == [msgspec.structs.replace(folder.note(shard), urls=None) for shard in range(30)]


def test_the_number_of_requests_does_not_depend_on_the_number_of_shards(
    served: tuple[ObjectStore, str], removals: str, tmp_path: Path
) -> None:
    store, url = served
    numbers = []
    for shards in (5, 40):
        put(store, tmp_path, shards, f"out{shards}")
        takedown.main([f"{url}/out{shards}/data", "--list", removals])
        numbers.append(len(store.requests))
    assert numbers[0] == numbers[1]


def test_a_dataset_without_filters_is_read_and_changed_like_one_with_them(tmp_path: Path, removals: str) -> None:
    for name in ("with", "without"):
        write_dataset(tmp_path / name, shards=5, documents=5)
    (tmp_path / "without" / ALL_NOTES).unlink()
    for name in ("with", "without"):
        takedown.main([str(tmp_path / name), "--list", removals])
    for path in (tmp_path / "with").rglob("*.*"):
        if path.name != ALL_NOTES:
            assert path.read_bytes() == (tmp_path / "without" / path.relative_to(tmp_path / "with")).read_bytes()


def changed_notes(folder: StageFolder, change: dict[int, dict[str, object]]) -> None:
    """Write the file of all notes again, with changed fields of some of them."""
    notes = list(read_notes(folder.file(ALL_NOTES), urls=True))
    with storage.write_atomically(folder.file(ALL_NOTES)) as stream, writing_notes(stream) as write:
        for note in notes:
            write(msgspec.structs.replace(note, **change.get(note.shard, {})))


def found(folder: StageFolder, removals: str) -> set[int]:
    (dataset,) = find_folders(folder.path).datasets
    return candidates(dataset, Lists.at(removals, None).denied())


def test_a_filter_of_other_files_or_none_is_not_trusted(tmp_path: Path, removals: str) -> None:
    folder = write_dataset(tmp_path / "data", shards=6, documents=6)
    assert found(folder, removals) == {3}
    other = [msgspec.structs.replace(file, sha256="0") for file in folder.note(1).files]
    changed_notes(folder, {1: {"files": other}, 4: {"urls": None}})
    assert found(folder, removals) == {1, 3, 4}


def test_the_shard_that_lists_a_file_of_an_affected_one_is_read_too(tmp_path: Path, removals: str) -> None:
    folder = write_dataset(tmp_path / "data", shards=6, documents=6)
    parts = [
        {0: 1},
        {0: 1, 1: 1},
        {1: 1},
        {1: 1},
        {},
        {2: 1},
    ]  # documents of shards 1 to 3 are in the dataset's shard 1
    changed_notes(folder, {shard: {"documents_in_shard": of} for shard, of in enumerate(parts)})
    assert found(folder, removals) == {1, 3}


def test_a_long_list_reads_all_shards(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "data", shards=4, documents=4)
    (tmp_path / "long.txt").write_text("".join(f"nowhere{number}.example\n" for number in range(2000)))
    assert found(folder, str(tmp_path / "long.txt")) == {0, 1, 2, 3}


def test_damaged_notes_are_refused(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "data", shards=4, documents=4)
    path = tmp_path / "data" / ALL_NOTES
    data = bytearray(path.read_bytes())
    data[len(data) // 4] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=ALL_NOTES):
        list(read_notes(folder.file(ALL_NOTES), urls=True))
