"""`mmc4 export`: the shards that the cut would have written, whenever it is stopped, and listed like them."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from mmc4_pipeline import storage
from mmc4_pipeline.commands import export as command
from mmc4_pipeline.commands import takedown
from mmc4_pipeline.dataset.files import shards_of
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.export import export
from mmc4_pipeline.formats.registry import known_formats, parse_formats
from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.verify.dataset import verify
from schemas.manifest import CutPlan
from tests.mmc4_pipeline.planted_dataset import write_dataset

MakeDataset = Callable[..., StageFolder]
OTHERS = [
    name for name in known_formats() if name not in ("openflamingo", "energon")
]  # its package takes seconds to import
SAME = [name for name in OTHERS if name != "obelics"]  # its metadata have what only the earlier stages know


def contents(folder: StageFolder, names: Sequence[str] = SAME) -> dict[str, str]:
    """Return the sha256 of the files of some formats and of the default one, with those that describe the shards."""
    root = Path(folder.path)
    folders = {known_formats()[name].folder for name in names}
    paths = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if path.relative_to(root).parts[0] in folders or (path.parent == root and path.suffix == ".tar")
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> StageFolder:
    """Return a dataset that was cut in all formats."""
    return write_dataset(tmp_path_factory.mktemp("cut") / "whole", formats=["openflamingo", *OTHERS], documents=5)


@pytest.fixture
def make_dataset(tmp_path: Path) -> MakeDataset:
    """Make a small dataset below the test's folder."""
    return lambda name="mmc4", **options: write_dataset(tmp_path / name, **({"documents": 5} | options))


@pytest.mark.parametrize(
    ("source", "workers"), [("openflamingo", "1"), pytest.param("webdataset", "2", marks=pytest.mark.engines)]
)
def test_the_bytes_are_those_of_a_cut(make_dataset: MakeDataset, whole: StageFolder, source: str, workers: str) -> None:
    folder = make_dataset(formats=[source])
    command.main([folder.path, "--formats", ",".join(OTHERS), "openflamingo", "--workers", workers])
    assert contents(folder) == contents(whole)
    assert verify(folder).problems == []
    manifest = folder.manifest(CutPlan)
    assert {shard.format_name for shard in shards_of(manifest)} == {"openflamingo", *OTHERS}
    assert [item["name"] for item in manifest.plan.options.formats] == [source]
    assert not Path(folder.file("export")).exists()
    views = []
    for dataset in (folder, whole):
        item, path = known_formats()["obelics"](), dataset.file("obelics/shard-00001.parquet")
        with storage.open_read(path) as stream:
            views.append([(row["texts"], row["images"]) for row in item.read_shard(stream, path)])
    assert views[0] == views[1]


def test_again_it_does_nothing(make_dataset: MakeDataset) -> None:
    folder = make_dataset()
    assert len(export(folder, parse_formats(["parquet"]))) == 2
    before = Path(folder.file("manifest.json")).read_bytes()
    assert export(folder, parse_formats(["parquet"])) == []
    assert Path(folder.file("manifest.json")).read_bytes() == before
    chat = make_dataset("chat", formats=["openflamingo", "chat_jsonl"])
    with pytest.raises(UserError, match="chat_jsonl"):
        export(chat, parse_formats(["chat_jsonl:template=llava"]))


def test_it_goes_on_after_the_last_finished_shard(make_dataset: MakeDataset, whole: StageFolder) -> None:
    folder, chosen = make_dataset(), parse_formats(["parquet", "mds"])
    second = Path(folder.file("shard-00001.tar"))
    content = second.read_bytes()
    second.write_bytes(content[:-1] + b"x")
    with pytest.raises(UserError, match=r"shard-00001\.tar"):
        export(folder, chosen)
    assert not Path(folder.file("parquet")).exists()
    first = Path(folder.file("export/new/parquet/shard-00000.parquet"))
    kept = first.stat().st_ino
    second.write_bytes(content)
    export(folder, chosen)
    assert Path(folder.file("parquet/shard-00000.parquet")).stat().st_ino == kept
    assert contents(folder, ["parquet", "mds"]) == contents(whole, ["parquet", "mds"])
    assert verify(folder).problems == []


@pytest.mark.parametrize("moved", [0, 2, 4, 5, 6])
def test_a_stop_while_files_are_moved_is_made_good(make_dataset: MakeDataset, moved: int, tmp_path: Path) -> None:
    folder, chosen = make_dataset(), parse_formats(["parquet"])
    rename, left = storage.rename, moved

    def stop(path: str, to: str) -> None:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        rename(path, to)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "rename", stop)
        if moved < 6:  # two shards, two notes, all notes, the manifest
            with pytest.raises(KeyboardInterrupt):
                export(folder, chosen)
        else:
            export(folder, chosen)
    if moved < 6:
        (tmp_path / "list.txt").write_text("nothing.example")
        with pytest.raises(UserError, match="mmc4 export"):
            takedown.main([folder.path, "--list", str(tmp_path / "list.txt")])
        with pytest.raises(UserError, match="formats"):
            export(folder, parse_formats(["mds"]))
    export(folder, chosen)
    assert verify(folder).problems == []
    assert len(shards_of(folder.manifest(CutPlan))) == 4
    assert not Path(folder.file("export")).exists()


@pytest.mark.parametrize("formats", [OTHERS, pytest.param(["energon"], marks=pytest.mark.engines)], ids=len)
def test_a_takedown_removes_from_exported_formats_too(
    make_dataset: MakeDataset, tmp_path: Path, formats: list[str]
) -> None:
    folder = make_dataset()
    export(folder, parse_formats(formats))
    removals = tmp_path / "removals.txt"
    removals.write_text("site3.example\nhttps://site4.example/0.jpg\n")
    takedown.main([folder.path, "--list", str(removals)])
    report = verify(folder)
    assert report.problems == []
    assert (report.documents, report.images) == (4, 11)
    for path in Path(folder.path).rglob("shard-*"):
        assert b"site3.example" not in path.read_bytes()


@pytest.mark.parametrize("formats", [["obelics"], ["parquet", "mds"], ["mmc4_jsonl"]])
def test_a_format_without_matrix_or_images_cannot_be_the_source(make_dataset: MakeDataset, formats: Any) -> None:
    with pytest.raises(UserError, match="energon"):
        export(make_dataset(formats=formats), parse_formats(["energon"]))


def test_a_manifest_says_what_was_exported(make_dataset: MakeDataset) -> None:
    folder = make_dataset()
    assert "exported" not in orjson.loads(Path(folder.file("manifest.json")).read_bytes())
    export(folder, parse_formats(["chat_jsonl:template=llava"]))
    (exported,) = orjson.loads(Path(folder.file("manifest.json")).read_bytes())["exported"]
    assert exported == {"name": "chat_jsonl", "template": "llava", "max_tokens": None, "image_tokens": 1024}
