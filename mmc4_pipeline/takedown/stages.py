"""Removes denied documents and links from one shard of the stages before the cut.

A denied page keeps its row, because the ledger lists every link: the row has hashes in place of URLs, and no text. The
page no longer counts as a document: the first stage has dropped it.
"""

import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, Self

import msgspec

from filters.deny_list import LoadedDenyList
from mmc4_pipeline import storage
from mmc4_pipeline.clip.features import copy_features
from mmc4_pipeline.scoring.files import read_scores, write_score_table
from mmc4_pipeline.stage_folder import note_name
from mmc4_pipeline.takedown.folders import FinishedFolder, mentions, refuse_changed_bytes, replaced, with_files
from mmc4_pipeline.takedown.transaction import NewFiles
from mmc4_pipeline.tar import add_file, open_tar, read_image
from schemas.capture import Location
from schemas.document import RejectedDocument
from schemas.image import Image
from schemas.manifest import ShardNote, WrittenFile
from schemas.page import ImageLink, Page, hashed, is_hashed
from schemas.reasons import DENIED
from schemas.score import DocumentScores
from schemas.statistics import Counts


class Removed(msgspec.Struct):
    """How much is removed from a folder: whole documents, images (their bytes, scores or rows), links."""

    documents: int = 0
    images: int = 0
    links: int = 0

    def __bool__(self) -> bool:
        """Return whether anything is removed."""
        return bool(self.documents or self.images or self.links)

    def __iadd__(self, other: Self) -> Self:
        """Add what is removed from another shard."""
        self.documents += other.documents
        self.images += other.images
        self.links += other.links
        return self


@dataclass(slots=True)
class Removal:
    """The removed parts of a shard of the stages: positions of links by document, and documents as a whole.

    `wanted` is how many of the shard's remaining links are worth fetching. `images` are the remaining rows of the
    images stage, None if that stage is not there.
    """

    links: dict[str, set[int]] = field(default_factory=dict)
    documents: set[str] = field(default_factory=set)
    wanted: int = 0
    images: list[Image] | None = None

    def has(self, key: str, position: int) -> bool:
        """Return whether an image is removed."""
        return position in self.links.get(key, ())


def remove_from_locations(finished: FinishedFolder, shard: int, deny: LoadedDenyList, files: NewFiles) -> Removed:
    """Turn the denied documents of a shard of the locations into rejects; remove the URLs of denied rejects."""
    names = [finished.shard_name(stem, shard) for stem in ("locations", "rejects")]
    if not any(mentions(finished.folder.file(name), deny) for name in names):
        return Removed()
    note = finished.note(shard)
    refuse_changed_bytes(finished, note, names)
    locations = list(storage.read_records(finished.folder.file(names[0]), Location))
    kept = [location for location in locations if not deny.denies(location.url)]
    rejects = [
        _without_url(item, deny) for item in storage.read_records(finished.folder.file(names[1]), RejectedDocument)
    ]
    rejects += [_denied_document(location.key, location.url) for location in locations if deny.denies(location.url)]
    documents = Counts(seen=note.counts["documents"].seen)
    documents.decide([*(None for _ in kept), *(item.reason for item in rejects)])
    written = [
        files.write_records(finished.path(names[0]), kept, Location),
        files.write_records(finished.path(names[1]), rejects, RejectedDocument),
    ]
    write_note(finished, shard, files, with_files(note, written), {"documents": documents})
    return Removed(documents=len(locations) - len(kept))


def _denied_document(key: str, url: str) -> RejectedDocument:
    return RejectedDocument(key, hashed(url), "", DENIED.reason, "taken down", DENIED.filter)


def _without_url(item: RejectedDocument, deny: LoadedDenyList) -> RejectedDocument:
    """Return a rejected document, without what identifies its page if that is denied; its reason stays."""
    return replace(item, url=hashed(item.url), source="", detail="taken down") if deny.denies(item.url) else item


