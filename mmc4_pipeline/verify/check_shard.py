"""Checks one shard: its bytes, its documents and images, and that they are what the ledger says lies in it."""

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, BinaryIO

import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image as PillowImage

from mmc4_pipeline import storage
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.formats.openflamingo import read_shard
from mmc4_pipeline.verify.check_document import problem_of
from schemas.manifest import WrittenFile

AGAIN = "copy it again from where it is whole, or cut the dataset again"
COLUMNS = ["key", "image_url", "sentence", "sha256", "byte_size"]
_NAMED = 3  # how many documents or images of a kind of problem a line names
_CHUNK = 1 << 20


class HashingReader:
    """Hashes what is read through it, so that a file is read once for its hash and its content."""

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
        """Read to the end and say how the file differs from what the manifest says of it."""
        while self.read(_CHUNK):
            pass
        if self._size != expected.bytes:
            return f"has {self._size} bytes, the manifest says {expected.bytes}; {AGAIN}"
        if self._hash.hexdigest() != expected.sha256:
            return f"its sha256 is not the manifest's: bytes were changed; {AGAIN}"
        return None


@dataclass(slots=True)
class Checked:
    """What was found in a file. `whole` says that it was read to its end, so that its counts mean something."""

    problems: list[str] = field(default_factory=list)
    documents: int = 0
    images: int = 0
    whole: bool = True


@dataclass(slots=True)
class _Findings:
    """Problems of one kind in one shard, each with the document or image that has it."""

    of: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, name: str) -> None:
        """Note a problem."""
        self.of.setdefault(kind, []).append(name)

    def lines(self, path: str) -> list[str]:
        """Give a line for each kind of problem."""
        return [f"{path}: {kind}: {_some(names)}; {AGAIN}" for kind, names in self.of.items()]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def check_shard(path: str, expected: WrittenFile, ledgers: Sequence[str] | None) -> Checked:
    """Check a shard. `ledgers` are the paths of the ledger files that have rows of it, None where these are damaged.

    Images are looked at by their headers: that the bytes are those that were written is what the sha256 says. Where it
    is another, images that were stored as received, and whose own sha256 the ledger has, are named if they differ.
    """
    kept = _kept_rows(ledgers or (), expected.name)
    checked, found, differing = Checked(), _Findings(), _Findings()
    try:
        stream = storage.open_read(path)
    except UserError:
        return Checked([f"{path}: is in the manifest but cannot be read; {AGAIN}"], whole=False)
    with stream:
        reader = HashingReader(stream)
        try:
            for key, document in read_shard(reader, path):  # type: ignore[arg-type]
                checked.documents += 1
                rows = kept.pop(key, [])
                if problem := problem_of(document):
                    found.add(f"not a document of the schema, {problem}", key)
                    continue
                checked.images += len(document["image_info"])
                if ledgers is not None:
                    _check_places(key, document, rows, found)
                _check_images(key, document, rows, found, differing)
        except UserError as error:
            checked.problems.append(str(error))
            checked.whole = False
        if difference := reader.problem(expected):
            checked.problems.append(f"{path}: {difference}")
            checked.problems += differing.lines(path)
    for key in kept if checked.whole else ():
        found.add("the ledger has kept images of a document that is not in it", key)
    checked.problems += found.lines(path)
    return checked


def _kept_rows(ledgers: Sequence[str], shard: str) -> dict[str, list[dict[str, Any]]]:
    """Give the ledger's rows of a shard's images by document."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for ledger in ledgers:
        with storage.open_read(ledger) as stream:
            table = pq.read_table(stream, columns=[*COLUMNS, "shard"], filters=pc.field("shard") == shard)
        for row in table.to_pylist():
            rows.setdefault(row["key"], []).append(row)
    return rows


def _check_places(key: str, document: dict[str, Any], rows: list[dict[str, Any]], found: _Findings) -> None:
    here = Counter((info["raw_url"], info["matched_text_index"]) for info in document["image_info"])
    there = Counter((row["image_url"], row["sentence"]) for row in rows)
    for url, sentence in sorted((here - there).elements()):
        found.add("the ledger has no such image at that sentence", f"{url} at sentence {sentence} of {key}")
    for url, sentence in sorted((there - here).elements()):
        found.add("an image that the ledger has is not there", f"{url} at sentence {sentence} of {key}")


def _check_images(
    key: str, document: dict[str, Any], rows: list[dict[str, Any]], found: _Findings, differing: _Findings
) -> None:
    received = {row["image_url"]: row for row in rows}
    for info in document["image_info"]:
        name = f"{info['raw_url']} of {key}"
        try:
            data = base64.b64decode(info["image_base64"], validate=True)
            with PillowImage.open(BytesIO(data), formats=("JPEG",)) as image:
                image.verify()
        except Exception as error:  # noqa: BLE001 - Pillow raises a dozen types for broken headers
            found.add(f"an image that cannot be decoded ({error})", name)
            continue
        # As many bytes as received: stored as it came, or re-encoded to the same length by a rare chance.
        row = received.get(info["raw_url"])
        if row and row["byte_size"] == len(data) and row["sha256"] != hashlib.sha256(data).hexdigest():
            differing.add("an image's bytes are not those that the ledger has the sha256 of", name)
