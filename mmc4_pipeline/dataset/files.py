"""Finds a finished dataset and the files that it consists of, for readers, checks and publishing."""

from dataclasses import dataclass
from typing import Any

import msgspec

from mmc4_pipeline import storage
from mmc4_pipeline.dataset.write_shards import DatasetSettings
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.formats.base import Format
from mmc4_pipeline.run_folders import folder_name
from mmc4_pipeline.stage_folder import StageFolder
from schemas.manifest import CutPlan, Manifest, ShardNote, WrittenFile
from schemas.reasons import Stage


@dataclass(frozen=True, slots=True)
class ShardFile:
    """A shard in one of the dataset's formats. `in_ledger` is the path by which the ledger refers to the shard."""

    file: WrittenFile
    format_name: str
    format: Format
    in_ledger: str


def finished_dataset(path: str) -> StageFolder:
    """Return the folder of a finished dataset; raises UserError if it is something else."""
    folder = StageFolder(path.rstrip("/") or "/", Stage.CUT)
    if _is_dataset(folder.file("manifest.json")):
        return folder
    manifests = [
        *storage.matches_below(folder.path, "*/manifest.json"),
        *storage.matches_below(folder.path, f"{folder_name(Stage.CUT)}/*/manifest.json"),
    ]
    datasets = [manifest.removesuffix("/manifest.json") for manifest in manifests if _is_dataset(manifest)]
    if datasets:
        raise UserError(f"{folder.path}: not a dataset; choose one of the datasets below it: {', '.join(datasets)}")
    if _is_dataset(folder.file("plan.json")):
        raise UserError(f"{folder.path}: the dataset is not finished; run `mmc4 cut` with --resume")
    raise UserError(
        f"{folder.path}: not a dataset; pass a folder that `mmc4 cut` or `mmc4 build` wrote, such as out/dataset/mmc4"
    )


def _is_dataset(path: str) -> bool:
    """Return whether a plan or manifest exists, and is that of a dataset."""
    found = storage.read_json(path) if storage.exists(path) else None
    return isinstance(found, dict) and found.get("stage") == Stage.CUT


def files_of(record: Manifest[Any] | ShardNote) -> list[WrittenFile]:
    """Return the files of a dataset or of one of its shards, each by its path below the dataset's folder."""
    return [msgspec.structs.replace(file, name=_path(file.name)) for file in record.files]


def shards_of(manifest: Manifest[CutPlan]) -> list[ShardFile]:
    """Return a dataset's shards in all of its formats, in the manifest's order."""
    settings, files = DatasetSettings.of(manifest), files_of(manifest)
    found = [
        (file, name, item, number)
        for file in files
        for name, item in settings.formats.items()
        if (number := item.number_of(file.name)) is not None
    ]
    shards, first = 1 + max((number for *_, number in found), default=-1), next(iter(settings.formats), None)
    listed = {number: file.name for file, name, _, number in found if name == first}
    return [
        ShardFile(file, name, item, listed.get(number) or settings.named_in_ledger(number, shards))
        for file, name, item, number in found
    ]


def _path(name: str) -> str:
    """Return a file's path below the dataset: manifests name the ledger's files without their folder."""
    return f"ledger/{name}" if name.startswith("ledger-") else name


def is_ledger(path: str) -> bool:
    """Return whether a path below a dataset is a file of its ledger."""
    return path.startswith("ledger/") and path.endswith(".parquet")
