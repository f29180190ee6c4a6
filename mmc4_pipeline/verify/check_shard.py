"""Checks one shard, in any format: its bytes, its documents and images, and that they are those of the ledger."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import BinaryIO, Self

import msgspec
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image as PillowImage

from mmc4_pipeline import storage
from mmc4_pipeline.dataset.files import ShardFile
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.formats.base import DocumentView, Format, Json
from mmc4_pipeline.verify.check_document import problem_of
from schemas.manifest import WrittenFile
from schemas.mmc4_document import ImageInfo, Mmc4Document

AGAIN = "copy it again from an intact copy, or cut the dataset again"
_COLUMNS = ["key", "page_url", "image_url", "sentence", "sha256", "byte_size"]
_NAMED = 3  # documents or images that a line names for each kind of problem
_CHUNK = 1 << 20


class HashingReader:
    """Hashes what is read through it, so that a file is read only once for its hash and its content."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self._size = 0

    def read(self, length: int = -1) -> bytes:
        """Read and hash."""
        data = self._stream.read(length)
        self._hash.update(data)
        self._size += len(data)
        return data

    def problem(self, expected: WrittenFile) -> str | None:
        """Read to the end and return how the file differs from its entry in the manifest, None if it does not."""
        while self.read(_CHUNK):
            pass
        if self._size != expected.bytes:
            return f"has {self._size} bytes, the manifest says {expected.bytes}; {AGAIN}"
        if self._hash.hexdigest() != expected.sha256:
            return f"its sha256 is not the manifest's: bytes were changed; {AGAIN}"
        return None


@dataclass(slots=True)
class Checked:
    """The problems and counts of one or more shards. Counts are meaningful only if `whole`: all could be read."""

    problems: list[str] = field(default_factory=list)
    documents: int = 0
    images: int = 0
    whole: bool = True

    def __iadd__(self, other: Self) -> Self:
        """Add another shard's counts."""
        self.documents += other.documents
        self.images += other.images
        self.whole = self.whole and other.whole
        return self


@dataclass(slots=True)
class _Findings:
    """The problems of one shard by kind, each with the documents or images that have it."""

    of: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, name: str) -> None:
        """Add a problem."""
        self.of.setdefault(kind, []).append(name)

    def lines(self, path: str) -> list[str]:
        """Return one line for each kind of problem."""
        return [f"{path}: {kind}: {_some(names)}; {AGAIN}" for kind, names in self.of.items()]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


class _LedgerRows:
    """The ledger's rows of one shard's images. Documents take theirs, by their key or else by their page."""

    def __init__(self, ledgers: Sequence[str] | None, shard: str) -> None:
        """Read the rows from the ledger's files; `known` is false if these are damaged."""
        self.known = ledgers is not None
        self._rows: dict[str, list[Json]] = {}
        self._keys: dict[str, list[str]] = {}
        for ledger in ledgers or ():
            with storage.open_read(ledger) as stream:
                table = pq.read_table(stream, columns=[*_COLUMNS, "shard"], filters=pc.field("shard") == shard)
            for row in table.to_pylist():
                if row["key"] not in self._rows:
                    self._keys.setdefault(row["page_url"], []).append(row["key"])
                self._rows.setdefault(row["key"], []).append(row)

    def take(self, key: str | None, page_url: str) -> list[Json]:
        """Return the rows of a document, none if there are none; they are not returned again."""
        if key is None:
            keys = self._keys.get(page_url)
            key = keys.pop(0) if keys else ""
        return self._rows.pop(key, [])

    def remaining(self) -> list[str]:
        """Return the keys of the documents whose rows were not taken."""
        return list(self._rows)


