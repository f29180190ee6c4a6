"""Streams a dataset's documents to trainers: shared out over nodes and workers, shuffled by seed and epoch."""

import random
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import torch
import webdataset
from torch.utils.data import IterableDataset
from webdataset.utils import pytorch_worker_info

from mmc4_pipeline import storage
from mmc4_pipeline.dataset.files import files_of, finished_dataset, is_shard
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.formats.openflamingo import read_shard
from mmc4_pipeline.training.sequence import Interleaver, Sequence

Sample = dict[str, Any]


class ShardedDocuments(IterableDataset[Sample]):
    """Yields a dataset's documents as samples (`__key__`, `__url__`, `json`): over all processes, each once an epoch.

    A process is a worker of a node: which one, is asked of torch (or of RANK and WORLD_SIZE) when reading begins. With
    at least as many shards as processes, each process reads shards of its own. With fewer, several processes read the
    same shard, and of m of them each takes every m-th document. Processes may get a document more or less than others:
    where all nodes must take the same number of steps, bound the epoch by steps.

    `seed` shuffles: the shards, and the documents within a buffer of `shuffle_buffer` a process (some 0.4 MB a
    document of the web). The order follows from seed and epoch; without a seed it is the dataset's.
    Raises UserError for a folder that is no finished dataset or has no shards, and while reading for a broken shard.
    """

    def __init__(self, dataset: str, *, seed: int | None = None, shuffle_buffer: int = 256) -> None:
        folder = finished_dataset(dataset)
        self._shards = [folder.file(file.name) for file in files_of(folder.manifest()) if is_shard(file.name)]
        if not self._shards:
            message = f"{dataset}: holds no shards to train from; cut it in OpenFlamingo's format"
            raise UserError(message)
        self._seed, self._buffer = seed, shuffle_buffer
        # In shared memory, so that workers that outlive an epoch (persistent_workers) see the next one.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next epoch. Call it before each, with the same number on all nodes."""
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[Sample]:
        """Yield this process's documents of the epoch."""
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
    for shard, turn, sharers in _share(shards, process, processes):
        with storage.open_read(shard) as stream:
            for number, (key, document) in enumerate(read_shard(stream, shard)):
                if number % sharers == turn:
                    yield {"__key__": key, "__url__": shard, "json": document}


def _share(shards: list[str], process: int, processes: int) -> Iterator[tuple[str, int, int]]:
    """Yield a process's shards, each with its turn among the processes that share the shard, and how many they are."""
    for number in range(process, max(len(shards), processes), processes):
        turn, shard = divmod(number, len(shards))
        sharers = len(range(shard, processes, len(shards))) if processes > len(shards) else 1
        yield shards[shard], turn, sharers


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
    """Yields the sequences of a dataset's documents, for torch's DataLoader."""

    def __init__(self, documents: ShardedDocuments, interleave: Interleaver) -> None:
        self._documents, self._interleave = documents, interleave

    def __iter__(self) -> Iterator[Sequence]:
        """Yield this process's sequences of the epoch."""
        return (made for sample in self._documents if (made := self._interleave(sample)) is not None)


def interleaved_pipeline(documents: ShardedDocuments, interleave: Interleaver) -> webdataset.DataPipeline:
    """Give the same as a webdataset pipeline: samples of `__key__`, `__url__`, `text`, `images` and `tokens`.

    More stages (`webdataset.to_tuple`, `webdataset.batched`, …) are added with `.compose(…)`.
    """
    return webdataset.DataPipeline(documents, partial(_sequence_samples, interleave=interleave))


def _sequence_samples(samples: Iterable[Sample], interleave: Interleaver) -> Iterator[Sample]:
    for sample in samples:
        made = interleave(sample)
        if made is not None:
            names = {"__key__": made.key, "__url__": sample["__url__"]}
            yield {**names, "text": made.text, "images": made.images, "tokens": made.tokens}
