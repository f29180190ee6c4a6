"""Which of the dataset's shards each document belongs to: in order, full, without a gap, and known beforehand."""

from itertools import groupby, pairwise

from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.dataset.shard_numbers import Place, expected_bytes, kept_size, numbered, places
from schemas.reasons import Reason
from tests.mmc4_pipeline.cut_documents import document

a_document = st.tuples(st.lists(st.integers(0, 50_000), min_size=1, max_size=5), st.booleans())
image_shards = st.lists(st.lists(a_document, max_size=6), max_size=8)


@given(image_shards, st.integers(1, 300_000))
def test_all_shards_but_the_last_are_full_and_end_with_the_document_that_fills_them(
    made: list[list[tuple[list[int], bool]]], shard_bytes: int
) -> None:
    shards = [
        [
            document(number, *lengths, reason=None if kept else Reason.DOCUMENT)
            for number, (lengths, kept) in enumerate(of)
        ]
        for of in made
    ]
    found, begun, total = number_all(shards, shard_bytes)
    assert [item for _, item in found] == [item for of in shards for item in of if item.reason is None]
    files = [[item for _, item in group] for _, group in groupby(found, key=lambda pair: pair[0])]
    assert sorted({number for number, _ in found}) == list(range(total)) == sorted(begun)  # each begun in one place
    counted = 0  # a document that is larger than a shard counts as one full shard
    for number, file in enumerate(files):
        sizes = [min(expected_bytes(item), shard_bytes) for item in file]
        assert sum(sizes[:-1]) < shard_bytes  # so that it is larger than asked by one document at most
        counted += sum(sizes)
        assert number == total - 1 or counted >= (number + 1) * shard_bytes


def number_all(
    shards: list[list[CutDocument]], shard_bytes: int
) -> tuple[list[tuple[int, CutDocument]], list[int], int]:
    """Return the kept documents with their numbers, the numbers that begin in each image shard, and the last + 1."""
    *found, end = places([kept_size(of, shard_bytes) for of in shards], shard_bytes)
    each = [list(numbered(of, place.start, shard_bytes)) for of, place in zip(shards, found, strict=True)]
    begun = [
        sorted({number for number, _ in own if number >= place.first}) for own, place in zip(each, found, strict=True)
    ]
    return [pair for own in each for pair in own], [number for numbers in begun for number in numbers], end.first


@given(image_shards, st.integers(1, 300_000), st.data())
def test_how_documents_lie_in_image_shards_does_not_matter(
    made: list[list[tuple[list[int], bool]]], shard_bytes: int, data: st.DataObject
) -> None:
    documents = [
        document(number, *lengths, reason=None if kept else Reason.DOCUMENT)
        for number, (lengths, kept) in enumerate(item for of in made for item in of)
    ]
    cuts = data.draw(st.lists(st.integers(0, len(documents)), max_size=5).map(sorted))
    divided = [documents[start:end] for start, end in pairwise([0, *cuts, len(documents)])]
    assert number_all(divided, shard_bytes)[0::2] == number_all([documents], shard_bytes)[0::2]


def test_without_documents_there_are_no_shards() -> None:
    assert list(places([], 1000)) == [Place(0, 0)]
    assert list(places([kept_size([], 1000)], 1000)) == [Place(0, 0), Place(0, 0)]
