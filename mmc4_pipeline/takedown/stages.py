"""Takes denied documents and links out of one shard of the stages before the cut.

A denied page keeps a row for the ledger's sake: its links without URLs, and no text. It is a document no more, and
counts as dropped by the first stage that there is.
"""

import hashlib
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, Self

import msgspec

from filters.deny_list import LoadedDenyList
from mmc4_pipeline import storage
from mmc4_pipeline.clip.features import copy_features
from mmc4_pipeline.takedown.folders import Part, mentions, refuse_changed_bytes, replaced, with_files
from mmc4_pipeline.takedown.transaction import NewFiles
from mmc4_pipeline.tar import add_file, open_tar, read_image
from schemas.capture import Location
from schemas.document import RejectedDocument
from schemas.image import Image
from schemas.manifest import PagesPlan, ShardNote, WrittenFile
from schemas.page import HASHED, ImageLink, Page, is_hashed
from schemas.reasons import DENIED, Reason
from schemas.score import DocumentScores
from schemas.statistics import Counts

Json = dict[str, Any]


def hashed(url: str) -> str:
    """Give what is left of a denied URL: its hash, as a deny-list has it. A hash stays what it is."""
    return url if is_hashed(url) else HASHED + hashlib.sha256(url.encode("utf-8", "replace")).hexdigest()


@dataclass(slots=True)
class Out:
    """What a takedown takes out of a part: whole documents, images (their bytes, scores or places), links."""

    documents: int = 0
    images: int = 0
    links: int = 0

    def __iadd__(self, other: Self) -> Self:
        """Add what goes out of another shard."""
        self.documents += other.documents
        self.images += other.images
        self.links += other.links
        return self

    def to_json(self) -> Json:
        """Give it as manifests have it."""
        return {"documents": self.documents, "images": self.images, "links": self.links}


@dataclass(slots=True)
class Gone:
    """What goes from a shard: positions of links by document, of which `documents` are denied as a whole.

    `wanted` is how many links of the shard are left to be fetched. `images` are the rows that are left.
    """

    links: dict[str, set[int]] = field(default_factory=dict)
    documents: set[str] = field(default_factory=set)
    wanted: int = 0
    images: list[Image] | None = None

    def has(self, key: str, position: int) -> bool:
        """Tell whether an image goes."""
        return position in self.links.get(key, ())


def take_out_locations(part: Part, shard: int, deny: LoadedDenyList, files: NewFiles) -> Out:
    """Make denied documents of a shard of the locations rejects; those that were rejects lose their URL."""
    names = [part.shard_name(stem, shard) for stem in ("locations", "rejects")]
    if not any(mentions(part.folder.file(name), deny) for name in names):
        return Out()
    note = part.note(shard)
    refuse_changed_bytes(part, note, names)
    locations = list(storage.read_records(part.folder.file(names[0]), Location))
    kept = [location for location in locations if not deny.denies(location.url)]
    rejects = [_without_url(item, deny) for item in storage.read_records(part.folder.file(names[1]), RejectedDocument)]
    rejects += [_denied(location.key, location.url) for location in locations if deny.denies(location.url)]
    documents = Counts(seen=note.counts["documents"].seen)
    documents.decide([*(None for _ in kept), *(item.reason for item in rejects)])
    written = [
        files.write_records(part.path(names[0]), kept, Location),
        files.write_records(part.path(names[1]), rejects, RejectedDocument),
    ]
    write_note(part, shard, files, with_files(note, written), {"documents": documents})
    return Out(documents=len(locations) - len(kept))


def _denied(key: str, url: str) -> RejectedDocument:
    return RejectedDocument(key, hashed(url), "", Reason.DENIED.value, "taken down")


def _without_url(item: RejectedDocument, deny: LoadedDenyList) -> RejectedDocument:
    """Give a rejected document without what names its page, if that is denied; why it was rejected stays."""
    return replace(item, url=hashed(item.url), source="", detail="taken down") if deny.denies(item.url) else item


def take_out_pages(part: Part, shard: int, deny: LoadedDenyList, files: NewFiles) -> tuple[Out, Gone]:
    """Empty the denied pages and links of a shard."""
    names = [part.shard_name(stem, shard) for stem in ("pages", "rejects")]
    if not any(mentions(part.folder.file(name), deny) for name in names):
        return Out(), Gone()
    note, gone, out = part.note(shard), Gone(), Out()
    refuse_changed_bytes(part, note, names)
    pages, denied = [], []
    for page in storage.read_records(part.folder.file(names[0]), Page):
        positions = {link.position for link in page.links if _goes(page, link, deny)}
        if deny.denies(page.url):
            gone.documents.add(page.key)
            denied.append(_denied(page.key, page.url))
        if positions or page.key in gone.documents:
            gone.links[page.key] = positions
            out.links += len(positions)
        pages.append(_without(page, gone))
    gone.wanted = sum(link.reason is None for page in pages for link in page.links)
    out.documents = len(gone.documents)
    located = part.folder.manifest(PagesPlan).plan.input.locations is not None
    before = list(storage.read_records(part.folder.file(names[1]), RejectedDocument))
    if located:  # by the locations that a takedown leaves, denied documents don't come here
        rejects = [item for item in before if not deny.denies(item.url)]
        seen = note.counts["documents"].seen - len(gone.documents) - (len(before) - len(rejects))
    else:
        rejects = [_without_url(item, deny) for item in before]
        rejects += denied
        seen = note.counts["documents"].seen
    documents, links = Counts(seen=seen), Counts(seen=note.counts["links"].seen)
    documents.decide([*(None for page in pages if not page.taken_down), *(item.reason for item in rejects)])
    links.decide(link.reason for page in pages for link in page.links)
    written = [
        files.write_records(part.path(names[0]), pages, Page),
        files.write_records(part.path(names[1]), rejects, RejectedDocument),
    ]
    counts = {"documents": documents, "links": links}
    write_note(part, shard, files, with_files(note, written), counts)
    return out, gone


