"""The order of a document's texts and images, from which every sequence format and the training reader are made.

A part of a sequence is a text (str) or an image (int: its number among the document's images, in their order).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from mmc4_pipeline.cut_document import CutDocument

Part = str | int
Item = TypeVar("Item")
FOLLOWS = "follows_sentence"  # the field of MMC4's image_info for an image that stands after its sentence


def in_order(sentences: Sequence[str], before: Sequence[int]) -> Iterator[Part]:
    """Yield the sentences of a document with its images between them.

    `before` says for each image how many sentences stand before it (0 to their number), in ascending order.
    """
    images = iter(enumerate(before))
    image = next(images, None)
    for number, sentence in enumerate(sentences):
        while image is not None and image[1] <= number:
            yield image[0]
            image = next(images, None)
        yield sentence
    if image is not None:
        yield image[0]
    yield from (number for number, _ in images)


def joined(parts: Iterable[Part]) -> list[Part]:
    """Return a sequence in which texts without an image between them are one text, joined by spaces."""
    found: list[Part] = []
    for part in parts:
        if isinstance(part, str) and found and isinstance(found[-1], str):
            found[-1] += f" {part}"
        else:
            found.append(part)
    return found


def sequence_of(document: CutDocument) -> list[Part]:
    """Return the sequence of a document, in which an image's number is that in `placed`."""
    return joined(in_order(document.page.sentences, [item.before for item in document.placed]))


def place_of(info: Mapping[str, Any]) -> int:
    """Return how many sentences stand before an image in MMC4's form (an entry of `image_info`)."""
    return int(info["matched_text_index"]) + bool(info.get(FOLLOWS))


def split(texts: Iterable[str | None], lengths: Iterable[int]) -> list[Part]:
    """Return the sentences of some texts (None for each image) and the images' numbers, in order.

    `lengths` has the characters of each sentence. Raises ValueError if the texts do not consist of such sentences.
    """
    remaining = iter(lengths)
    parts: list[Part] = []
    images = 0
    for text in texts:
        if text is None:
            parts.append(images)
            images += 1
            continue
        end = -1
        while end < len(text):
            start, end = end + 1, end + 1 + next(remaining, len(text) + 1)
            parts.append(text[start:end])
        if end != len(text):
            raise ValueError("the sentences are longer or shorter than the texts")
    if next(remaining, None) is not None:
        raise ValueError("there are more sentences than texts have")
    return parts


def texts_of(parts: Iterable[Part]) -> list[str | None]:
    """Return the texts of a sequence, with None in place of each image."""
    return [part if isinstance(part, str) else None for part in parts]


def images_of(parts: Iterable[Part], items: Sequence[Item]) -> list[Item | None]:
    """Return one item for each image of a sequence, with None in place of each text."""
    return [None if isinstance(part, str) else items[part] for part in parts]


def without_images(texts: Iterable[str | None], chosen: Sequence[bool]) -> list[Part]:
    """Return the sequence of some texts (None for each image) with only the chosen images.

    The images keep their numbers. Texts before and after an image that is left out become one.
    """
    number = 0
    parts: list[Part] = []
    for text in texts:
        parts.append(number if text is None else text)
        number += text is None
    return joined(part for part in parts if isinstance(part, str) or chosen[part])
