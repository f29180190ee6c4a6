"""Removes denied documents and images from one shard's ledger and from the dataset's shards that it lists."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from filters.base import DocumentFilter
from filters.deny_list import LoadedDenyList
from mmc4_pipeline import storage
from mmc4_pipeline.dataset.statistics import ImagelessDocument, offsets_of_duplicates, statistics_of_rows
from mmc4_pipeline.dataset.write_shards import DatasetSettings
from mmc4_pipeline.formats.base import Format
from mmc4_pipeline.recipe import parse_recipe
from mmc4_pipeline.takedown.counts import StageCounts, change_before, counts_of_shard
from mmc4_pipeline.takedown.dataset_part import Imageless, Part, affected, following_shards, names_by_number
from mmc4_pipeline.takedown.folders import FinishedFolder, no_such_documents, refuse_changed_bytes, with_files
from mmc4_pipeline.takedown.stages import Removal, Removed, write_note
from mmc4_pipeline.takedown.transaction import NewFiles
from mmc4_pipeline.takedown.verdicts import Verdict
from schemas.columns import Column
from schemas.ledger import ledger_record
from schemas.manifest import ShardNote, WrittenFile
from schemas.statistics import Statistics
from schemas.tables import MAX_URL

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RemovedFromDataset:
    """A summary of what was removed from a shard of a dataset, and the change to the counts of the earlier stages."""

    removed: Removed = field(default_factory=Removed)
    before: StageCounts = field(default_factory=dict)


def formats_of(dataset: FinishedFolder) -> list[Format]:
    """Return the formats that a dataset was written in."""
    return list(DatasetSettings.of(dataset.manifest).formats.values())


def remove_from_dataset(
    dataset: FinishedFolder, shard: int, deny: LoadedDenyList, removal: Removal | None, files: NewFiles
) -> RemovedFromDataset:
    """Remove what is denied from an image shard's part of a dataset: its ledger, and the shards that begin in it.

    The last of these may have documents of following image shards too. `removal` is what was removed from the stages
    that the dataset was cut from; None if they are not there.
    Raises UserError if the bytes of a file that must be rewritten are not those in the manifest.
    """
    plan, note, formats = dataset.manifest.plan, dataset.note(shard), formats_of(dataset)
    own = affected(dataset, shard, deny, formats) if removal is None else bool(removal.links)
    following = following_shards(dataset, shard, note, formats)
    if not own and not any(affected(dataset, other, deny, formats) for other in following):
        return RemovedFromDataset()
    rules = parse_recipe(plan.recipe, dataset.name).of_kind(DocumentFilter)
    part = Part.read(dataset, shard, deny, rules, formats)
    others = [Part.read(dataset, other, deny, rules, formats) for other in following]
    written = _write_shards(dataset, note, formats, [part, *others], deny, files)
    if not own:
        if written:
            write_note(dataset, shard, files, with_files(note, written), note.counts)
        return RemovedFromDataset()
    verdicts = part.verdicts
    after = [row for verdict in verdicts for row in verdict.after]
    if part.rows != after:
        file = files.write_records(dataset.path(part.ledger), after, ledger_record(plan.input.all_columns))
        written.append(msgspec.structs.replace(file, name=part.ledger))
    newly_denied = [old for old, row in zip(part.rows, after, strict=True) if row.image_url != old.image_url]
    denied = _denied_documents(verdicts, part.denied_imageless)
    removed = Removed(
        documents=sum(verdict.removed_from_dataset for verdict in verdicts) + _number(part.denied_imageless),
        images=sum(len(verdict.kept) - len(verdict.remaining) for verdict in verdicts),
        links=len(newly_denied),
    )
    counts = counts_of_shard(
        note.counts,
        verdicts,
        newly_denied,
        denied_documents=len(removal.documents) if removal else denied,
        removed_documents=removed.documents,
    )
    new = msgspec.structs.replace(
        with_files(note, written),
        documents_in_shard=_documents_in_shard(note, part.by_number, part.denied_imageless),
        statistics=_statistics(note, verdicts, part.other_imageless, removal, plan.input.all_columns),
    )
    write_note(dataset, shard, files, new, counts)
    return RemovedFromDataset(removed, change_before(newly_denied, denied, plan.before))


def _number(imageless: Imageless) -> int:
    return sum(map(len, imageless.values()))


def _denied_documents(verdicts: Sequence[Verdict], imageless: Imageless) -> int:
    """Return how many denied documents the dataset has, in its ledger or without any link."""
    linked = {verdict.page_url for verdict in verdicts if verdict.denied}
    linkless = sum(document.url not in linked for items in imageless.values() for document in items)
    return sum(verdict.denied for verdict in verdicts) + linkless


class _Choice:
    """Chooses the remaining images of each document of a shard; called in the documents' order."""

    def __init__(self, path: str, verdicts: Sequence[Verdict], deny: LoadedDenyList) -> None:
        self._path, self._verdicts, self._deny = path, iter(verdicts), deny

    def __call__(self, page_url: str, image_urls: Sequence[str]) -> Sequence[bool] | None:
        if not image_urls:
            return None if self._deny.denies(page_url) else []
        verdict = next(self._verdicts, None)
        if verdict is None or Counter(image_urls) != Counter(row.image_url for row in verdict.kept):
            raise no_such_documents(self._path)
        remaining = {row.image_url for row in verdict.remaining}
        return None if verdict.removed else [url in remaining for url in image_urls]

    def finish(self) -> None:
        """Raise UserError if the ledger has more documents than the shard."""
        if next(self._verdicts, None) is not None:
            raise no_such_documents(self._path)


