"""A takedown by the content of images, from a dataset without its stages."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmc4_pipeline import storage
from mmc4_pipeline.commands import takedown
from mmc4_pipeline.dataset.files import shards_of
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.takedown.transaction import Transaction
from mmc4_pipeline.verify.dataset import verify
from schemas.columns import CLIP_COLUMNS
from schemas.ledger import LedgerRow, ledger_record
from schemas.page import hashed
from tests.mmc4_pipeline.planted_dataset import jpeg, write_dataset

FORMATS = ("openflamingo", "webdataset", "mmc4_jsonl")


def url(document: int, at: int) -> str:
    return f"https://site{document}.example/{at}.jpg"


def ledger(folder: StageFolder) -> Iterator[LedgerRow]:
    for path in sorted(Path(folder.path).glob("ledger/*.parquet")):
        yield from storage.read_records(str(path), ledger_record(CLIP_COLUMNS))


def stored_urls(folder: StageFolder) -> dict[str, set[str]]:
    """Return the URLs of the images in each format."""
    found: dict[str, set[str]] = {}
    for item in shards_of(folder.manifest()):
        path = folder.file(item.file.name)
        with storage.open_read(path) as stream:
            urls = [url for view in item.format.documents(stream, path) for url in view.image_urls]
        found.setdefault(item.format_name, set()).update(urls)
    return found


def taken_down(folder: StageFolder, entries: list[str], list_file: Path, *more: str) -> set[str]:
    """Run a takedown; return the hashes of the URLs that the ledger shows as removed."""
    list_file.write_text("".join(f"{entry}  # by mail\n" for entry in entries))
    takedown.main([folder.path, "--content_list", str(list_file), *more])
    return {row.image_url for row in ledger(folder) if row.filter == "deny_list"}


def digest(kind: str, document: int, at: int, trailer: bytes = b"") -> str:
    return hashlib.new(kind, jpeg(10 * document + at) + trailer).hexdigest()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_images_are_found_by_every_exact_hash(tmp_path: Path, workers: str) -> None:
    folder = write_dataset(tmp_path / "data", shards=3, documents=7, formats=FORMATS)
    before = stored_urls(folder)["openflamingo"]
    entries = [digest("md5", 0, 0), digest("sha1", 1, 1), digest("sha256", 2, 0), digest("sha256", 4, 3, b"trailer")]
    named = {url(0, 0), url(1, 1), url(2, 0), url(4, 3)}
    assert taken_down(folder, entries, tmp_path / "list.txt", "--workers", workers) == set(map(hashed, named))
    assert len(before & named) == 4
    assert all(urls == before - named for urls in stored_urls(folder).values())
    assert verify(folder).problems == []
    (entry,) = folder.manifest().takedowns
    assert (entry.list, entry.links) == (None, 4)
    assert entry.content_list == hashlib.sha256((tmp_path / "list.txt").read_bytes()).hexdigest()


def test_pictures_are_found_within_a_distance(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "data", shards=2, documents=4)
    phashes = {row.image_url: row.phash or 0 for row in ledger(folder)}
    near, far = phashes[url(0, 1)] ^ 0b1111, phashes[url(0, 3)] ^ (0b11111 << 20)
    found = taken_down(folder, [f"phash:{near:016x}", f"phash:{far:016x}"], tmp_path / "list.txt")
    assert found == {hashed(url(document, 1)) for document in range(4)}


def test_bytes_that_were_changed_when_they_were_stored_are_found_by_sha256_only(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "data", shards=1, documents=2)
    assert taken_down(folder, [digest("md5", 0, 3, b"trailer")], tmp_path / "list.txt") == set()
    assert taken_down(folder, [digest("sha256", 0, 3, b"trailer")], tmp_path / "list.txt") == {hashed(url(0, 3))}


def test_an_entry_of_zeros_does_not_match_images_without_that_hash(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "data", shards=1, documents=2)
    entries = ["0" * 32, "0" * 40, "0" * 64]
    assert taken_down(folder, entries, tmp_path / "list.txt") == set()


def test_both_lists_are_one_takedown_with_the_bytes_of_a_list_of_urls(tmp_path: Path) -> None:
    names = (url(1, 0), url(3, 3))
    (tmp_path / "content.txt").write_text(digest("sha1", 1, 0))
    (tmp_path / "urls.txt").write_text(url(3, 3))
    (tmp_path / "all.txt").write_text("\n".join(names))
    folders = [write_dataset(tmp_path / name / "data", shards=2, documents=6) for name in ("both", "urls")]
    both = ["--list", str(tmp_path / "urls.txt"), "--content_list", str(tmp_path / "content.txt")]
    takedown.main([folders[0].path, *both])
    takedown.main([folders[1].path, "--list", str(tmp_path / "all.txt")])
    changed = 0
    for path in (tmp_path / "both").rglob("*.*"):
        other = tmp_path / "urls" / path.relative_to(tmp_path / "both")
        changed += path.read_bytes() != other.read_bytes()
        assert path.name == "manifest.json" or path.read_bytes() == other.read_bytes()
    assert changed == 1
    (entry,) = folders[0].manifest().takedowns
    assert entry.list
    assert entry.content_list


def test_a_stopped_takedown_is_finished_with_the_same_lists_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_dataset(tmp_path / "data", shards=2, documents=6)
    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "apply", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(UserError):
            taken_down(folder, [digest("sha256", 1, 0)], tmp_path / "list.txt")
    (tmp_path / "other.txt").write_text(digest("sha256", 1, 1))
    (tmp_path / "urls.txt").write_text(url(1, 0))
    with_urls = ["--content_list", str(tmp_path / "list.txt"), "--list", str(tmp_path / "urls.txt")]
    for options in (["--content_list", str(tmp_path / "other.txt")], ["--list", str(tmp_path / "urls.txt")], with_urls):
        with pytest.raises(UserError, match="list"):
            takedown.main([folder.path, *options])
    assert taken_down(folder, [digest("sha256", 1, 0)], tmp_path / "list.txt") == {hashed(url(1, 0))}
    assert verify(folder).problems == []


def test_a_dataset_that_stores_no_images_is_looked_up_by_its_ledger_only(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "data", shards=2, documents=4, formats=("mmc4_jsonl",))
    with pytest.raises(UserError, match=r"list\.txt"):
        taken_down(folder, [digest("md5", 0, 0)], tmp_path / "list.txt")
    assert taken_down(folder, [digest("sha256", 0, 0)], tmp_path / "list.txt") == {hashed(url(0, 0))}


def test_lists_are_checked_before_anything_is_read(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "data", shards=1, documents=1)
    with pytest.raises(UserError, match=r"list\.txt:1"):
        taken_down(folder, ["example.com"], tmp_path / "list.txt")
    with pytest.raises(SystemExit):
        takedown.main([folder.path])
