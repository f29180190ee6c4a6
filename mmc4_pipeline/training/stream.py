"""Training sequences of a dataset's documents, as a torch dataset or a webdataset pipeline."""

from collections.abc import Iterable, Iterator
from functools import partial

import webdataset
from torch.utils.data import IterableDataset

from mmc4_pipeline.training.documents import DocumentIterator, Sample, ShardedDocuments, State
from mmc4_pipeline.training.sequence import Interleaver, Sequence


class InterleavedDataset(IterableDataset[Sequence]):
    """Yields a dataset's documents as training sequences, for torch's DataLoader or torchdata's StatefulDataLoader.

    Documents with too few images are skipped. Raises UserError during iteration if a shard or a document is invalid.
    """

    def __init__(self, documents: ShardedDocuments, interleave: Interleaver) -> None:
        self._documents, self._interleave = documents, interleave

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the next epoch, from 0."""
        self._documents.set_epoch(epoch)

    def __iter__(self) -> "SequenceIterator":
        """Return an iterator over the sequences of this process in this epoch."""
        return SequenceIterator(iter(self._documents), self._interleave)


class SequenceIterator(Iterator[Sequence]):
    """Yields the sequences of some documents. Its state is the position among the documents."""

    def __init__(self, documents: DocumentIterator, interleave: Interleaver) -> None:
        self._documents, self._interleave = documents, interleave

    def __next__(self) -> Sequence:
        """Return the next sequence. Raises UserError if a shard or a document is invalid."""
        while (made := self._interleave(next(self._documents))) is None:
            pass
        return made

    def state_dict(self) -> State:
        """Return the position."""
        return self._documents.state_dict()

    def load_state_dict(self, state: State) -> None:
        """Continue from a position. Raises UserError if it is of other data or settings."""
        self._documents.load_state_dict(state)


def interleaved_pipeline(documents: ShardedDocuments, interleave: Interleaver) -> webdataset.DataPipeline:
    """Return the same sequences as a webdataset pipeline.

    Its samples are dicts with `__key__`, `__url__`, and the Sequence's `text`, `images` and `tokens`. Add more stages
    (`webdataset.to_tuple`, `webdataset.batched`, …) with `.compose(…)`.
    """
    return webdataset.DataPipeline(documents, partial(_sequence_samples, interleave=interleave))


def _sequence_samples(samples: Iterable[Sample], interleave: Interleaver) -> Iterator[Sample]:
    for sample in samples:
        made = interleave(sample)
        if made is not None:
            names = {"__key__": made.key, "__url__": sample["__url__"]}
            yield {**names, "text": made.text, "images": made.images, "tokens": made.tokens}