def remove_from_pages(
    finished: FinishedFolder, shard: int, deny: LoadedDenyList, files: NewFiles
) -> tuple[Removed, Removal]:
    """Remove text and URLs of the denied pages and links of a shard."""
    names = [finished.shard_name(stem, shard) for stem in ("pages", "rejects")]
    if not any(mentions(finished.folder.file(name), deny) for name in names):
        return Removed(), Removal()
    note, removal, removed = finished.note(shard), Removal(), Removed()
    refuse_changed_bytes(finished, note, names)
    pages, denied = [], []
    for page in storage.read_records(finished.folder.file(names[0]), Page):
        positions = {link.position for link in page.links if _is_denied(page, link, deny)}
        if deny.denies(page.url):
            removal.documents.add(page.key)
            denied.append(_denied_document(page.key, page.url))
        if positions or page.key in removal.documents:
            removal.links[page.key] = positions
            removed.links += len(positions)
        pages.append(_without_removed(page, removal))
    removal.wanted = sum(link.reason is None for page in pages for link in page.links)
    removed.documents = len(removal.documents)
    located = finished.manifest.plan.input.locations is not None
    before = list(storage.read_records(finished.folder.file(names[1]), RejectedDocument))
    if located:  # the locations no longer have the denied documents
        rejects = [item for item in before if not deny.denies(item.url)]
        seen = note.counts["documents"].seen - len(removal.documents) - (len(before) - len(rejects))
    else:
        rejects = [_without_url(item, deny) for item in before]
        rejects += denied
        seen = note.counts["documents"].seen
    documents, links = Counts(seen=seen), Counts(seen=note.counts["links"].seen)
    documents.decide([*(None for page in pages if not page.taken_down), *(item.reason for item in rejects)])
    links.decide(link.reason for page in pages for link in page.links)
    written = [
        files.write_records(finished.path(names[0]), pages, Page),
        files.write_records(finished.path(names[1]), rejects, RejectedDocument),
    ]
    counts = {"documents": documents, "links": links}
    write_note(finished, shard, files, with_files(note, written), counts)
    return removed, removal


def _is_denied(page: Page, link: ImageLink, deny: LoadedDenyList) -> bool:
    return not is_hashed(link.url) and (deny.denies(page.url) or deny.denies(link.url))


def _without_removed(page: Page, removal: Removal) -> Page:
    """Return a page without what is removed. A removed link keeps its position and has the hash of its URL."""
    positions = removal.links.get(page.key, set())
    links = [_denied_link(link) if link.position in positions else link for link in page.links]
    if page.key in removal.documents:
        return replace(page, url=hashed(page.url), site="", sentences=[], links=links, declarations=[])
    return replace(page, links=links) if positions else page


def _denied_link(link: ImageLink) -> ImageLink:
    url = hashed(link.url)
    return ImageLink(link.position, url, "", None, None, link.attribute, reason=DENIED.reason, filter=DENIED.filter)


def remove_from_images(finished: FinishedFolder, shard: int, removal: Removal, files: NewFiles) -> Removed:
    """Remove the rows of denied links from a shard of the images, and the bytes that no other row refers to."""
    name, tar, fetched = (
        finished.shard_name(*names) for names in (("images", shard), ("images", shard, "tar"), ("fetched", shard))
    )
    rows = list(storage.read_records(finished.folder.file(name), Image))
    remaining = [row for row in rows if not removal.has(row.key, row.position)]
    removal.images = remaining
    if len(remaining) == len(rows):
        return Removed()
    note = finished.note(shard)
    refuse_changed_bytes(finished, note, [name, tar])
    lengths = {row.offset: row.length or 0 for row in remaining if row.offset is not None}
    stored = {row.offset for row in rows if row.offset is not None}
    written, moved = [], {offset: offset for offset in lengths}
    if stored != lengths.keys():
        with storage.open_read(finished.folder.file(tar)) as old, files.open(finished.path(tar)) as writer:
            moved = _copy_tar(old, writer, lengths)
        written.append(storage.written(tar, writer))
    removal.images = [_moved(row, moved) for row in remaining]
    written.append(files.write_records(finished.path(name), removal.images, Image))
    if storage.exists(finished.folder.file(fetched)):  # the measurements before duplicates were dropped
        before = storage.read_records(finished.folder.file(fetched), Image)
        measured = [_moved(row, moved) for row in before if not removal.has(row.key, row.position)]
        files.write_records(finished.path(fetched), measured, Image)
        fetched_note = note_name(shard, "fetched")
        if storage.exists(finished.folder.file(fetched_note)):
            listed = storage.read_json(finished.folder.file(fetched_note), list[WrittenFile])
            files.write_json(finished.path(fetched_note), replaced(listed, written))
    links = Counts(seen=removal.wanted)
    links.decide(row.reason for row in remaining)
    write_note(finished, shard, files, with_files(note, written), {"links": links})
    return Removed(images=len(stored) - len(lengths), links=len(rows) - len(remaining))


