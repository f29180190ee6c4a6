"""Compares the ledgers of two datasets, to find what keeps one from being a subset of the other."""

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
    """An image that the subset keeps and the full dataset lacks, and the file of the subset's ledger that lists it.

    `whole_document` is true if the full dataset does not keep any image of the document.
    """

    ledger: str
    document: str
    position: int
    page_url: str
    image_url: str
    whole_document: bool


def missing_from(full: str, subset: str) -> Iterator[Missing]:
    """Yield each image of the dataset in the folder `subset` that the dataset in `full` lacks.

    Two images are the same if their document, position and sha256 are. Both datasets must have been cut from the same
    scored shards: then the same documents are in file i of both ledgers, and only one file of each is in memory at a
    time. Documents without images, which only a recipe with `min_images: 0` keeps, are not compared.
    Raises UserError if the ledgers have different shards or one of them cannot be read.
    """
    names = _ledger_files(full)
    if names != _ledger_files(subset):
        raise UserError(f"{subset} and {full}: their ledgers have different shards; compare datasets of one output")
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
    patterns = ("ledger/*.parquet", "ledger/[0-9]*/*.parquet")
    names = [name for pattern in patterns for name in storage.names_below(dataset, pattern)]
    if not names:
        raise UserError(f"{dataset}: has no ledger; give a dataset's folder, such as out/dataset/mmc4")
    return names


def _kept(path: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of kept images, reading one batch at a time."""
    try:
        with storage.open_read(path) as stream:
            for batch in pq.ParquetFile(pa.PythonFile(stream, mode="r")).iter_batches(columns=_COLUMNS):
                yield from batch.filter(batch.column("reason").is_null()).to_pylist()
    except (pa.ArrowException, OSError) as error:
        why = str(error).partition("\n")[0]
        raise UserError(f"{path}: not readable as a ledger ({why}); cut the dataset again") from error
