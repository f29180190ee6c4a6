"""A reader that is stopped in an epoch goes on with the next sequence, alone, packed, mixed, and in workers."""

import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmc4_pipeline import storage
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.training import (
    InterleavedDataset,
    Interleaver,
    MixedDataset,
    Pack,
    PackedDataset,
    SequenceOptions,
    ShardedDocuments,
)
from tests.mmc4_pipeline.planted_dataset import write_dataset

TOKENS = 24


class Words:
    """A tokenizer of which each word or mark is a token."""

    def __call__(self, text: str) -> list[int]:
        """Return the length of each word."""
        return [len(word) for word in text.replace("<", " <").replace(">", "> ").split()]


def sequences(path: str, seed: int | None = 1, buffer: int = 6) -> InterleavedDataset:
    documents = ShardedDocuments(path, seed=seed, shuffle_buffer=buffer)
    return InterleavedDataset(documents, Interleaver(SequenceOptions(max_tokens=TOKENS), tokenizer=Words()))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Write a large and a small dataset, and return their folders."""
    folder = tmp_path_factory.mktemp("two")
    return [
        write_dataset(folder / name, shards=shards, documents=documents).path
        for name, shards, documents in (("large", 3, 20), ("small", 2, 9))
    ]


KINDS: dict[str, Callable[[list[str]], Any]] = {
    "in order": lambda two: sequences(two[0], seed=None),
    "shuffled": lambda two: sequences(two[0]),
    "packed": lambda two: PackedDataset(sequences(two[0]), 3 * TOKENS),
    "mixed": lambda two: MixedDataset([sequences(path) for path in two], [0.7, 0.3], seed=5),
    "mixed and packed": lambda two: PackedDataset(MixedDataset([sequences(path) for path in two], [2, 1]), 100),
}


def names(items: Any) -> list[Any]:
    return [item.keys if isinstance(item, Pack) else item.key for item in items]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(at=st.integers(0, 20), epoch=st.integers(0, 2))
def test_it_continues_with_the_next_sequence(two: list[str], kind: str, at: int, epoch: int) -> None:
    dataset = KINDS[kind](two)
    dataset.set_epoch(epoch)
    whole = names(dataset)
    reader = iter(dataset)
    begun = names(islice(reader, at))
    state = json.loads(json.dumps(reader.state_dict()))
    another = KINDS[kind](two)
    resumed = iter(another)
    resumed.load_state_dict(state)
    assert begun + names(resumed) == whole
    assert names(reader) == whole[at:]  # saving changed nothing
    assert len(whole) > 2


def test_a_resumed_reader_reads_no_shard_that_is_behind_it(two: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    reader = iter(sequences(two[0], seed=None))
    shards = sorted(str(path) for path in Path(two[0]).glob("shard-*.tar"))
    while shards[1] != reader._documents._shares[reader._documents._next.shard][0]:  # noqa: SLF001
        next(reader)
    state, opened = reader.state_dict(), []
    open_read = storage.open_read
    monkeypatch.setattr(storage, "open_read", lambda path: opened.append(path) or open_read(path))
    resumed = iter(sequences(two[0], seed=None))
    resumed.load_state_dict(state)
    assert names(resumed)
    assert set(opened) == set(shards[1:])


def changed(two: list[str]) -> Iterator[Any]:
    yield sequences(two[0], seed=2)
    yield sequences(two[0], buffer=7)
    yield sequences(two[1])


def test_a_position_of_other_data_or_settings_is_refused(two: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    state = iter(sequences(two[0])).state_dict()
    for other, name in zip(changed(two), ("seed", "shuffle_buffer", "content"), strict=True):
        with pytest.raises(UserError, match=name):
            iter(other).load_state_dict(state)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="processes"):
        iter(sequences(two[0])).load_state_dict(state)
    mixed = iter(MixedDataset([sequences(two[0])], [1])).state_dict()
    with pytest.raises(UserError, match="weights"):
        iter(MixedDataset([sequences(two[0])], [2])).load_state_dict(mixed)


def test_packs_hold_every_sequence_within_the_budget(two: list[str]) -> None:
    plain = list(sequences(two[0]))
    packs = list(PackedDataset(sequences(two[0]), 3 * TOKENS))
    assert [key for pack in packs for key in pack.keys] == [item.key for item in plain]
    assert [token for pack in packs for token in pack.tokens] == [
        token for item in plain for token in item.tokens or []
    ]
    assert all(sum(pack.lengths) == len(pack.tokens) <= 3 * TOKENS for pack in packs)
    assert sum(len(pack.images) for pack in packs) == sum(len(item.images) for item in plain)
    assert len(packs) < len(plain)


def test_a_sequence_longer_than_a_pack_is_refused(two: list[str]) -> None:
    with pytest.raises(UserError, match="max_tokens=5"):
        list(PackedDataset(sequences(two[0]), 5))
    without = InterleavedDataset(ShardedDocuments(two[0]), Interleaver())
    with pytest.raises(UserError, match="tokenizer"):
        list(PackedDataset(without, 5))


def test_a_mixture_has_the_weights_and_ends_with_the_first_dataset_that_ends(two: list[str]) -> None:
    large, small = (set(names(sequences(path))) for path in two)
    mixed = names(MixedDataset([sequences(path) for path in two], [1, 1], seed=3))
    assert set(mixed) <= large | small
    assert small <= set(mixed) or large <= set(mixed)
    heavy = names(MixedDataset([sequences(path) for path in two], [1000, 1], seed=3))
    assert len(large & set(heavy)) > len(small & set(heavy))
    for weights in ([1], [1, 0], [1, -1]):
        with pytest.raises(UserError):
            MixedDataset([sequences(path) for path in two], weights)
