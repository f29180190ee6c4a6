"""Writes a finished dataset in other formats, from the documents of a format that it has.

The new shards have the documents of those of the same number, and the bytes that the cut would have written, as far as
the documents in MMC4's form have everything: OBELICS' metadata lack what only the earlier stages know (alternative
texts, declared sizes, hashes). New files are collected in `export/` (see `takedown/transaction.py`), shard by shard, so
that a run that was stopped is continued, and moved into place at the end together with the new notes and manifest.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import msgspec

from mmc4_pipeline import storage
from mmc4_pipeline.cut_document import CutDocument, Placed
from mmc4_pipeline.dataset.files import ShardFile, shards_of
from mmc4_pipeline.dataset.write_shards import DatasetSettings, as_json, write_shard
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.formats.base import Format, Json
from mmc4_pipeline.run_folders import output_of
from mmc4_pipeline.stage_folder import StageFolder, note_name
from mmc4_pipeline.stage_notes import ALL_NOTES, read_notes, writing_notes
from mmc4_pipeline.takedown.folders import FinishedFolder
from mmc4_pipeline.takedown.manifests import Journal
from mmc4_pipeline.takedown.processes import in_processes
from mmc4_pipeline.takedown.publications import Publications, rewrite
from mmc4_pipeline.takedown.transaction import NewFiles, Transaction
from mmc4_pipeline.tar import unreadable
from mmc4_pipeline.verify.check_shard import HashingReader
from schemas.columns import GENERATED_CAPTION, SIMILARITY
from schemas.image import Image
from schemas.manifest import CutPlan, Manifest, WrittenFile
from schemas.mmc4_document import ImageInfo, Mmc4Document
from schemas.page import ImageLink, Page
from schemas.score import ImageScore

_COMMAND = "export"
_NO_TIME = datetime.fromtimestamp(0, UTC)  # documents do not have the time of their page, and no format stores it


class UnitNote(msgspec.Struct, frozen=True):
    """The new files of a shard."""

    files: list[WrittenFile]


def export(
    folder: StageFolder,
    formats: Mapping[str, Format],
    *,
    workers: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> list[WrittenFile]:
    """Write a finished dataset in other formats and return the new files; formats that it already has are left out.

    `workers` processes write shards in parallel; `advance` is called after each shard. Repeat a call that was stopped.
    Raises UserError if a format is there with other settings, if no format has everything that is needed, if a shard
    is damaged, and if another takedown or export was stopped while its files were moved into place.
    """
    transaction, chosen = Transaction(folder.path, _COMMAND), as_json(formats)
    for root in (folder.path, output_of(folder)):
        if Transaction(root).committed:
            raise UserError(f"{root}: `mmc4 takedown` was stopped while its files were moved into place; run it again")
    if transaction.committed:
        transaction.refuse_another("formats", chosen)
        _finish(folder, transaction)
    manifest = folder.manifest(CutPlan)
    new = _new_formats(folder, DatasetSettings.of(manifest), formats)
    if not new:
        transaction.clear()
        return []
    source = _source(folder, manifest, new)
    content = storage.read_bytes(folder.file("manifest.json"))
    transaction.begin({"formats": chosen, "manifest": hashlib.sha256(content).hexdigest()})
    numbers = [shard.format.number_of(shard.file.name) or 0 for shard in source]
    work = partial(_export_shard, folder, new, 1 + max(numbers, default=0), transaction)
    written: list[WrittenFile] = []
    for note in in_processes(work, list(zip(numbers, source, strict=True)), workers):
        written += note.files
        advance()
    transaction.commit(_write_manifest(folder, manifest, new, written, transaction))
    _finish(folder, transaction)
    return written


def sources(folder: StageFolder, formats: Mapping[str, Format]) -> int:
    """Return how many shards an export has to read. Raises UserError as `export` does."""
    manifest = folder.manifest(CutPlan)
    new = _new_formats(folder, DatasetSettings.of(manifest), formats)
    return len(_source(folder, manifest, new)) if new else 0


def _new_formats(folder: StageFolder, settings: DatasetSettings, formats: Mapping[str, Format]) -> dict[str, Format]:
    """Return the formats that a dataset does not have yet."""
    for name, item in formats.items():
        if name in settings.formats and settings.formats[name] != item:
            raise UserError(
                f"--formats {name}: {folder.path} has it with other settings; cut the dataset again instead"
            )
    return {name: item for name, item in formats.items() if name not in settings.formats}


def _source(folder: StageFolder, manifest: Manifest[CutPlan], new: Mapping[str, Format]) -> list[ShardFile]:
    """Return a dataset's shards in a format with images next to documents in MMC4's form."""
    shards = shards_of(manifest)
    for name, item in DatasetSettings.of(manifest).formats.items():
        if item.needs_images and item.has_mmc4_documents():
            return [shard for shard in shards if shard.format_name == name]
    raise UserError(
        f"{folder.path}: none of its formats has all that {', '.join(new)} needs; cut the dataset again with --formats"
    )


def _export_shard(
    folder: StageFolder,
    formats: Mapping[str, Format],
    shards: int,
    transaction: Transaction,
    unit: tuple[int, ShardFile],
) -> UnitNote:
    """Write one shard in each format, unless an earlier run has. Raises UserError if its bytes were changed."""
    number, shard = unit
    name = f"{number:05d}"
    if (known := transaction.unit(name, UnitNote)) is not None:
        return known
    reading = _Reading(folder, shard)
    to = StageFolder(transaction.folder_of_new, folder.stage)
    note = UnitNote(write_shard(to, formats.values(), number, shards, reading.documents(), reading.jpeg))
    transaction.finish_unit(name, note)
    return note


@dataclass(slots=True)
class _Reading:
    """The documents of a shard, as the cut would have them, and the images of the one that was read last."""

    folder: StageFolder
    shard: ShardFile
    stored: Json | None = None

    def documents(self) -> Iterator[CutDocument]:
        item, path = self.shard.format, self.folder.file(self.shard.file.name)
        with storage.open_read(path) as stream:
            reader = HashingReader(stream)
            content = reader if item.in_order else stream
            for stored in item.read_shard(content, path):  # type: ignore[arg-type]
                self.stored = stored
                try:
                    document, view = item.mmc4_document(stored), item.view(stored)
                except (msgspec.ValidationError, KeyError, TypeError) as error:
                    raise unreadable(path, error) from error
                if document is None or view.key is None:
                    raise unreadable(path, "it has a document that is not of this format")
                yield _cut_document(view.key, document)
            if content is stream:
                stream.seek(0)
            if problem := reader.problem(self.shard.file):
                raise UserError(f"{path}: {problem}")

    def jpeg(self, image: Image) -> bytes:
        try:
            return self.shard.format.jpeg(self.stored or {}, image.position) or b""
        except ValueError as error:
            raise unreadable(self.folder.file(self.shard.file.name), error) from error


def _cut_document(key: str, document: Mmc4Document[ImageInfo]) -> CutDocument:
    infos = document.image_info
    page = Page(
        key=key,
        url=document.url,
        site="",
        timestamp=_NO_TIME,
        could_have_url_duplicate=bool(document.could_have_url_duplicate),
        sentences=document.text_list,
        links=[ImageLink(at, info.raw_url, "", None, None) for at, info in enumerate(infos)],
    )
    placed = [
        Placed(
            image=Image(key, at, info.raw_url, face_detections=info.face_detections),
            score=ImageScore(at, {SIMILARITY: row, GENERATED_CAPTION: info.caption or None}),
            sentence=info.matched_text_index,
            similarity=info.matched_sim,
            before=info.matched_text_index + (info.follows_sentence is True),
        )
        for at, (info, row) in enumerate(zip(infos, document.similarity_matrix, strict=True))
    ]
    return CutDocument(page, placed, {}, {}, {}, None)


def _write_manifest(
    folder: StageFolder,
    manifest: Manifest[CutPlan],
    new: Mapping[str, Format],
    written: Sequence[WrittenFile],
    transaction: Transaction,
) -> Journal:
    """Write the new notes and the new manifest, which list the new files too. Return what is moved into place."""
    of_number: dict[int, list[WrittenFile]] = {}
    for file in written:
        number = next(found for item in new.values() if (found := item.number_of(file.name)) is not None)
        of_number.setdefault(number, []).append(file)
    items = list(DatasetSettings.of(manifest).formats.values())
    files, listed = NewFiles(transaction), []
    all_notes = folder.file(ALL_NOTES)
    notes = storage.concurrently(folder.note, range(manifest.plan.shards))
    with files.open(ALL_NOTES) as stream, writing_notes(stream) as write:
        for note in read_notes(all_notes, urls=True) if storage.exists(all_notes) else notes:
            own = {found for item in items for file in note.files if (found := item.number_of(file.name)) is not None}
            added = [file for number in sorted(own) for file in of_number.get(number, ())]
            longer = msgspec.structs.replace(note, files=[*note.files, *added])
            write(longer)
            listed += longer.files
            if added:
                files.write_json(note_name(note.shard), longer)
    result = msgspec.structs.replace(manifest, files=listed, exported=[*manifest.exported, *as_json(new)])
    files.write_json("manifest.json", result.to_json())
    order = sorted(files.names, key=lambda name: name.endswith("manifest.json"))
    beside = [
        name
        for file in written
        for item in new.values()
        if item.number_of(file.name) is not None
        for name in item.names_beside(file.name)
    ]
    return Journal([*(file.name for file in written), *beside, *order], [Publications.of(_finished(folder))])


def _finish(folder: StageFolder, transaction: Transaction) -> None:
    """Move the new files into place and write what follows from them. Works again if it is stopped."""
    journal = transaction.apply(Journal)
    for item in journal.publications:
        rewrite(_finished(folder), item)
    storage.remove_leftovers(folder.path)
    transaction.clear()


def _finished(folder: StageFolder) -> FinishedFolder:
    content = storage.read_bytes(folder.file("manifest.json"))
    return FinishedFolder("", folder, folder.manifest(CutPlan), hashlib.sha256(content).hexdigest())