def _copy_tar(old: BinaryIO, writer: Any, lengths: Mapping[int, int]) -> dict[int, int]:
    """Copy the files at the given offsets, with their lengths, in order; return the new offset of each."""
    with open_tar(writer) as tar:
        return {offset: _copy_file(old, tar, offset, length) for offset, length in sorted(lengths.items())}


def _copy_file(old: BinaryIO, tar: tarfile.TarFile, offset: int, length: int) -> int:
    header = read_image(old, offset - tarfile.BLOCKSIZE, tarfile.BLOCKSIZE)
    name = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").name
    return add_file(tar, name, read_image(old, offset, length))


def _moved(row: Image, moved: Mapping[int, int]) -> Image:
    return row if row.offset is None else replace(row, offset=moved[row.offset])


def remove_from_scores(finished: FinishedFolder, shard: int, removal: Removal, files: NewFiles) -> Removed:
    """Remove the scores of denied images from a shard of the scores, and their features if these were saved."""
    name, features = finished.shard_name("scores", shard), finished.shard_name("features", shard)
    columns = finished.manifest.plan.all_columns
    documents = list(read_scores(finished.folder.file(name), columns))
    remaining = [document for document in _remaining_scores(documents, removal) if document.images]
    removed = Removed(images=_number(documents) - _number(remaining))
    if not removed.images:
        return removed
    note = finished.note(shard)
    refuse_changed_bytes(finished, note, [name])
    with files.open(finished.path(name)) as writer:
        write_score_table(writer, remaining, columns)
    written = [storage.written(name, writer)]
    if storage.exists(finished.folder.file(features)):
        refuse_changed_bytes(finished, note, [features])
        with storage.open_read(finished.folder.file(features)) as old, files.open(finished.path(features)) as writer:
            copy_features(old, writer, lambda key, position: not removal.has(key, position))
        written.append(storage.written(features, writer))
    links = Counts(seen=note.counts["links"].seen - removed.images)
    links.decide(score.reason for document in remaining for score in document.images)
    write_note(finished, shard, files, with_files(note, written), {"links": links})
    return removed


def _remaining_scores(documents: list[DocumentScores], removal: Removal) -> Iterator[DocumentScores]:
    for document in documents:
        images = [score for score in document.images if not removal.has(document.key, score.position)]
        yield replace(document, images=images)


def _number(documents: list[DocumentScores]) -> int:
    return sum(len(document.images) for document in documents)


def write_note(
    finished: FinishedFolder, shard: int, files: NewFiles, note: ShardNote, counts: Mapping[str, Counts]
) -> None:
    """Write a shard's note with new counts; raises ArithmeticError if they don't add up."""
    for what, count in counts.items():
        count.check(f"{what} of {finished.folder.path} shard {shard}")
    new = note.counts | {what: count.in_order() for what, count in counts.items()}
    files.write_json(finished.path(finished.note_name(shard)), msgspec.structs.replace(note, counts=new))
