"""Datasets from somebody else: the names in their files never lead out of their folder."""

import hashlib
import json
from pathlib import Path

import pytest

from mmc4_pipeline import storage
from mmc4_pipeline.commands import takedown, verify
from mmc4_pipeline.errors import UserError
from tests.mmc4_pipeline.planted_dataset import write_dataset

OUTSIDE = "mine\n"
NAMES = [
    "../victim",
    "../../victim",
    "a/../../victim",
    "/{tmp}/victim",
    "./../victim",
    "file:///{tmp}/victim",
    "..\\victim",
]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    (tmp_path / "victim").write_text(OUTSIDE)
    (tmp_path / "deny.txt").write_text("nobody.example\n")
    write_dataset(tmp_path / "dataset")
    return tmp_path / "dataset"


def named(tmp_path: Path, name: str) -> str:
    return name.replace("/{tmp}", str(tmp_path))


def add_journal(dataset: Path, name: str, plan: dict[str, object] | None) -> None:
    """Add a takedown that was stopped, of which only the move of one file remains."""
    folder = dataset / "takedown"
    new = Path(f"{folder}/new/{name}") if not name.startswith(("/", "file:")) else folder / "new/victim"
    new.parent.mkdir(parents=True, exist_ok=True)
    (folder / "new").mkdir(exist_ok=True)
    new.write_text("theirs\n")
    (folder / "journal.json").write_text(json.dumps({"files": [name], "publications": []}))
    if plan is not None:
        (folder / "plan.json").write_text(json.dumps(plan))


@pytest.mark.parametrize("name", NAMES)
def test_a_journal_never_moves_a_file_out_of_its_folder(dataset: Path, tmp_path: Path, name: str) -> None:
    known = hashlib.sha256((tmp_path / "deny.txt").read_bytes()).hexdigest()
    add_journal(dataset, named(tmp_path, name), {"list": known})
    with pytest.raises(UserError, match="leads out"):
        takedown.main([str(dataset), "--list", str(tmp_path / "deny.txt")])
    assert (tmp_path / "victim").read_text() == OUTSIDE


@pytest.mark.parametrize("plan", [None, {}, {"list": "0" * 64}])
def test_a_journal_of_another_list_does_not_count(
    dataset: Path, tmp_path: Path, plan: dict[str, object] | None
) -> None:
    before = (dataset / "shard-00000.tar").read_bytes()
    add_journal(dataset, "shard-00000.tar", plan)
    with pytest.raises(UserError, match=f"another list.*remove {dataset}/takedown"):
        takedown.main([str(dataset), "--list", str(tmp_path / "deny.txt")])
    assert (dataset / "shard-00000.tar").read_bytes() == before


@pytest.mark.parametrize("name", NAMES)
def test_verify_reads_nothing_out_of_the_folder(
    dataset: Path, tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = "secret of the user"
    (tmp_path / "victim").write_text(secret)
    manifest = json.loads((dataset / "manifest.json").read_bytes())
    manifest["files"].append({"name": named(tmp_path, name), "bytes": len(secret), "sha256": "0" * 64})
    (dataset / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="leads out"):
        verify.main([str(dataset)])
    assert secret not in "".join(capfd.readouterr())


def test_verify_does_not_follow_a_symbolic_link_out_of_the_folder(dataset: Path, tmp_path: Path) -> None:
    shard = dataset / "shard-00000.tar"
    shard.rename(tmp_path / "elsewhere.tar")
    shard.symlink_to(tmp_path / "elsewhere.tar")
    with pytest.raises(UserError, match=r"shard-00000\.tar.*leads out"):
        verify.main([str(dataset)])


def test_a_folder_may_itself_be_a_link(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(dataset)
    assert storage.inside(str(tmp_path / "link"), "shard-00000.tar") == f"{tmp_path}/link/shard-00000.tar"


@pytest.mark.parametrize("name", ["a.tar", "ledger/a.parquet", "a..b/c", "...", "a:b"])
def test_other_names_are_as_they_were(tmp_path: Path, name: str) -> None:
    assert storage.inside(str(tmp_path), name) == f"{tmp_path}/{name}"
    assert storage.inside("s3://bucket/folder", name) == f"s3://bucket/folder/{name}"


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/a", "s3://other/a", "a::file:///b", "a\nb"])
def test_names_in_a_store_stay_in_their_folder_too(name: str) -> None:
    with pytest.raises(UserError, match="leads out"):
        storage.inside("s3://bucket/folder", name)
