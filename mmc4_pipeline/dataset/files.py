"""Finds a finished dataset and the files that it consists of: what readers, checks and publishing start from."""

from typing import Any

import msgspec

from mmc4_pipeline import storage
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.run_folders import folder_name
from mmc4_pipeline.stage_folder import StageFolder
from schemas.manifest import Manifest, ShardNote, WrittenFile
from schemas.reasons import Stage


def finished_dataset(path: str) -> StageFolder:
    """Give the folder of a finished dataset; raises UserError where it is something else."""
    folder = StageFolder(path.rstrip("/") or "/", Stage.CUT)
    if _is_dataset(folder.file("manifest.json")):
        return folder
    manifests = [
        *storage.matches_below(folder.path, "*/manifest.json"),
        *storage.matches_below(folder.path, f"{folder_name(Stage.CUT)}/*/manifest.json"),
    ]
    datasets = [manifest.removesuffix("/manifest.json") for manifest in manifests if _is_dataset(manifest)]
    if datasets:
        hint = f"give one of the datasets below it: {', '.join(datasets)}"
    elif _is_dataset(folder.file("plan.json")):
        hint = "its cut is not finished; run `mmc4 cut` with --resume"
    else:
        hint = "give the folder that `mmc4 cut` or `mmc4 build` has made, such as out/dataset/mmc4"
    message = f"{folder.path}: no finished dataset; {hint}"
    raise UserError(message)


def _is_dataset(path: str) -> bool:
    """Return whether a plan or manifest is there, and is that of a dataset."""
    found = storage.read_json(path) if storage.exists(path) else None
    return isinstance(found, dict) and found.get("stage") == Stage.CUT


def files_of(record: Manifest[Any] | ShardNote) -> list[WrittenFile]:
    """Return the files of a dataset or of one of its shards, each by its path below the dataset's folder."""
    return [msgspec.structs.replace(file, name=_path(file.name)) for file in record.files]


def _path(name: str) -> str:
    """Return a file's path below the dataset: manifests name the ledger's files without their folder."""
    return f"ledger/{name}" if name.startswith("ledger-") else name


def is_shard(path: str) -> bool:
    """Tell whether a path below a dataset is one of its shards in OpenFlamingo's format."""
    return path.startswith("shard-") and path.endswith(".tar")


def is_ledger(path: str) -> bool:
    """Tell whether a path below a dataset is a part of its ledger."""
    return path.startswith("ledger/") and path.endswith(".parquet")
