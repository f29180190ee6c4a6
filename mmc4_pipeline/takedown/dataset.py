"""Takes denied documents and images out of one shard's ledger and the dataset's shards that it tells of.

What is denied follows from the ledger, which has the URL of every link and page. The images that stay keep the
sentences that they were assigned to; what is left of a document must still be what the recipe's document rules ask.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import msgspec

from filters.base import AssignedDocument, DocumentFilter
from filters.deny_list import LoadedDenyList
from filters.document import DocumentRules
from mmc4_pipeline import storage
from mmc4_pipeline.apply_filters import first_drop
from mmc4_pipeline.dataset.statistics import ImagelessDocument, offsets_of_duplicates, statistics_of_rows
from mmc4_pipeline.dataset.write_shards import DatasetSettings
from mmc4_pipeline.formats.base import Format
from mmc4_pipeline.recipe import parse_recipe
from mmc4_pipeline.takedown.folders import (
    Part,
    mentions,
    no_such_documents,
    refuse_changed_bytes,
    with_files,
)
from mmc4_pipeline.takedown.stages import Gone, Out, hashed, write_note
from mmc4_pipeline.takedown.transaction import NewFiles
from schemas.ledger import LedgerRow
from schemas.manifest import CutPlan, ShardNote, WrittenFile
from schemas.page import is_hashed
from schemas.reasons import DENIED, Drop, Reason, Stage
from schemas.statistics import Counts, Statistics
from schemas.tables import MAX_URL

Json = dict[str, Any]
_BEFORE_CUT = (Stage.PAGES, Stage.IMAGES, Stage.SCORE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a document of the ledger: its rows as they were, and as they will be.

    `denied` says that its page is; `gone` that it goes, for that or because too little is left of it.
    """

    key: str
    page_url: str
    denied: bool
    gone: bool
    before: list[LedgerRow]
    after: list[LedgerRow]

    @property
    def kept(self) -> list[LedgerRow]:
        """Give the rows, as they were, of the images that the dataset had."""
        return [row for row in self.before if row.reason is None]

    @property
    def left(self) -> list[LedgerRow]:
        """Give the rows of the images that stay."""
        return [row for row in self.after if row.reason is None]

    @property
    def changed(self) -> bool:
        """Tell whether the document's shard must be written anew."""
        return len(self.left) != len(self.kept)


@dataclass(slots=True)
class TakenOut:
    """What went out of a dataset's shard, and by how much that changes the counts of the stages before."""

    out: Out = field(default_factory=Out)
    before: dict[str, Json] = field(default_factory=dict)


def formats_of(part: Part) -> list[Format]:
    """Return the formats that a dataset was written in."""
    return list(DatasetSettings.of(part.folder.manifest(CutPlan).plan.options).formats.values())


def document_rules(part: Part) -> dict[str, DocumentFilter]:
    """Give the recipe's rules for documents that images may go from: their sentences stay as they are."""
    recipe = parse_recipe(part.folder.manifest(CutPlan).plan.recipe, part.name)
    return {
        key: replace(item, min_sentences=None, max_sentences=None) if isinstance(item, DocumentRules) else item
        for key, item in recipe.of_kind(DocumentFilter).items()
    }


def take_out_of_dataset(part: Part, shard: int, deny: LoadedDenyList, gone: Gone | None, files: NewFiles) -> TakenOut:
    """Take what is denied out of a dataset; `gone` is what went from the stages that it was cut from, where these are.

    Raises UserError where a file is not as it was written.
    """
    if gone is not None and not gone.links:  # the ledger has the pages' links, no others
        return TakenOut()
    ledger = part.shard_name("ledger/ledger", shard)
    note, formats = part.note(shard), formats_of(part)
    imageless = _imageless_documents(part, note, formats)
    bare = _denied_only(imageless, deny)
    if not bare and gone is None and not mentions(part.folder.file(ledger), deny):
        return TakenOut()
    refuse_changed_bytes(part, note, [ledger])
    rows = list(storage.read_records(part.folder.file(ledger), LedgerRow))
    verdicts = _verdicts(rows, deny, document_rules(part))
    after = [row for verdict in verdicts for row in verdict.after]
    newly = [old for old, row in zip(rows, after, strict=True) if row.image_url != old.image_url]
    written = _write_shards(part, note, formats, _by_shard(formats[0], note, verdicts), bare, deny, files)
    if rows != after:
        written.append(msgspec.structs.replace(files.write_records(part.path(ledger), after, LedgerRow), name=ledger))
    remaining = [found for items in imageless.values() for found in items if not deny.denies(found.url)]
    remaining += [
        ImagelessDocument(verdict.page_url, verdict.before[0].sentences)
        for verdict in verdicts
        if verdict.kept and not verdict.left and not verdict.gone
    ]
    changed = msgspec.structs.replace(
        with_files(note, written),
        documents_in_shard=_documents_in_shard(_by_shard(formats[0], note, verdicts), note, bare),
        statistics=_statistics(note, after, shard, remaining, gone),
    )
    denied = _denied_documents(verdicts, bare)
    come_no_more = len(gone.documents) if gone else denied
    write_note(part, shard, files, changed, _counts(note, after, newly, verdicts, bare, come_no_more))
    out = Out(
        documents=sum(bool(verdict.kept) and verdict.gone for verdict in verdicts) + _number(bare),
        images=sum(len(verdict.kept) - len(verdict.left) for verdict in verdicts),
        links=len(newly),
    )
    return TakenOut(out, _less_before(newly, denied, part.folder.manifest(CutPlan).plan.before))


