"""Removes what lists name from all finished folders of an output: stages and datasets, or one dataset alone."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from filters.deny_list import LoadedDenyList
from mmc4_pipeline import storage
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.takedown.candidates import candidates
from mmc4_pipeline.takedown.counts import StageCounts
from mmc4_pipeline.takedown.dataset import formats_of, remove_from_dataset
from mmc4_pipeline.takedown.folders import OutputFolder, refuse_earlier_ledgers
from mmc4_pipeline.takedown.lists import Lists
from mmc4_pipeline.takedown.manifests import Journal, UnitNote, write_manifests
from mmc4_pipeline.takedown.processes import in_processes
from mmc4_pipeline.takedown.publications import rewrite
from mmc4_pipeline.takedown.stages import (
    Removal,
    Removed,
    remove_from_images,
    remove_from_locations,
    remove_from_pages,
    remove_from_scores,
)
from mmc4_pipeline.takedown.transaction import NewFiles, Transaction

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of work: one shard of the locations, or the shard of that number of all later stages and datasets."""

    shard: int
    locations: bool = False

    @property
    def name(self) -> str:
        """Return the name of the unit's note."""
        return f"{'locations-' if self.locations else ''}{self.shard:05d}"


@dataclass(slots=True)
class Report:
    """What a takedown removed, or would remove, from each folder, and how many of the folder's files it rewrote.

    The keys are the folders' names. `edited` are dataset cards with changes by hand, which are left as they are.
    """

    removed: dict[str, Removed] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    files_in_all: dict[str, int] = field(default_factory=dict)
    edited: list[str] = field(default_factory=list)


def units_of(output: OutputFolder, deny: LoadedDenyList) -> list[Unit]:
    """Return the units of work of a takedown: the shards that may have something that is denied."""
    located = candidates(output.locations, deny) if output.locations else ()
    later = candidates(output.pages, deny) if output.pages else set()
    of_pages = frozenset(later)
    for dataset in output.datasets:
        later |= candidates(dataset, deny, of_pages)
    return [Unit(shard, locations=True) for shard in sorted(located)] + [Unit(shard) for shard in sorted(later)]


def finish_stopped(output: OutputFolder, lists: Lists, *, dry_run: bool) -> bool:
    """Finish a takedown that was stopped while its files were moved into place; return whether there was one.

    If so, `output` must be read again. Raises UserError if its lists were not these, and in a dry run, which must not
    write.
    """
    transaction = Transaction(output.root)
    if not transaction.committed:
        return False
    for option in ("list", "content_list"):
        transaction.refuse_another(option, lists.sha256.get(option))
    if dry_run:
        raise UserError(
            f"{output.root}: a takedown was stopped while its files were moved into place; run it without --dry_run"
        )
    _finish(output, transaction)
    return True


def take_down(
    output: OutputFolder,
    lists: Lists,
    units: Sequence[Unit],
    *,
    dry_run: bool = False,
    workers: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> Report:
    """Remove what the lists name from their units of work; a dry run only reports what would be removed.

    New files are first written to a folder of their own and moved into place at the end, so that a run that is stopped
    leaves either all former files or a state that `finish_stopped` finishes. The lists must have the images whose
    content is listed (`content.images_on`). `workers` processes work on the shards; `advance` is called after each
    unit. Raises UserError for an unfinished folder, if the bytes of a file that must be rewritten are not those in its
    manifest, and if a dataset has a format that needs a package that is not installed.
    """
    for dataset in output.datasets:
        for item in formats_of(dataset):
            item.require()
    refuse_earlier_ledgers(output, [unit.shard for unit in units if not unit.locations])
    transaction = None if dry_run else Transaction(output.root)
    if transaction:
        transaction.begin({**lists.sha256, "manifests": _manifest_hashes(output)})
    notes = []
    work = partial(_do_unit, output.without_files(), lists, transaction)
    for unit, note in zip(units, in_processes(work, units, workers), strict=True):
        logger.info("shard %s: %d files to rewrite", unit.name, len(note.files))
        notes.append(note)
        advance()
    report = _report(output, notes)
    if transaction is None:
        return report
    if any(note.files for note in notes):
        journal = write_manifests(output, lists.sha256, transaction, notes, report.removed)
        report.edited = [item.edited_card for item in journal.publications if item.edited_card]
        transaction.commit(journal)
        _finish(output, transaction)
    else:
        transaction.clear()
    return report


def _manifest_hashes(output: OutputFolder) -> dict[str, str]:
    return {folder.name: folder.sha256 for folder in output.all()}


def _do_unit(output: OutputFolder, lists: Lists, transaction: Transaction | None, unit: Unit) -> UnitNote:
    """Write the new files of a unit, unless an earlier run has, and return its note."""
    if transaction and (known := transaction.unit(unit.name, UnitNote)) is not None:
        return known
    files, deny = NewFiles(transaction), lists.denied()
    removed: dict[str, Removed] = {}
    before: dict[str, StageCounts] = {}
    if unit.locations and output.locations:
        removed[output.locations.name] = remove_from_locations(output.locations, unit.shard, deny, files)
    elif not unit.locations:
        removal = _remove_from_stages(output, unit.shard, deny, files, removed)
        for dataset in (dataset for dataset in output.datasets if unit.shard < dataset.shards):
            of_stages = removal if dataset.name in output.following else None
            result = remove_from_dataset(dataset, unit.shard, deny, of_stages, files)
            removed[dataset.name], before[dataset.name] = result.removed, result.before
    note = UnitNote(files=files.names, removed=removed, before=before)
    if transaction:
        transaction.finish_unit(unit.name, note)
    return note


def _remove_from_stages(
    output: OutputFolder, shard: int, deny: LoadedDenyList, files: NewFiles, removed: dict[str, Removed]
) -> Removal | None:
    if output.pages is None or shard >= output.pages.shards:
        return None
    removed[output.pages.name], removal = remove_from_pages(output.pages, shard, deny, files)
    if output.images and removal.links:
        removed[output.images.name] = remove_from_images(output.images, shard, removal, files)
    for scores in output.scores if removal.links else ():
        removed[scores.name] = remove_from_scores(scores, shard, removal, files)
    return removal


def _report(output: OutputFolder, notes: Sequence[UnitNote]) -> Report:
    report = Report()
    for folder in output.all():
        listed = {folder.path(file.name) for file in folder.manifest.files}
        total = Removed()
        for note in notes:
            total += note.removed.get(folder.name, Removed())
        report.removed[folder.name] = total
        report.files[folder.name] = sum(len(listed.intersection(note.files)) for note in notes)
        report.files_in_all[folder.name] = len(listed)
    return report


def _finish(output: OutputFolder, transaction: Transaction) -> None:
    """Move the new files into place and write what follows from them. Works again if it is stopped."""
    journal = transaction.apply(Journal)
    by_name = {dataset.name: dataset for dataset in output.datasets}
    for item in journal.publications:
        if item.dataset in by_name:
            rewrite(by_name[item.dataset], item)
    for folder, name in ((output.pages, "read"), (output.pages, "texts"), (output.locations, "wanted")):
        if folder:  # a run that was stopped at the end of its stage may have left it
            storage.remove_folder(folder.folder.file(name))
    for dataset in output.datasets:  # what an export that was stopped has read may have been removed
        Transaction(dataset.folder.path, "export").clear()
    storage.remove_leftovers(output.root)
    transaction.clear()
