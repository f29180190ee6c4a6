"""Reads the documents that the locate stage looks for: all of them, the first ones, or a sample."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from heapq import nsmallest
from itertools import chain
from typing import Any

import apache_beam as beam
import msgspec
from apache_beam.pvalue import PCollection

from beam_jobs.locate_rows import EPOCH, Reference
from mmc4_pipeline.documents.fields import DocumentFields
from mmc4_pipeline.documents.reading import read_references
from mmc4_pipeline.naming import document_key
from mmc4_pipeline.storage import Inputs
from schemas.document import DocumentReference, RejectedDocument

_Ranked = tuple[str, Reference]  # a document's key and the document


@dataclass(frozen=True, kw_only=True)
class InputDocuments:
    """Files of documents. `first` has the number of rows of a file of which not all are read.

    `sample` is how many documents are chosen of all valid ones: those with the smallest keys, which are hashes.
    """

    inputs: Inputs
    files: tuple[str, ...]
    fields: DocumentFields
    first: dict[str, int] = field(default_factory=dict)
    sample: int | None = None

    def batches(self, pipeline: beam.Pipeline) -> PCollection[Any]:
        """Return what `read` turns into documents: each file, or the sample of all files."""
        files: PCollection[Any] = (
            pipeline | "Document files" >> beam.Create(list(enumerate(self.files))) | "Spread files" >> beam.Reshuffle()
        )
        if self.sample is None:
            return files
        chosen: PCollection[bytes] = (
            files
            | "Sample a file" >> beam.MapTuple(self._sample_of_file)
            | "Sample of all" >> beam.CombineGlobally(self._merged)
        )
        return chosen

    def read(self, batch: tuple[int, str] | bytes) -> Iterator[Reference | RejectedDocument]:
        """Yield the documents of a batch, or why they are invalid."""
        if isinstance(batch, bytes):
            yield from (reference for _, reference in _decoded(batch))
            return
        number, path = batch
        for line, found in read_references(self.inputs, path, self.fields, self.first.get(path)):
            if isinstance(found, DocumentReference):
                seconds = (found.timestamp - EPOCH) // timedelta(seconds=1)
                yield found.url, seconds, number, line, found.crawl, found.warc
            else:
                yield found

    def _sample_of_file(self, number: int, path: str) -> bytes:
        found = (item for item in self.read((number, path)) if not isinstance(item, RejectedDocument))
        return self._smallest((_key(item), item) for item in found)

    def _merged(self, samples: Iterable[bytes]) -> bytes:
        return self._smallest(chain.from_iterable(map(_decoded, samples)))

    def _smallest(self, ranked: Iterable[_Ranked]) -> bytes:
        """Return the documents with the smallest keys; of the same key, the earlier line of the earlier file."""
        return msgspec.msgpack.encode(nsmallest(self.sample or 0, ranked, key=lambda item: (item[0], item[1][2:])))


def _key(reference: Reference) -> str:
    return document_key(reference[0], EPOCH + timedelta(seconds=reference[1]))


def _decoded(packed: bytes) -> list[_Ranked]:
    ranked: list[_Ranked] = msgspec.msgpack.decode(packed, type=list[_Ranked])
    return ranked
