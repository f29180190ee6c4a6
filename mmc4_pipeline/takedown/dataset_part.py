"""Reads an image shard's part of a dataset: its ledger, and its documents in the dataset's shards.

A shard of the dataset may have documents of several image shards. The note of the first of these lists its files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Self

from filters.base import DocumentFilter
from filters.deny_list import LoadedDenyList
from mmc4_pipeline import storage
from mmc4_pipeline.dataset.statistics import ImagelessDocument
from mmc4_pipeline.formats.base import Format
from mmc4_pipeline.takedown.folders import FinishedFolder, mentions, no_such_documents, refuse_changed_bytes
from mmc4_pipeline.takedown.verdicts import Verdict, verdicts_of
from schemas.ledger import LedgerRow, ledger_record
from schemas.manifest import ShardNote

Imageless = Mapping[int, Sequence[ImagelessDocument]]  # by the number of the dataset's shard that has them


@dataclass(frozen=True, slots=True)
class Part:
    """An image shard's part of a dataset, and what becomes of its documents.

    `by_number` has the verdicts on documents with images, by the number of the dataset's shard that has them. Documents
    without images are those that the deny-list names, and the others.
    """

    ledger: str
    rows: list[LedgerRow]
    verdicts: list[Verdict]
    by_number: dict[int, list[Verdict]]
    denied_imageless: Imageless
    other_imageless: Imageless

    @classmethod
    def read(
        cls,
        dataset: FinishedFolder,
        shard: int,
        deny: LoadedDenyList,
        rules: Mapping[str, DocumentFilter],
        formats: Sequence[Format],
    ) -> Self:
        """Read it; raises UserError if the ledger's bytes are not those in the manifest."""
        note, ledger = dataset.note(shard), dataset.shard_name("ledger/ledger", shard)
        refuse_changed_bytes(dataset, note, [ledger])
        record = ledger_record(dataset.manifest.plan.input.all_columns)
        rows = list(storage.read_records(dataset.folder.file(ledger), record))
        verdicts = verdicts_of(rows, deny, rules)
        imageless = _imageless_documents(dataset, shard, formats)
        return cls(
            ledger=ledger,
            rows=rows,
            verdicts=verdicts,
            by_number=_by_shard(formats[0], note, verdicts),
            denied_imageless=_chosen(imageless, deny, denied=True),
            other_imageless=_chosen(imageless, deny, denied=False),
        )


def affected(dataset: FinishedFolder, shard: int, deny: LoadedDenyList, formats: Sequence[Format]) -> bool:
    """Return whether the deny-list names a link or document of an image shard."""
    return mentions(dataset.folder.file(dataset.shard_name("ledger/ledger", shard)), deny) or bool(
        _chosen(_imageless_documents(dataset, shard, formats), deny, denied=True)
    )


def following_shards(dataset: FinishedFolder, shard: int, note: ShardNote, formats: Sequence[Format]) -> list[int]:
    """Return the image shards with more documents of the last of the dataset's shards that begins in this one."""
    last = max(names_by_number(note, formats), default=None)
    found: list[int] = []
    for other in range(shard + 1, dataset.shards if last is not None else 0):
        numbers = dataset.note(other).documents_in_shard or {}
        if last in numbers:
            found.append(other)
        if any(number != last for number in numbers):
            break
    return found


def _imageless_documents(dataset: FinishedFolder, shard: int, formats: Sequence[Format]) -> Imageless:
    """Read an image shard's documents without images, if there are any. The ledger does not list them."""
    note = dataset.note(shard)
    counted = (note.statistics or {}).get("images", {})
    if not counted.get("0"):
        return {}
    found: dict[int, list[ImagelessDocument]] = {}
    for number, count in (note.documents_in_shard or {}).items():
        names, before = _names_and_start(dataset, shard, number, formats)
        for item, name in zip(formats, names, strict=True):  # until one of them has the number of sentences
            path = dataset.folder.file(name)
            with storage.open_read(path) as stream:
                found[number] = [
                    ImagelessDocument(view.url, view.sentences)
                    for view in islice(item.documents(stream, path), before, before + count)
                    if not view.image_urls
                ]
            if all(document.sentences is not None for document in found[number]):
                break
    return found


def _names_and_start(
    dataset: FinishedFolder, shard: int, number: int, formats: Sequence[Format]
) -> tuple[list[str], int]:
    """Return the files of one of the dataset's shards, and how many of its documents are of earlier image shards."""
    before = 0
    for begin in range(shard, -1, -1):
        note = dataset.note(begin)
        before += (note.documents_in_shard or {}).get(number, 0) if begin < shard else 0
        names = names_by_number(note, formats).get(number)
        if names:
            return names, before
    raise no_such_documents(dataset.folder.path)


def names_by_number(note: ShardNote, formats: Sequence[Format]) -> dict[int, list[str]]:
    """Return the files that a note lists, one for each format, by the number of the dataset's shard."""
    found: dict[int, list[str]] = {}
    for item in formats:
        for file in note.files:
            if (number := item.number_of(file.name)) is not None:
                found.setdefault(number, []).append(file.name)
    return found


def _chosen(imageless: Imageless, deny: LoadedDenyList, *, denied: bool) -> Imageless:
    """Return only the documents that the deny-list names, or only the others."""
    chosen = {
        number: [item for item in items if deny.denies(item.url) is denied] for number, items in imageless.items()
    }
    return {number: items for number, items in chosen.items() if items}


def _by_shard(named: Format, note: ShardNote, verdicts: Sequence[Verdict]) -> dict[int, list[Verdict]]:
    """Return the verdicts on the documents with images in each of the dataset's shards, in their order there.

    `named` is the format whose files the ledger names.
    """
    found: dict[int, list[Verdict]] = {number: [] for number in note.documents_in_shard or {}}
    for verdict in verdicts:
        if verdict.kept:
            name = verdict.kept[0].shard or ""
            number = named.number_of(name)
            if number not in found:
                raise no_such_documents(name)
            found[number].append(verdict)
    return found
