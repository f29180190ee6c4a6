"""Stream a dataset's documents to trainers, divided among nodes and workers, and shuffled by seed and epoch."""

import random
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import torch
import webdataset
from torch.utils.data import IterableDataset
from webdataset.utils import pytorch_worker_info

from mmc4_pipeline import storage
from mmc4_pipeline.dataset.files import finished_dataset, shards_of
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.formats.openflamingo import OpenFlamingo, read_shard
from mmc4_pipeline.training.sequence import Interleaver, Sequence
from schemas.manifest import CutPlan

Sample = dict[str, Any]


class ShardedDocuments(IterableDataset[Sample]):
    """Yields a dataset's documents as samples, each document once per epoch over all processes.

    A sample is a dict with `__key__` (str), `__url__` (path of the shard, str) and `json` (the document, a dict).

    A process is one worker of one node. When iteration begins, torch (or RANK and WORLD_SIZE) determines which one.
    With at least as many shards as processes, each process reads its own shards. With fewer shards, m processes share a
    shard, and each takes every m-th document. The numbers of documents per process may differ: if all nodes must take
    the same number of steps, end the epoch after a fixed number of steps.

    `dataset` is a dataset's folder or URL. With a `seed` the shards are shuffled, and the documents within a buffer of
    `shuffle_buffer` documents per process (some 0.4 MB for each document of the web). The order depends only on the
    seed and the epoch; without a seed it is that of the dataset.
    Raises UserError if the folder is not a finished dataset or has no shards in OpenFlamingo's format, and during
    iteration if a shard is damaged.
    """

    def __init__(self, dataset: str, *, seed: int | None = None, shuffle_buffer: int = 256) -> None:
        folder = finished_dataset(dataset)
        self._shards = [
            folder.file(shard.file.name)
            for shard in shards_of(folder.manifest(CutPlan))
            if isinstance(shard.format, OpenFlamingo)
        ]
        if not self._shards:
            raise UserError(f"{dataset}: has no shards to train from; run `mmc4 cut` with --formats openflamingo")
        self._seed, self._buffer = seed, shuffle_buffer
        # In shared memory, so that workers that live longer than an epoch (persistent_workers) see the next one.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the next epoch, from 0. Call this before each epoch, with the same number on all nodes."""
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[Sample]:
        """Yield the documents of this process in this epoch. Raises UserError if a shard is damaged."""
        node, nodes, worker, workers = pytorch_worker_info()
        process, processes = node * workers + worker, nodes * workers
        if self._seed is None:
            yield from _documents(self._shards, process, processes)
            return
        shards = list(self._shards)
        name = f"{self._seed} {int(self._epoch)}"
        random.Random(name).shuffle(shards)
        buffer = random.Random(f"{name} {process}")
        yield from _shuffled(_documents(shards, process, processes), self._buffer, buffer)


def _documents(shards: list[str], process: int, processes: int) -> Iterator[Sample]:
    for shard, index, sharers in _share(shards, process, processes):
        with storage.open_read(shard) as stream:
            for number, (key, document) in enumerate(read_shard(stream, shard)):
                if number % sharers == index:
                    yield {"__key__": key, "__url__": shard, "json": document}


def _share(shards: list[str], process: int, processes: int) -> Iterator[tuple[str, int, int]]:
    """Yield a process's shards, each with its index among the processes that share the shard, and their number."""
    for number in range(process, max(len(shards), processes), processes):
        index, shard = divmod(number, len(shards))
        sharers = len(range(shard, processes, len(shards))) if processes > len(shards) else 1
        yield shards[shard], index, sharers


def _shuffled(samples: Iterable[Sample], size: int, source: random.Random) -> Iterator[Sample]:
    buffer: list[Sample] = []
    for sample in samples:
        buffer.append(sample)
        if len(buffer) >= size:
            at = source.randrange(len(buffer))
            buffer[at], buffer[-1] = buffer[-1], buffer[at]
            yield buffer.pop()
    source.shuffle(buffer)
    yield from buffer


class InterleavedDataset(IterableDataset[Sequence]):
    """Yields a dataset's documents as training sequences, for torch's DataLoader.

    Documents with too few images are skipped. Raises UserError during iteration if a shard or a document is invalid.
    """

    def __init__(self, documents: ShardedDocuments, interleave: Interleaver) -> None:
        self._documents, self._interleave = documents, interleave

    def __iter__(self) -> Iterator[Sequence]:
        """Yield the sequences of this process in this epoch."""
        return (made for sample in self._documents if (made := self._interleave(sample)) is not None)


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
