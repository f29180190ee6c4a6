"""Makes the new plans and manifests of a takedown, and the journal that lists all of its files."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from mmc4_pipeline import storage
from mmc4_pipeline.stage_folder import add_up, fingerprint
from mmc4_pipeline.takedown.counts import StageCounts, counts_before
from mmc4_pipeline.takedown.folders import FinishedFolder, OutputFolder
from mmc4_pipeline.takedown.publications import Publications
from mmc4_pipeline.takedown.stages import Removed
from mmc4_pipeline.takedown.transaction import NewFiles, Transaction
from schemas.manifest import CutPlan, Manifest, Plan, ShardNote, Takedown
from schemas.reasons import Stage
from schemas.statistics import Counts


class UnitNote(msgspec.Struct, frozen=True):
    """A finished unit of work: its new files, and what it removed from each folder, by the folder's name.

    `before` has, for each dataset, what to add to the counts of the earlier stages.
    """

    files: list[str]
    removed: dict[str, Removed]
    before: dict[str, StageCounts]


class Journal(msgspec.Struct, frozen=True):
    """All new files of a takedown in the order in which they are moved into place, and what must then be rewritten."""

    files: list[str]
    publications: list[Publications]


def write_manifests(
    output: OutputFolder,
    sha256: str,
    transaction: Transaction,
    notes: Sequence[UnitNote],
    removed: Mapping[str, Removed],
) -> Journal:
    """Write the new plans and manifests and return the journal. Data files are moved first, manifests last.

    `sha256` is that of the deny-list, `removed` what was removed from each folder.
    """
    data = [name for note in notes for name in note.files]
    files = NewFiles(transaction)
    new_fingerprints: dict[str, str] = {}  # by the former fingerprint
    counts: dict[str, dict[str, Counts]] = {}  # the new ones, by the former fingerprint
    publications = []
    for finished in output.all():
        old = finished.folder.manifest()
        plan: Any = old.plan
        if isinstance(plan, CutPlan):
            changes = [note.before[finished.name] for note in notes if finished.name in note.before]
            plan = replace(plan, before=counts_before(plan, counts, changes))
        plan = _with_new_inputs(plan, new_fingerprints)
        new = replace(_new_manifest(finished, transaction, data, old), plan=plan)
        new_fingerprints[fingerprint(old)], counts[fingerprint(old)] = fingerprint(new), new.counts
        if new == old:
            continue
        if removed[finished.name]:
            entry = Takedown(list=sha256, **msgspec.structs.asdict(removed[finished.name]))
            new = replace(new, takedowns=[*old.takedowns, entry])
        if storage.exists(finished.folder.file("plan.json")):
            files.write_json(finished.path("plan.json"), new.plan)
        files.write_json(finished.path("manifest.json"), new.to_json())
        if finished.folder.stage is Stage.CUT:
            publications.append(Publications.of(finished))
    order = sorted([*data, *files.names], key=lambda name: (name.endswith(".json"), name.endswith("manifest.json")))
    return Journal(order, publications)


def _new_manifest(
    finished: FinishedFolder, transaction: Transaction, written: Sequence[str], old: Manifest[Plan]
) -> Manifest[Plan]:
    """Return a folder's manifest with the files and counts of its shards' new notes."""
    names = set(written)
    if not any(finished.path(finished.note_name(shard)) in names for shard in range(finished.shards)):
        return old
    counts, files = [], []
    for shard in range(finished.shards):
        name = finished.path(finished.note_name(shard))
        note: ShardNote = storage.read_json(transaction.new(name), ShardNote) if name in names else finished.note(shard)
        counts.append(note.counts)
        files += note.files
    return replace(old, counts=add_up(counts), files=files)


def _with_new_inputs(plan: Any, fingerprints: Mapping[str, str]) -> Any:
    """Return a plan with the new fingerprints of its inputs."""
    values = {name: getattr(plan.input, name) for name in plan.input.__struct_fields__}
    changed = {
        name: fingerprints[value] for name, value in values.items() if isinstance(value, str) and value in fingerprints
    }
    return replace(plan, input=replace(plan.input, **changed))
