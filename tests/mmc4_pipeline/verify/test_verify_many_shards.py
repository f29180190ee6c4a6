"""A dataset whose last shard has the number 100,000: its names are found by verify and by trainers."""

import hashlib
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from mmc4_pipeline.dataset.files import shards_of
from mmc4_pipeline.training import ShardedDocuments
from mmc4_pipeline.verify.dataset import verify
from schemas.manifest import CutPlan
from tests.mmc4_pipeline.planted_dataset import write_dataset

NEW = {"shard-00000.tar": "shard-000000.tar", "shard-00001.tar": "shard-100000.tar"}


def test_names_of_six_digits_are_found(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "planted")
    manifest = Path(folder.file("manifest.json"))
    content = orjson.loads(manifest.read_bytes())
    for file in content["files"]:
        if file["name"] in NEW:
            Path(folder.file(file["name"])).rename(folder.file(NEW[file["name"]]))
            file["name"] = NEW[file["name"]]
    manifest.write_bytes(orjson.dumps(content))
    assert verify(folder).problems  # the ledger still names the former files
    for path in sorted((tmp_path / "planted/ledger").glob("*.parquet")):
        rename_in_ledger(path, content)
    manifest.write_bytes(orjson.dumps(content))
    assert verify(folder).problems == []
    assert [shard.in_ledger for shard in shards_of(folder.manifest(CutPlan))] == list(NEW.values())
    assert len(list(ShardedDocuments(folder.path))) == 12


def rename_in_ledger(path: Path, manifest: dict[str, list[dict[str, object]]]) -> None:
    """Rename the shards in a ledger's file, and give the manifest its new bytes."""
    table = pq.read_table(path)
    names = pa.array([NEW.get(name) for name in table["shard"].to_pylist()], pa.string())
    at = table.column_names.index("shard")
    pq.write_table(table.set_column(at, table.schema.field(at), names), path)
    (file,) = (file for file in manifest["files"] if str(file["name"]).endswith(path.name))
    file |= {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