def _goes(page: Page, link: ImageLink, deny: LoadedDenyList) -> bool:
    return not is_hashed(link.url) and (deny.denies(page.url) or deny.denies(link.url))


def _without(page: Page, gone: Gone) -> Page:
    """Give a page without what goes: of a link its place is left, and its URL's hash."""
    positions = gone.links.get(page.key, set())
    links = [_emptied(link) if link.position in positions else link for link in page.links]
    if page.key in gone.documents:
        return replace(page, url=hashed(page.url), site="", sentences=[], links=links)
    return replace(page, links=links) if positions else page


def _emptied(link: ImageLink) -> ImageLink:
    url = hashed(link.url)
    return ImageLink(link.position, url, "", None, None, link.attribute, reason=DENIED.reason, filter=DENIED.filter)


def take_out_images(part: Part, shard: int, gone: Gone, files: NewFiles) -> Out:
    """Take the rows of denied links out of a shard of the images, and the bytes that nobody else has."""
    name, tar, fetched = (
        part.shard_name(*names) for names in (("images", shard), ("images", shard, "tar"), ("fetched", shard))
    )
    rows = list(storage.read_records(part.folder.file(name), Image))
    left = [row for row in rows if not gone.has(row.key, row.position)]
    gone.images = left
    if len(left) == len(rows):
        return Out()
    note = part.note(shard)
    refuse_changed_bytes(part, note, [name, tar])
    stays = {row.offset: row.length or 0 for row in left if row.offset is not None}
    stored = {row.offset for row in rows if row.offset is not None}
    written, moved = [], {offset: offset for offset in stays}
    if stored != stays.keys():
        with storage.open_read(part.folder.file(tar)) as old, files.open(part.path(tar)) as writer:
            moved = _copy_tar(old, writer, stays)
        written.append(storage.written(tar, writer))
    gone.images = [_moved(row, moved) for row in left]
    written.append(files.write_records(part.path(name), gone.images, Image))
    if storage.exists(part.folder.file(fetched)):  # what was measured before anything was decided
        before = storage.read_records(part.folder.file(fetched), Image)
        measured = [_moved(row, moved) for row in before if not gone.has(row.key, row.position)]
        files.write_records(part.path(fetched), measured, Image)
        fetched_note = f"fetched/{shard:05d}.json"
        if storage.exists(part.folder.file(fetched_note)):
            listed = storage.read_json(part.folder.file(fetched_note), list[WrittenFile])
            files.write_json(part.path(fetched_note), replaced(listed, written))
    links = Counts(seen=gone.wanted)
    links.decide(row.reason for row in left)
    write_note(part, shard, files, with_files(note, written), {"links": links})
    return Out(images=len(stored) - len(stays), links=len(rows) - len(left))


def _copy_tar(old: BinaryIO, writer: Any, stays: Mapping[int, int]) -> dict[int, int]:
    """Copy the files at those offsets, of those lengths, in their order; give the new offset of each."""
    with open_tar(writer) as tar:
        return {offset: _copy_file(old, tar, offset, length) for offset, length in sorted(stays.items())}


def _copy_file(old: BinaryIO, tar: tarfile.TarFile, offset: int, length: int) -> int:
    header = read_image(old, offset - tarfile.BLOCKSIZE, tarfile.BLOCKSIZE)
    name = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").name
    return add_file(tar, name, read_image(old, offset, length))


def _moved(row: Image, moved: Mapping[int, int]) -> Image:
    return row if row.offset is None else replace(row, offset=moved[row.offset])


def take_out_scores(part: Part, shard: int, gone: Gone, files: NewFiles) -> Out:
    """Take the scores of denied images, and their features where they were saved, out of a shard of the scores."""
    name, features = part.shard_name("scores", shard), part.shard_name("features", shard)
    documents = list(storage.read_records(part.folder.file(name), DocumentScores))
    left = [document for document in _scores_left(documents, gone) if document.images]
    out = Out(images=_number(documents) - _number(left))
    if not out.images:
        return out
    note = part.note(shard)
    refuse_changed_bytes(part, note, [name])
    written = [files.write_records(part.path(name), left, DocumentScores)]
    if storage.exists(part.folder.file(features)):
        refuse_changed_bytes(part, note, [features])
        with storage.open_read(part.folder.file(features)) as old, files.open(part.path(features)) as writer:
            copy_features(old, writer, lambda key, position: not gone.has(key, position))
        written.append(storage.written(features, writer))
    links = Counts(seen=note.counts["links"].seen - out.images)
    links.decide(score.reason for document in left for score in document.images)
    write_note(part, shard, files, with_files(note, written), {"links": links})
    return out


def _scores_left(documents: list[DocumentScores], gone: Gone) -> Iterator[DocumentScores]:
    for document in documents:
        images = [score for score in document.images if not gone.has(document.key, score.position)]
        yield replace(document, images=images)


def _number(documents: list[DocumentScores]) -> int:
    return sum(len(document.images) for document in documents)


def write_note(part: Part, shard: int, files: NewFiles, note: ShardNote, counts: Mapping[str, Counts]) -> None:
    """Write a shard's note with new counts; raises ArithmeticError if they don't add up."""
    for what, count in counts.items():
        count.check(f"{what} of {part.folder.path} shard {shard}")
    new = note.counts | {what: count.in_order() for what, count in counts.items()}
    files.write_json(part.path(part.note_name(shard)), msgspec.structs.replace(note, counts=new))
