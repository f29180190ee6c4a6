"""Checks from their ledgers that one dataset is a subset of another, by document and image."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmc4_pipeline import storage
from mmc4_pipeline.errors import UserError

_COLUMNS = ["document", "position", "page_url", "image_url", "sha256", "reason"]


@dataclass(frozen=True, slots=True)
class Missing:
    """An image that the subset keeps and the full dataset does not: its place, and which file of the ledger says so.

    `whole_document` is true where the full dataset keeps no image of its document.
    """

    ledger: str
    document: str
    position: int
    page_url: str
    image_url: str
    whole_document: bool


def missing_from(full: str, subset: str) -> Iterator[Missing]:
    """Yield each image of the dataset in the folder `subset` that the one in `full` lacks; none where it is a subset.

    An image is the same where document, position and sha256 are. Both datasets must have been cut from the same scored
    shards, so that file i of one ledger speaks of the documents of file i of the other: one of each is in memory at a
    time. Documents without images, which only a recipe with `min_images: 0` keeps, are in no ledger.
    Raises UserError where the ledgers are not of the same shards, or one can't be read.
    """
    names = _ledger_files(full)
    if names != _ledger_files(subset):
        message = f"{subset}: its ledger has other shards than {full}'s; compare datasets that were cut from one output"
        raise UserError(message)
    for name in names:
        kept = {(row["document"], row["position"], row["sha256"]) for row in _kept(storage.join(full, name))}
        documents = {document for document, _, _ in kept}
        for row in _kept(storage.join(subset, name)):
            if (row["document"], row["position"], row["sha256"]) not in kept:
                yield Missing(
                    storage.join(subset, name),
                    row["document"],
                    row["position"],
                    row["page_url"],
                    row["image_url"],
                    row["document"] not in documents,
                )


def _ledger_files(dataset: str) -> list[str]:
    paths = storage.matches_below(dataset, "ledger/*.parquet")
    if not paths:
        message = f"{dataset}: no ledger; give the folder that `mmc4 cut` or `mmc4 build` has made"
        raise UserError(message)
    return [f"ledger/{path.rpartition('/')[2]}" for path in paths]


def _kept(path: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of kept images, batch by batch."""
    try:
        with storage.open_read(path) as stream:
            for batch in pq.ParquetFile(pa.PythonFile(stream, mode="r")).iter_batches(columns=_COLUMNS):
                yield from batch.filter(batch.column("reason").is_null()).to_pylist()
    except (pa.ArrowException, OSError) as error:
        message = f"{path}: not readable as a ledger ({str(error).partition(chr(10))[0]}); cut the dataset again"
        raise UserError(message) from error
