"""The order of texts and images, and the same sequence without some of its images."""

from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.sequence import images_of, in_order, joined, texts_of, without_images


@st.composite
def documents(draw: st.DrawFn) -> tuple[list[str], list[int]]:
    sentences = draw(st.lists(st.text(max_size=3), max_size=6))
    return sentences, sorted(draw(st.lists(st.integers(0, len(sentences)), max_size=6)))


@given(documents())
def test_each_image_has_its_number_of_sentences_before_it(document: tuple[list[str], list[int]]) -> None:
    sentences, before = document
    parts = list(in_order(sentences, before))
    assert [part for part in parts if isinstance(part, str)] == sentences
    assert [part for part in parts if isinstance(part, int)] == list(range(len(before)))
    for number, count in enumerate(before):
        at = parts.index(number)
        assert sum(isinstance(part, str) for part in parts[:at]) == count


@given(documents(), st.data())
def test_without_some_images_it_is_as_if_they_had_never_been_there(
    document: tuple[list[str], list[int]], data: st.DataObject
) -> None:
    sentences, before = document
    chosen = data.draw(st.lists(st.booleans(), min_size=len(before), max_size=len(before)))
    parts = joined(in_order(sentences, before))
    remaining = [number for number, keep in enumerate(chosen) if keep]
    left = without_images(texts_of(parts), chosen)
    never = joined(in_order(sentences, [before[number] for number in remaining]))
    assert texts_of(left) == texts_of(never)
    assert images_of(left, range(len(before))) == images_of(never, remaining)