def check_shard(path: str, shard: ShardFile, ledgers: Sequence[str] | None) -> Checked:
    """Check a shard. `ledgers` are the ledger's files that have rows of it, None if they are damaged.

    Only the header of each image is decoded, because the shard's sha256 covers the rest. If that differs, the damaged
    images are named. They are found by the sha256 of the image as received, which the ledger has; so this works only
    for images that were stored as received.
    """
    checked, found, differing = Checked(), _Findings(), _Findings()
    rows = _LedgerRows(ledgers, shard.in_ledger)
    try:
        stream = storage.open_read(path)
    except UserError:
        return Checked([f"{path}: is in the manifest but cannot be read; {AGAIN}"], whole=False)
    with stream:
        reader = HashingReader(stream)
        try:
            content = reader if shard.format.in_order else stream
            for stored in shard.format.read_shard(content, path):  # type: ignore[arg-type]
                checked.documents += 1
                checked.images += _check_document(stored, shard.format, rows, found, differing, checked.documents)
        except UserError as error:
            checked.problems.append(str(error))
            checked.whole = False
        if content is stream:
            stream.seek(0)
        if difference := reader.problem(shard.file):
            checked.problems.append(f"{path}: {difference}")
            checked.problems += differing.lines(path)
    for key in rows.remaining() if checked.whole else ():
        found.add("the ledger has kept images of a document that is not in it", key)
    checked.problems += found.lines(path)
    return checked


def _check_document(
    stored: Json, item: Format, rows: _LedgerRows, found: _Findings, differing: _Findings, number: int
) -> int:
    """Check a document against its format's schema and the ledger; return how many images it has."""
    key = stored.get("__key__")
    try:
        document, view = item.mmc4_document(stored), item.view(stored)
    except msgspec.ValidationError as error:
        problem: str | None = str(error)
    except (KeyError, TypeError, AttributeError) as error:
        problem = f"{type(error).__name__}: {error}"
    else:
        problem = problem_of(document) if document else None
    if problem:
        found.add(f"not a document of the schema, {problem}", key or f"document {number}")
        rows.take(key or "", "")
        return 0
    of_document = rows.take(view.key, view.url)
    name = view.key or view.url
    if rows.known:
        _check_places(name, view, document, of_document, found)
    for at, url in enumerate(view.image_urls):
        _check_image(lambda at=at: item.jpeg(stored, at), f"{url} of {name}", _row(of_document, url), found, differing)  # type: ignore[misc]
    return len(view.image_urls)


def _row(rows: list[Json], url: str) -> Json | None:
    return next((row for row in reversed(rows) if row["image_url"] == url), None)


def _check_places(
    name: str, view: DocumentView, document: Mmc4Document[ImageInfo] | None, rows: list[Json], found: _Findings
) -> None:
    """Compare the images, and the sentences that they are assigned to if the format has them, with the ledger's."""
    if document is None:
        stored = Counter(view.image_urls)
        expected = Counter(row["image_url"] for row in rows)
    else:
        stored = Counter(f"{info.raw_url} at sentence {info.matched_text_index}" for info in document.image_info)
        expected = Counter(f"{row['image_url']} at sentence {row['sentence']}" for row in rows)
    for image in sorted((stored - expected).elements()):
        found.add("the ledger has no such image at that sentence", f"{image} of {name}")
    for image in sorted((expected - stored).elements()):
        found.add("an image that the ledger has is not there", f"{image} of {name}")


def _check_image(
    read: Callable[[], bytes | None], name: str, row: Json | None, found: _Findings, differing: _Findings
) -> None:
    try:
        jpeg = read()
        if jpeg is None:
            return
        with PillowImage.open(BytesIO(jpeg), formats=("JPEG",)) as image:
            image.verify()
    except Exception as error:  # noqa: BLE001 - Pillow raises a dozen types for broken headers
        found.add(f"an image that cannot be decoded ({error})", name)
        return
    # As many bytes as received: the image was stored as received, or by a rare chance encoded to the same length.
    if row and row["byte_size"] == len(jpeg) and row["sha256"] != hashlib.sha256(jpeg).hexdigest():
        differing.add("an image's bytes do not have the sha256 that is in the ledger", name)
