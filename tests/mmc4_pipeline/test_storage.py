"""Files: complete or absent after writing, and one clear line for a missing or broken file."""

import hashlib
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from mmc4_pipeline import storage
from mmc4_pipeline.errors import PermanentReadError, UserError
from mmc4_pipeline.storage.full_disk import naming_full_disk
from schemas.document import RejectedDocument
from schemas.manifest import WrittenFile

RECORDS = [RejectedDocument(f"{number:032x}", f"https://a.example/{number}", "s:1", "r", "d") for number in range(1000)]


def test_what_was_written_is_described_by_its_own_bytes(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a.bin"
    with storage.write_atomically(str(path)) as writer:
        writer.write(b"abc")
        writer.write(bytearray(b"def"))
    described = storage.written(str(path), writer)
    assert path.read_bytes() == b"abcdef"
    assert described == WrittenFile("a.bin", 6, hashlib.sha256(b"abcdef").hexdigest())
    assert [item.name for item in path.parent.iterdir()] == ["a.bin"]


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"before")
    with pytest.raises(TypeError), storage.write_atomically(str(path)) as writer:
        writer.writelines([b"half", "no bytes"])
    assert [(item.name, item.read_bytes()) for item in tmp_path.iterdir()] == [("a.bin", b"before")]


@pytest.fixture
def no_large_files() -> Iterator[None]:
    """Let no file grow beyond 50 kB: writes then fail as they do on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("no_large_files")
def test_without_room_a_write_names_the_folder_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.bin"
    storage.write_bytes(str(path), b"before")
    with (
        pytest.raises(UserError, match=rf"^{path.parent}: .*a\.bin .* 0\.1 MB, .*--resume$"),
        storage.write_atomically(str(path)) as writer,
    ):
        writer.writelines([bytes(10_000)] * 10)
    many = [RejectedDocument(hashlib.sha512(b"%d" % number).hexdigest(), "", "", "", "") for number in range(2000)]
    with pytest.raises(UserError, match=rf"^{path.parent}: .*b\.parquet "):
        storage.write_records(str(path.with_name("b.parquet")), many, RejectedDocument)
    assert [(item.name, item.read_bytes()) for item in path.parent.iterdir()] == [("a.bin", b"before")]


def test_a_full_disk_is_named_and_other_errors_are_not(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=rf"^{tmp_path}: .* 2\.5 MB, "),
        naming_full_disk(str(tmp_path), "a.bin", lambda: 2_500_000),
        Path("/dev/full").open("wb") as full,
    ):
        full.write(b"x")
    with pytest.raises(IsADirectoryError), naming_full_disk(str(tmp_path), "a.bin", lambda: 0):
        tmp_path.write_bytes(b"x")


def test_files_are_synced_before_they_get_their_name_and_names_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, calls = tmp_path / "a.bin", []

    def fsync(descriptor: int) -> None:
        found = os.fstat(descriptor)
        calls.append((stat.S_ISDIR(found.st_mode), path.exists(), found.st_size))
        synced(descriptor)

    synced = os.fsync
    monkeypatch.setattr(os, "fsync", fsync)
    storage.write_bytes(str(path), b"x" * 5000)
    assert [(is_folder, exists) for is_folder, exists, _ in calls] == [(False, False), (True, True)]
    assert calls[0][2] == 5000


def test_records_are_written_as_the_same_bytes_each_time(tmp_path: Path) -> None:
    first = storage.write_records(str(tmp_path / "a.parquet"), RECORDS, RejectedDocument)
    second = storage.write_records(str(tmp_path / "b.parquet"), RECORDS, RejectedDocument)
    assert first.sha256 == second.sha256 == hashlib.sha256((tmp_path / "a.parquet").read_bytes()).hexdigest()
    assert list(storage.read_records(str(tmp_path / "a.parquet"), RejectedDocument)) == RECORDS


@pytest.mark.parametrize("damage", ["cut in half", "bytes within a page"])
def test_a_damaged_parquet_file_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.parquet"
    storage.write_records(str(path), RECORDS, RejectedDocument)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage == "cut in half" else whole[:4] + b"\xff" * 900 + whole[904:])
    with pytest.raises(UserError, match=r"a\.parquet: not readable as RejectedDocument"):
        list(storage.read_records(str(path), RejectedDocument))


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    for read in (storage.read_bytes, storage.read_json, storage.open_read):
        with pytest.raises(UserError, match=r"gone: cannot be read"):
            read(str(tmp_path / "gone"))
    with pytest.raises(UserError, match=r"gone: cannot be read"):
        list(storage.read_records(str(tmp_path / "gone"), RejectedDocument))
    with pytest.raises(UserError, match="cannot be read"):
        storage.read_bytes(str(tmp_path))
    with pytest.raises(UserError, match="nosuchstore:// is not available"):
        storage.open_read("nosuchstore://bucket/file")


def test_broken_json_is_named_and_good_json_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    storage.write_json(str(path), {"b": [1, None], "a": "ü"})
    assert storage.read_json(str(path)) == {"b": [1, None], "a": "ü"}
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UserError, match=r"a\.json: .*JSON"):
        storage.read_json(str(path))
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(UserError, match=r"a\.json: "):
        storage.read_json(str(path))


def test_matches_keep_the_form_of_the_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.txt", "a.txt", "c.bin"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path.parent)
    assert storage.matches(f"{tmp_path}/*.txt") == [f"{tmp_path}/a.txt", f"{tmp_path}/b.txt"]
    assert storage.matches(f"{tmp_path.name}/*.txt") == [f"{tmp_path.name}/a.txt", f"{tmp_path.name}/b.txt"]


def test_other_storages_work_the_same() -> None:
    described = storage.write_bytes("memory://out/a.bin", b"abc")
    storage.write_bytes("memory://out/b.bin", b"")
    assert storage.matches("memory://out/*.bin") == ["memory:///out/a.bin", "memory:///out/b.bin"]
    assert all(storage.exists(path) for path in storage.matches("memory://out/*.bin"))
    assert storage.read_bytes("memory://out/a.bin") == b"abc"
    assert storage.size("memory://out/a.bin") == described.bytes == 3
    with storage.open_stream("memory://out/a.bin") as stream:
        assert (stream.read(2), stream.seek(1), stream.read()) == (b"ab", 1, b"bc")


@pytest.mark.parametrize("folder", ["memory://ranges", "local"])
def test_ranges_come_in_order_however_many(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path, data = f"{folder}/a.bin", bytes(range(256)) * 400
    storage.write_bytes(path, data)
    ranges = [(start, 50) for start in range(0, len(data) + 500, 700)]
    assert list(storage.read_ranges(path, ranges)) == [data[start : start + length] for start, length in ranges]
    missing = list(storage.read_ranges(f"{folder}/gone", ranges))
    assert len(missing) == len(ranges)
    assert all(isinstance(outcome, PermanentReadError) for outcome in missing)


class ForeignError(Exception):
    """An error that no other package knows."""


class FailingFiles(MemoryFileSystem):
    """A store whose package has its own errors, like those of s3:// and gs://."""

    protocol = "failing"

    def cat_file(self, *args: object, **_: object) -> bytes:
        """Fail."""
        raise ForeignError(args)

    def info(self, path: str, **_: object) -> dict[str, object]:
        """Describe any file."""
        return {"name": path, "size": 3, "type": "file"}

    def open(self, *_: object, **__: object) -> MemoryFile:
        """Open a file that fails when it is read."""
        stream = MemoryFile(self, "a.bin", b"abc")
        stream.read = self.cat_file
        return stream