def _verdicts(rows: list[LedgerRow], deny: LoadedDenyList, rules: Mapping[str, DocumentFilter]) -> list[Verdict]:
    return [_verdict(key, list(group), deny, rules) for key, group in groupby(rows, key=lambda row: row.document)]


def _verdict(key: str, rows: list[LedgerRow], deny: LoadedDenyList, rules: Mapping[str, DocumentFilter]) -> Verdict:
    """Decide on a document by its rows."""
    url = rows[0].page_url
    denied = deny.denies(url)
    goes = [denied or deny.denies(row.image_url) for row in rows]
    kept = [row for row in rows if row.reason is None]
    left = [row for row, out in zip(rows, goes, strict=True) if row.reason is None and not out]
    as_assigned = AssignedDocument(0, [row.matched_similarity or 0.0 for row in left])
    fewer = len(left) < len(kept)
    broken = first_drop((name, rule.decide(as_assigned)) for name, rule in rules.items()) if fewer else None
    after = []
    for row, out in zip(rows, goes, strict=True):
        if out:
            after.append(_denied_row(row, hashed(url) if denied else url))
        else:
            after.append(_dropped(row, broken) if broken and row.reason is None else row)
    return Verdict(key, url, denied, denied or broken is not None, rows, after)


def _denied_row(row: LedgerRow, page_url: str) -> LedgerRow:
    """Return the row that the link would have had if it had been denied from the start, with hashes of its URLs."""
    return LedgerRow(
        page_url,
        hashed(row.image_url),
        row.position,
        row.document,
        sentences=None if is_hashed(page_url) else row.sentences,
        stage=Stage.PAGES,
        reason=DENIED.reason,
        filter=DENIED.filter,
    )


def _dropped(row: LedgerRow, drop: Drop) -> LedgerRow:
    """Give the row of an image whose document is left with too little."""
    return replace(
        row,
        stage=Stage.CUT,
        reason=drop.reason,
        filter=drop.filter,
        matched_similarity=None,
        sentence=None,
        shard=None,
        key=None,
    )


def _by_shard(named: Format, note: ShardNote, verdicts: list[Verdict]) -> dict[int, list[Verdict]]:
    """Give the documents of each of the dataset's shards, in their order there."""
    numbers = {named.file_name(number): number for number in note.documents_in_shard or {}}
    found: dict[int, list[Verdict]] = {number: [] for number in numbers.values()}
    for verdict in verdicts:
        if verdict.kept:
            name = verdict.kept[0].shard or ""
            if name not in numbers:
                raise no_such_documents(name)
            found[numbers[name]].append(verdict)
    return found


def _imageless_documents(part: Part, note: ShardNote, formats: Sequence[Format]) -> dict[int, list[ImagelessDocument]]:
    """Read the documents without images, if there are any, by the number of their shard."""
    if note.statistics is not None and not note.statistics["images"].get("0"):
        return {}
    found: dict[int, list[ImagelessDocument]] = {}
    for number in note.documents_in_shard or {}:
        for item in formats:  # the first that knows the number of sentences, else the last
            path = part.folder.file(item.file_name(number))
            with storage.open_read(path) as stream:
                found[number] = [
                    ImagelessDocument(document.url, document.sentences)
                    for document in item.documents(stream, path)
                    if not document.image_urls
                ]
            if all(document.sentences is not None for document in found[number]):
                break
    return found


def _denied_only(
    imageless: Mapping[int, list[ImagelessDocument]], deny: LoadedDenyList
) -> dict[int, list[ImagelessDocument]]:
    denied = {number: [item for item in items if deny.denies(item.url)] for number, items in imageless.items()}
    return {number: items for number, items in denied.items() if items}


def _number(bare: Mapping[int, list[ImagelessDocument]]) -> int:
    return sum(map(len, bare.values()))


def _denied_documents(verdicts: list[Verdict], bare: Mapping[int, list[ImagelessDocument]]) -> int:
    """Count the denied documents that the dataset knows of: in its ledger, or without any link."""
    linked = {verdict.page_url for verdict in verdicts if verdict.denied}
    linkless = sum(found.url not in linked for items in bare.values() for found in items)
    return sum(verdict.denied for verdict in verdicts) + linkless


