"""Finds a finished dataset and the files that it consists of: what readers, checks and publishing start from."""

from typing import Any

from mmc4_pipeline import storage
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.storage import WrittenFile
from schemas.reasons import Stage


def finished_dataset(path: str) -> StageFolder:
    """Give the folder of a finished dataset; raises UserError where it is something else."""
    folder = StageFolder(path.rstrip("/") or "/", Stage.CUT)
    if storage.exists(folder.file("manifest.json")) and folder.manifest().get("stage") == Stage.CUT:
        return folder
    manifests = [
        *storage.matches_below(folder.path, "*/manifest.json"),
        *storage.matches_below(folder.path, "dataset/*/manifest.json"),
    ]
    datasets = [
        manifest.removesuffix("/manifest.json")
        for manifest in manifests
        if storage.read_json(manifest).get("stage") == Stage.CUT
    ]
    if datasets:
        hint = f"give one of the datasets below it: {', '.join(datasets)}"
    elif storage.exists(folder.file("plan.json")) and folder.plan().get("stage") == Stage.CUT:
        hint = "its cut is not finished; run `mmc4 cut` with --resume"
    else:
        hint = "give the folder that `mmc4 cut` or `mmc4 build` has made, such as out/dataset/mmc4"
    message = f"{folder.path}: no finished dataset; {hint}"
    raise UserError(message)


def files_of(manifest: dict[str, Any]) -> list[WrittenFile]:
    """Give the files that a dataset's manifest lists, each by its path below the dataset's folder."""
    return [WrittenFile(_path(file["name"]), file["bytes"], file["sha256"]) for file in manifest["files"]]


def _path(name: str) -> str:
    """Give a file's path below the dataset: the manifest names the ledger's files without their folder."""
    return f"ledger/{name}" if name.startswith("ledger-") else name


def is_shard(path: str) -> bool:
    """Tell whether a path below a dataset is one of its shards in OpenFlamingo's format."""
    return path.startswith("shard-") and path.endswith(".tar")


def is_ledger(path: str) -> bool:
    """Tell whether a path below a dataset is a part of its ledger."""
    return path.startswith("ledger/") and path.endswith(".parquet")