def test_the_errors_of_a_store_s_own_package_name_the_file() -> None:
    fsspec.register_implementation("failing", FailingFiles, clobber=True)
    with pytest.raises(UserError, match=r"failing://store/a\.bin: cannot be read \(ForeignError") as caught:
        storage.read_range("failing://store/a.bin", 0, 2)
    assert not isinstance(caught.value, PermanentReadError)  # it may be temporary: nothing is dropped for it
    assert storage.read_range("failing://store/a.bin", 3, 2) == b""  # S3 refuses a range past the end
    for opened in (storage.open_read, storage.open_stream):
        with opened("failing://store/a.bin") as stream, pytest.raises(UserError, match="ForeignError"):
            stream.read(2)


@pytest.mark.parametrize("name", ["out", "out [1]"])
def test_only_leftovers_are_removed(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    (folder / "done").mkdir(parents=True)
    kept = [folder / "a.tar", folder / "done" / "00001.json"]
    for path in [*kept, folder / "a.tar.tmp-0123456789ab", folder / "done" / "00002.json.tmp-0123456789ab"]:
        path.touch()
    storage.remove_leftovers(str(folder))
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == kept


def test_a_store_that_renames_only_to_new_names_gets_the_new_content() -> None:
    fsspec.register_implementation("newnames", NewNamesFiles, clobber=True)
    for content in (b"first", b"second"):
        storage.write_bytes("newnames://out/a.bin", content)
        assert storage.read_bytes("newnames://out/a.bin") == content
    assert len(storage.matches("newnames://out/*")) == 1


class NewNamesFiles(MemoryFileSystem):
    """A store whose rename does nothing if the new name exists, like HDFS over HTTP."""

    protocol = "newnames"
    store: dict[str, object] = {}

    def mv(self, path1: str, path2: str, **options: object) -> None:
        """Rename a file unless the new name exists."""
        if not self.exists(path2):
            super().mv(path1, path2, **options)