class _Stays:
    """Says which images of each document of a shard stay; it is asked in the documents' order."""

    def __init__(self, path: str, verdicts: list[Verdict], deny: LoadedDenyList) -> None:
        self._path, self._verdicts, self._deny = path, iter(verdicts), deny

    def __call__(self, page_url: str, image_urls: Sequence[str]) -> Sequence[bool] | None:
        if not image_urls:
            return None if self._deny.denies(page_url) else []
        verdict = next(self._verdicts, None)
        if verdict is None or Counter(image_urls) != Counter(row.image_url for row in verdict.kept):
            raise no_such_documents(self._path)
        stay = {row.image_url for row in verdict.left}
        return None if verdict.gone else [url in stay for url in image_urls]

    def finish(self) -> None:
        """Raise UserError where the ledger has more documents than came."""
        if next(self._verdicts, None) is not None:
            raise no_such_documents(self._path)


def _write_shards(
    part: Part,
    note: ShardNote,
    formats: list[Format],
    verdicts: Mapping[int, list[Verdict]],
    bare: Mapping[int, list[ImagelessDocument]],
    deny: LoadedDenyList,
    files: NewFiles,
) -> list[WrittenFile]:
    """Write the shards from which something is removed, in all formats."""
    written = []
    for number, documents in verdicts.items():
        if number not in bare and not any(verdict.changed for verdict in documents):
            continue
        names = [item.file_name(number) for item in formats]
        refuse_changed_bytes(part, note, names)
        for item, name in zip(formats, names, strict=True):
            path, stays = part.folder.file(name), _Stays(part.folder.file(name), documents, deny)
            with storage.open_read(path) as stream, files.open(part.path(name)) as writer:
                item.copy_shard(stream, path, writer, item.stem(number), stays)
            stays.finish()
            written.append(WrittenFile(name, writer.position, writer.hexdigest()))
    return written


def _statistics(
    note: ShardNote, after: list[LedgerRow], shard: int, imageless: list[ImagelessDocument], gone: Gone | None
) -> Json:
    """Return the shard's statistics, counted again from the ledger's new rows.

    If the images stage is not there, nothing tells where the examples of duplicates are stored: those that were chosen
    by the cut stay, unless their URL was removed. Without a format that has sentences, the `sentences` of documents
    without images are not known; then that histogram is left out, and the report says so.
    """
    offsets = offsets_of_duplicates(gone.images) if gone and gone.images is not None else None
    statistics = statistics_of_rows(after, shard, imageless, offsets or {})
    if offsets is None:
        urls = {row.image_url[:MAX_URL] for row in after}
        statistics.duplicates.keep_examples(Statistics.from_json(note.statistics or {}).duplicates, urls)
    known = statistics.to_json()
    if any(document.sentences is None for document in imageless):
        del known["sentences"]
    return known


def _documents_in_shard(
    verdicts: Mapping[int, list[Verdict]], note: ShardNote, bare: Mapping[int, list[ImagelessDocument]]
) -> dict[int, int]:
    gone = {
        number: sum(verdict.gone for verdict in documents) + len(bare.get(number, ()))
        for number, documents in verdicts.items()
    }
    return {number: count - gone[number] for number, count in (note.documents_in_shard or {}).items()}


def _counts(
    note: ShardNote,
    after: list[LedgerRow],
    newly: list[LedgerRow],
    verdicts: list[Verdict],
    bare: Mapping[int, list[ImagelessDocument]],
    denied: int,
) -> dict[str, Counts]:
    """Give the shard's counts: denied documents don't come here any more, nor do denied links."""
    documents, links = (note.counts[what].in_order() for what in ("documents", "links"))
    documents.seen -= denied
    documents.kept -= sum(bool(verdict.kept) and verdict.gone for verdict in verdicts) + _number(bare)
    rest = documents.dropped.total() - documents.dropped[Reason.DOCUMENT]
    documents.dropped[Reason.DOCUMENT] = documents.seen - documents.kept - rest
    documents.dropped = +documents.dropped
    links = Counts(seen=links.seen - sum(row.stage in (None, Stage.CUT) for row in newly))
    links.decide(row.reason for row in after if row.stage in (None, Stage.CUT))
    return {"documents": documents, "links": links}


def _less_before(newly: list[LedgerRow], documents: int, before: Collection[Stage]) -> dict[str, Json]:
    """Give by how much the counts of the stages before change, if links and documents are denied from the first on."""
    change: dict[str, dict[str, Counts]] = {stage.value: {} for stage in before}
    links = {stage: Counts() for stage in _BEFORE_CUT}
    for row in newly:
        for stage in _BEFORE_CUT:
            if stage is Stage.PAGES:
                links[stage].dropped[Reason.DENIED.value] += 1
            else:
                links[stage].seen -= 1
            if row.stage is stage:
                links[stage].dropped[row.reason or Reason.DENIED.value] -= 1
                break
            links[stage].kept -= 1
    for stage, count in links.items():
        change.get(stage.value, {})["links"] = count
    first = next(iter(stage for stage in (Stage.LOCATE, Stage.PAGES) if stage in before), None)
    if first is not None:
        change[first.value]["documents"] = Counts(0, -documents, Counter({Reason.DENIED.value: documents}))
    if first is Stage.LOCATE and Stage.PAGES in before:
        change[Stage.PAGES.value]["documents"] = Counts(-documents, -documents)
    return {stage: {what: count.to_json() for what, count in counts.items()} for stage, counts in change.items()}
