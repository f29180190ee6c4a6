"""Stream a dataset's documents to trainers, divided among nodes and workers, shuffled by seed and epoch, resumable."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import IterableDataset
from webdataset.utils import pytorch_worker_info

from mmc4_pipeline import storage
from mmc4_pipeline.dataset.files import finished_dataset, shards_of
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.formats.openflamingo import OpenFlamingo, read_documents
from schemas.manifest import CutPlan

Sample = dict[str, Any]
State = dict[str, Any]


def new_epoch() -> torch.Tensor:
    """Return the number 0 in shared memory: workers that live longer than an epoch (persistent_workers) see changes."""
    return torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call,no-any-return]


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

    Its iterators have `state_dict` and `load_state_dict`, the protocol of torchdata's StatefulDataLoader.
    Raises UserError if the folder is not a finished dataset or has no shards in OpenFlamingo's format, and during
    iteration if a shard is damaged.
    """

    def __init__(self, dataset: str, *, seed: int | None = None, shuffle_buffer: int = 256) -> None:
        folder = finished_dataset(dataset)
        files = [shard.file for shard in shards_of(folder.manifest(CutPlan)) if isinstance(shard.format, OpenFlamingo)]
        if not files:
            raise UserError(f"{dataset}: has no shards to train from; run `mmc4 cut` with --formats openflamingo")
        content = hashlib.sha256("".join(f"{file.name} {file.sha256}\n" for file in files).encode())
        self._order = _Order(
            shards=[folder.file(file.name) for file in files],
            content=content.hexdigest(),
            seed=seed,
            buffer=1 if seed is None else shuffle_buffer,
        )
        self._epoch = new_epoch()

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the next epoch, from 0. Call this before each epoch, with the same number on all nodes."""
        self._epoch.fill_(epoch)

    def __iter__(self) -> "DocumentIterator":
        """Return an iterator over the documents of this process in this epoch."""
        node, nodes, worker, workers = pytorch_worker_info()
        return DocumentIterator(self._order, int(self._epoch), node * workers + worker, nodes * workers)


@dataclass(frozen=True, slots=True)
class _Order:
    """Everything that determines the order of the documents, except the epoch."""

    shards: list[str]
    content: str  # sha256 of the names and hashes of the shards
    seed: int | None
    buffer: int


@dataclass(frozen=True, slots=True)
class _Place:
    """The place of a document: a number in the process's list of shards, its file's offset, its number in the shard."""

    shard: int
    offset: int
    number: int


class DocumentIterator(Iterator[Sample]):
    """Yields the documents of one process in one epoch.

    Its state is small: the place of the next document, those of the documents in the buffer, and the state of the
    random numbers. A resumed iterator reads the documents of the buffer again, and nothing else before the next one.
    """

    def __init__(self, order: _Order, epoch: int, process: int, processes: int) -> None:
        self._order, self._process, self._processes = order, process, processes
        self._begin(epoch)

    def _begin(self, epoch: int) -> None:
        shards = list(self._order.shards)
        name = f"{self._order.seed} {epoch}"
        if self._order.seed is not None:
            random.Random(name).shuffle(shards)
        self._epoch = epoch
        self._shares = list(_share(shards, self._process, self._processes))
        self._random = random.Random(f"{name} {self._process}")
        self._buffer: list[tuple[_Place, Sample]] = []
        self._read_all = False
        self._continue_at(_Place(0, 0, 0))

    def _continue_at(self, place: _Place) -> None:
        self._next = place
        self._source = self._documents()

    def __next__(self) -> Sample:
        """Return the next document. Raises UserError if its shard is damaged."""
        while not self._read_all and len(self._buffer) < self._order.buffer:
            found = next(self._source, None)
            if found is not None:
                self._buffer.append(found)
                continue
            self._read_all = True
            self._random.shuffle(self._buffer)
            self._buffer.reverse()  # they are taken from the end
        if not self._buffer:
            raise StopIteration
        if not self._read_all:
            at = self._random.randrange(len(self._buffer))
            self._buffer[at], self._buffer[-1] = self._buffer[-1], self._buffer[at]
        return self._buffer.pop()[1]

    def _documents(self) -> Iterator[tuple[_Place, Sample]]:
        """Yield the remaining documents of the process from `_next` on, in the order of the shards."""
        for number in range(self._next.shard, len(self._shares)):
            shard, index, sharers = self._shares[number]
            with storage.open_read(shard) as stream:
                for key, document, end in read_documents(stream, shard, self._next.offset):
                    place, self._next = self._next, _Place(number, end, self._next.number + 1)
                    if place.number % sharers == index:
                        yield place, {"__key__": key, "__url__": shard, "json": document}
            self._next = _Place(number + 1, 0, 0)

    def _document(self, place: _Place) -> Sample:
        shard = self._shares[place.shard][0]
        with storage.open_read(shard) as stream:
            key, document, _ = next(read_documents(stream, shard, place.offset))
        return {"__key__": key, "__url__": shard, "json": document}

    def _identity(self) -> State:
        """Return what must be the same when an epoch is continued."""
        return {
            "content": self._order.content,
            "seed": self._order.seed,
            "shuffle_buffer": self._order.buffer,
            "process": self._process,
            "processes": self._processes,
        }

    def state_dict(self) -> State:
        """Return the position, from which `load_state_dict` continues: numbers, strings and lists only."""
        version, numbers, gauss = self._random.getstate()
        return {
            **self._identity(),
            "epoch": self._epoch,
            "random": [version, list(numbers), gauss],
            "next": _as_list(self._next),
            "buffer": [_as_list(place) for place, _ in self._buffer],
            "read_all": self._read_all,
        }

    def load_state_dict(self, state: State) -> None:
        """Continue after the last document that was yielded when the state was saved, in the epoch of the state.

        Raises UserError if the state is of other shards, another seed, buffer, process or number of processes.
        """
        identity = self._identity()
        different = [name for name, value in identity.items() if state.get(name) != value]
        if different:
            named = ", ".join(f"{name} is {identity[name]!r}, not {state.get(name)!r}" for name in different)
            raise UserError(
                f"this position is of other data or settings: {named}; restore them, or start the epoch again"
            )
        self._begin(state["epoch"])
        version, numbers, gauss = state["random"]
        self._random.setstate((version, tuple(numbers), gauss))
        self._continue_at(_Place(*state["next"]))
        self._buffer = [(place, self._document(place)) for place in (_Place(*item) for item in state["buffer"])]
        self._read_all = state["read_all"]


def _as_list(place: _Place) -> list[int]:
    return [place.shard, place.offset, place.number]


def _share(shards: list[str], process: int, processes: int) -> Iterator[tuple[str, int, int]]:
    """Yield a process's shards, each with its index among the processes that share the shard, and their number."""
    for number in range(process, max(len(shards), processes), processes):
        index, shard = divmod(number, len(shards))
        sharers = len(range(shard, processes, len(shards))) if processes > len(shards) else 1
        yield shards[shard], index, sharers
