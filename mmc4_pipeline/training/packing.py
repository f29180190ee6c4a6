"""Pack training sequences to a budget of tokens, so that batches have little padding."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from torch.utils.data import IterableDataset

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.training.documents import State
from mmc4_pipeline.training.sequence import Sequence


class SequenceSource(Protocol):
    """Yields sequences, and can save and restore its position."""

    def __next__(self) -> Sequence:
        """Return the next sequence."""

    def state_dict(self) -> State:
        """Return the position."""

    def load_state_dict(self, state: State) -> None:
        """Continue from a position."""


class Sequences(Protocol):
    """A dataset of sequences: InterleavedDataset or MixedDataset."""

    def __iter__(self) -> SequenceSource:
        """Return an iterator over the sequences of this process in this epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the next epoch, from 0."""


@dataclass(frozen=True, slots=True)
class Pack:
    """Some sequences, one after the other.

    `tokens` are those of all sequences, `lengths` the number of tokens of each, for position ids and attention masks
    that keep the documents apart. `images` are those of all sequences, in the order of their marks.
    """

    keys: list[str]
    tokens: list[int]
    lengths: list[int]
    images: list[Any]


class PackedDataset(IterableDataset[Pack]):
    """Yields packs of whole sequences with at most `max_tokens` tokens.

    Sequences keep their order: a pack ends when the next sequence does not fit.
    Raises UserError during iteration if a sequence has no tokens, or alone has more than `max_tokens`.
    """

    def __init__(self, sequences: Sequences, max_tokens: int) -> None:
        self._sequences, self._max_tokens = sequences, max_tokens

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the next epoch, from 0."""
        self._sequences.set_epoch(epoch)

    def __iter__(self) -> "PackIterator":
        """Return an iterator over the packs of this process in this epoch."""
        return PackIterator(iter(self._sequences), self._max_tokens)


class PackIterator(Iterator[Pack]):
    """Yields packs. Its state is the position of the first sequence that has not been packed: it is made again."""

    def __init__(self, sequences: SequenceSource, max_tokens: int) -> None:
        self._sequences, self._max_tokens = sequences, max_tokens
        self._state = sequences.state_dict()
        self._waiting: Sequence | None = None

    def __next__(self) -> Pack:
        """Return the next pack."""
        chosen, free = [], self._max_tokens
        while (sequence := self._take()) is not None:
            length = self._length(sequence)
            if length > free:
                self._waiting = sequence
                break
            chosen.append(sequence)
            free -= length
        if not chosen:
            raise StopIteration
        return _packed(chosen)

    def _take(self) -> Sequence | None:
        if self._waiting is not None:
            sequence, self._waiting = self._waiting, None
            return sequence
        self._state = self._sequences.state_dict()
        return next(self._sequences, None)

    def _length(self, sequence: Sequence) -> int:
        if sequence.tokens is None:
            raise UserError("sequences without tokens cannot be packed: pass a tokenizer to Interleaver")
        if len(sequence.tokens) > self._max_tokens:
            raise UserError(
                f"{sequence.key}: has {len(sequence.tokens)} tokens, more than a pack of {self._max_tokens}; "
                f"use SequenceOptions(max_tokens={self._max_tokens})"
            )
        return len(sequence.tokens)

    def state_dict(self) -> State:
        """Return the position."""
        return self._state

    def load_state_dict(self, state: State) -> None:
        """Continue from a position. Raises UserError if it is of other data or settings."""
        self._sequences.load_state_dict(state)
        self._state, self._waiting = state, None


def _packed(sequences: Iterable[Sequence]) -> Pack:
    pack = Pack([], [], [], [])
    for sequence in sequences:
        tokens = sequence.tokens or []
        pack.keys.append(sequence.key)
        pack.tokens.extend(tokens)
        pack.lengths.append(len(tokens))
        pack.images.extend(sequence.images)
    return pack