def _write_shards(
    dataset: FinishedFolder,
    note: ShardNote,
    formats: Sequence[Format],
    parts: Sequence[Part],
    deny: LoadedDenyList,
    files: NewFiles,
) -> list[WrittenFile]:
    """Rewrite a note's shards from which something is removed, in all formats. `parts` have all their documents."""
    written = []
    for number, names in names_by_number(note, formats).items():
        documents = [verdict for part in parts for verdict in part.by_number.get(number, ())]
        imageless = any(number in part.denied_imageless for part in parts)
        if not imageless and not any(verdict.changed for verdict in documents):
            continue
        refuse_changed_bytes(dataset, note, names)
        for item, name in zip(formats, names, strict=True):
            path = dataset.folder.file(name)
            choice = _Choice(path, documents, deny)
            with storage.open_read(path) as stream, files.open(dataset.path(name)) as writer:
                item.copy_shard(stream, path, writer, item.stem_of(name), choice)
            choice.finish()
            written.append(WrittenFile(name, writer.position, writer.hexdigest()))
    return written


def _documents_in_shard(
    note: ShardNote, verdicts: Mapping[int, Sequence[Verdict]], denied_imageless: Imageless
) -> dict[int, int]:
    return {
        number: count - sum(verdict.removed for verdict in verdicts[number]) - len(denied_imageless.get(number, ()))
        for number, count in (note.documents_in_shard or {}).items()
    }


def _statistics(
    note: ShardNote,
    verdicts: Sequence[Verdict],
    imageless: Imageless,
    removal: Removal | None,
    columns: tuple[Column, ...],
) -> Json:
    """Return the shard's statistics, counted again from the ledger's new rows.

    Without the images stage it is not known where the examples of duplicates are stored: the examples that the cut
    chose stay unless their URLs were removed. If no format has the number of sentences of documents without images, the
    histogram of sentences is left out, and the report says so.
    """
    remaining = [document for items in imageless.values() for document in items]
    remaining += [  # documents that lose their last image, under a recipe that keeps them
        ImagelessDocument(verdict.page_url, verdict.before[0].sentences)
        for verdict in verdicts
        if verdict.kept and not verdict.remaining and not verdict.removed
    ]
    rows = [row for verdict in verdicts for row in verdict.after]
    offsets = offsets_of_duplicates(removal.images) if removal and removal.images is not None else None
    statistics = statistics_of_rows(rows, note.shard, remaining, offsets or {}, columns)
    if offsets is None:
        urls = {row.image_url[:MAX_URL] for row in rows}
        statistics.duplicates.keep_examples(Statistics.from_json(note.statistics or {}).duplicates, urls)
    known = statistics.to_json()
    if any(document.sentences is None for document in remaining):
        del known["sentences"]
    return known
