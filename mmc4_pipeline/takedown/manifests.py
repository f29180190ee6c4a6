"""Makes the new plans and manifests of a takedown, and the journal that lists all of its files."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from mmc4_pipeline import storage
from mmc4_pipeline.stage_folder import fingerprint
from mmc4_pipeline.stage_notes import ALL_NOTES, read_notes, writing_notes
from mmc4_pipeline.takedown.counts import StageCounts, counts_before, counts_with_changed_shards
from mmc4_pipeline.takedown.folders import FinishedFolder, OutputFolder
from mmc4_pipeline.takedown.publications import Publications
from mmc4_pipeline.takedown.stages import Removed
from mmc4_pipeline.takedown.transaction import NewFiles, Transaction
from schemas.manifest import CutPlan, Manifest, Plan, ShardNote, Takedown, WrittenFile
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
    sha256: Mapping[str, str],
    transaction: Transaction,
    notes: Sequence[UnitNote],
    removed: Mapping[str, Removed],
) -> Journal:
    """Write the new plans and manifests and return the journal. Data files are moved first, manifests last.

    `sha256` is that of each list, by its option, `removed` what was removed from each folder.
    """
    data = [name for note in notes for name in note.files]
    files = NewFiles(transaction)
    new_fingerprints: dict[str, str] = {}  # by the former fingerprint
    counts: dict[str, dict[str, Counts]] = {}  # the new ones, by the former fingerprint
    publications = []
    for finished in output.all():
        old = finished.manifest
        plan: Any = old.plan
        if isinstance(plan, CutPlan):
            changes = [note.before[finished.name] for note in notes if finished.name in note.before]
            plan = replace(plan, before=counts_before(plan, counts, changes))
        plan = _with_new_inputs(plan, new_fingerprints)
        changed = _changed_notes(finished, transaction, data)
        new = replace(_new_manifest(old, changed), plan=plan)
        new_fingerprints[fingerprint(old)], counts[fingerprint(old)] = fingerprint(new), new.counts
        if new == old:
            continue
        if changed and storage.exists(finished.folder.file(ALL_NOTES)):
            _write_notes(finished, files, {note.shard: note for _, note in changed})
        if removed[finished.name]:
            entry = Takedown(
                list=sha256.get("list"),
                content_list=sha256.get("content_list"),
                **msgspec.structs.asdict(removed[finished.name]),
            )
            new = replace(new, takedowns=[*old.takedowns, entry])
        if storage.exists(finished.folder.file("plan.json")):
            files.write_json(finished.path("plan.json"), new.plan)
        files.write_json(finished.path("manifest.json"), new.to_json())
        if finished.folder.stage is Stage.CUT:
            publications.append(Publications.of(finished))
    order = sorted([*data, *files.names], key=lambda name: (name.endswith(".json"), name.endswith("manifest.json")))
    return Journal(order, publications)


def _changed_notes(
    finished: FinishedFolder, transaction: Transaction, written: Sequence[str]
) -> list[tuple[ShardNote, ShardNote]]:
    """Return the old and the new note of each changed shard."""
    names = set(written)
    paths = {shard: finished.path(finished.note_name(shard)) for shard in range(finished.shards)}
    changed = {shard: transaction.new(name) for shard, name in paths.items() if name in names}
    new = storage.concurrently(lambda path: storage.read_json(path, ShardNote), changed.values())
    return list(zip(storage.concurrently(finished.note, changed), new, strict=True))


def _new_manifest(old: Manifest[Plan], changed: Sequence[tuple[ShardNote, ShardNote]]) -> Manifest[Plan]:
    """Return a folder's manifest with the files and counts of its shards' new notes."""
    if not changed:
        return old
    counts = counts_with_changed_shards(old.counts, [(before.counts, after.counts) for before, after in changed])
    by_name = {before.name: after for pair in changed for before, after in zip(*map(_files, pair), strict=True)}
    return replace(old, counts=counts, files=[by_name.get(file.name, file) for file in old.files])


def _files(note: ShardNote) -> list[WrittenFile]:
    return note.files


def _write_notes(finished: FinishedFolder, files: NewFiles, changed: Mapping[int, ShardNote]) -> None:
    """Write the file of all notes again, with the new ones. Filters of URLs stay: nothing was added."""
    with files.open(finished.path(ALL_NOTES)) as stream, writing_notes(stream) as write:
        for note in read_notes(finished.folder.file(ALL_NOTES), urls=True):
            write(changed.get(note.shard, note))


def _with_new_inputs(plan: Any, fingerprints: Mapping[str, str]) -> Any:
    """Return a plan with the new fingerprints of its inputs."""
    values = {name: getattr(plan.input, name) for name in plan.input.__struct_fields__}
    changed = {name: _with_new(value, fingerprints) for name, value in values.items()}
    return replace(plan, input=replace(plan.input, **changed))


def _with_new(value: Any, fingerprints: Mapping[str, str]) -> Any:
    """Return a value, or those in a dictionary, with new fingerprints in place of the old ones."""
    if isinstance(value, dict):
        return {name: _with_new(item, fingerprints) for name, item in value.items()}
    return fingerprints.get(value, value) if isinstance(value, str) else value
