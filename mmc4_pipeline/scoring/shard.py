"""A shard as scorers see it: its documents, their stored images, and what other scorers have found."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mmc4_pipeline.scoring.picture import Picture
from schemas.image import Image
from schemas.page import Page
from schemas.score import DocumentScores, ImageScore, Values

Features = Mapping[tuple[str, int], npt.NDArray[np.floating]]  # by document and position, of length 1


class Place(NamedTuple):
    """The place of a stored image in the shard's tar. Several links may lead to the same stored image."""

    offset: int
    length: int


def place_of(image: Image) -> Place:
    """Return the place of a kept image."""
    return Place(image.offset or 0, image.length or 0)


class Document(NamedTuple):
    """A page, and its kept images, of which there is at least one."""

    page: Page
    images: list[Image]


@dataclass(frozen=True)
class Shard:
    """A shard to score. `documents` are those that have kept images, in the pages' order.

    `read` yields the pictures of all `places`, in their order. `path_of` returns the path of a file of the shard in the
    scorer's own folder, by its stem. `scores` and `features` return what another scorer found, by a name that
    `Scorer.reads` has: the scores by document, the features by document and position.
    """

    documents: Sequence[Document]
    read: Callable[[], Iterator[Picture]]
    path_of: Callable[[str], str]
    scores: Callable[[str], Mapping[str, DocumentScores]]
    features: Callable[[str], Features]

    @cached_property
    def places(self) -> list[Place]:
        """The places of the distinct stored images, in the order of the tar."""
        return places_of(self.documents)

    def pictures(self) -> Iterator[tuple[Place, Picture]]:
        """Yield each distinct stored image with its place. They are not kept in memory: read them once, in order."""
        return zip(self.places, self.read(), strict=True)

    def scores_of_images(self, values: Mapping[Place, Values]) -> list[DocumentScores]:
        """Return the scores of all images, given the values of each stored image; those without any are null."""
        return [
            DocumentScores(page.key, [ImageScore(image.position, values.get(place_of(image), {})) for image in images])
            for page, images in self.documents
        ]


def documents_of(pages: Sequence[Page], images: Sequence[Image]) -> list[Document]:
    """Return the documents that have images which the images stage kept, in the pages' order."""
    by_key: dict[str, list[Image]] = {}
    for image in images:
        if image.reason is None:
            by_key.setdefault(image.key, []).append(image)
    return [Document(page, by_key[page.key]) for page in pages if page.key in by_key]


def places_of(documents: Sequence[Document]) -> list[Place]:
    """Return the places of the documents' distinct stored images, in the order of the tar."""
    return sorted({place_of(image) for document in documents for image in document.images})
