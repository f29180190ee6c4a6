"""Mix the sequences of several datasets by weight."""

import random
from collections.abc import Iterator
from collections.abc import Sequence as Several

from torch.utils.data import IterableDataset
from webdataset.utils import pytorch_worker_info

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.training.documents import State, new_epoch
from mmc4_pipeline.training.packing import Sequences, SequenceSource
from mmc4_pipeline.training.sequence import Sequence


class MixedDataset(IterableDataset[Sequence]):
    """Yields sequences of several datasets, each chosen with the probability of its weight.

    An epoch ends when one of the datasets has no more sequences, so that the mixture is the same throughout and no
    document comes twice. The choices follow from `seed`, the epoch, and the process.
    Raises UserError unless there is one weight above 0 for each dataset.
    """

    def __init__(self, datasets: Several[Sequences], weights: Several[float], *, seed: int = 0) -> None:
        if not datasets or len(weights) != len(datasets) or not all(weight > 0 for weight in weights):
            raise UserError(f"a mixture needs one weight above 0 per dataset: {len(datasets)} datasets, {weights}")
        self._datasets, self._weights, self._seed = list(datasets), list(weights), seed
        self._epoch = new_epoch()

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the next epoch, from 0."""
        self._epoch.fill_(epoch)
        for dataset in self._datasets:
            dataset.set_epoch(epoch)

    def __iter__(self) -> "MixedIterator":
        """Return an iterator over the sequences of this process in this epoch."""
        node, nodes, worker, workers = pytorch_worker_info()
        choices = random.Random(f"{self._seed} {int(self._epoch)} {node * workers + worker} {nodes * workers}")
        return MixedIterator([iter(dataset) for dataset in self._datasets], self._weights, choices)


class MixedIterator(Iterator[Sequence]):
    """Yields sequences of several iterators. Its state is that of each, and that of the random numbers."""

    def __init__(self, sources: list[SequenceSource], weights: list[float], choices: random.Random) -> None:
        self._sources, self._weights, self._choices = sources, weights, choices
        self._ended = False

    def __next__(self) -> Sequence:
        """Return the next sequence."""
        (source,) = self._choices.choices(self._sources, self._weights)
        found = None if self._ended else next(source, None)
        if found is None:
            self._ended = True
            raise StopIteration
        return found

    def state_dict(self) -> State:
        """Return the position."""
        version, numbers, gauss = self._choices.getstate()
        return {
            "weights": self._weights,
            "random": [version, list(numbers), gauss],
            "ended": self._ended,
            "sources": [source.state_dict() for source in self._sources],
        }

    def load_state_dict(self, state: State) -> None:
        """Continue from a position. Raises UserError if it is of other datasets, weights or settings."""
        if state.get("weights") != self._weights:
            raise UserError(f"this position is of a mixture with weights {state.get('weights')}, not {self._weights}")
        version, numbers, gauss = state["random"]
        self._choices.setstate((version, tuple(numbers), gauss))
        self._ended = state["ended"]
        for source, position in zip(self._sources, state["sources"], strict=True):
            source.load_state_dict(position)
