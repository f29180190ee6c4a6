"""The kinds of filters, by what they look at, and so by the stage in which they decide."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Self

from schemas.image import Image
from schemas.page import ImageLink
from schemas.reasons import Stage
from schemas.score import ImageScore


class Stricter(Enum):
    """In which direction a threshold drops more; what a later recipe may change without fetching again."""

    HIGHER = "higher"
    LOWER = "lower"
    SUBSET = "fewer entries"
    SUPERSET = "more entries"
    SAME = "the same value"  # the threshold is fixed, but the filter may be added later

    def allows(self, scored: object, wanted: object) -> bool:
        """Tell whether a threshold of `wanted` keeps nothing that `scored` had dropped."""
        match self:
            case Stricter.HIGHER:
                return wanted >= scored  # type: ignore[operator, no-any-return]
            case Stricter.LOWER:
                return wanted <= scored  # type: ignore[operator, no-any-return]
            case Stricter.SUBSET:
                return set(wanted) <= set(scored)  # type: ignore[call-overload, no-any-return]
            case Stricter.SUPERSET:
                return set(wanted) >= set(scored)  # type: ignore[call-overload, no-any-return]
            case Stricter.SAME:
                return wanted == scored


class Filter(ABC):
    """A frozen dataclass of thresholds. `stage` is where it decides.

    `reason` is why it drops something; the default is its key in a recipe, which is the name of its module. A filter
    that drops for several reasons may return others.
    `stricter` names for each threshold the direction in which it drops more. A threshold without an entry can't be
    changed after its stage has run.
    """

    stage: ClassVar[Stage]
    reason: ClassVar[str]
    stricter: ClassVar[Mapping[str, Stricter]] = {}

    def __init_subclass__(cls) -> None:
        """Set the default reason."""
        super().__init_subclass__()
        if "reason" not in vars(cls):
            cls.reason = cls.__module__.rpartition(".")[2]

    def prepared(self, read: Callable[[str], bytes]) -> Self:
        """Give the filter ready to decide: one of texts or links that names a file gets its content here, by `read`.

        Raises ValueError where the content can't be used.
        """
        return self


@dataclass(frozen=True, slots=True)
class DocumentText:
    """A document's text, a line for each paragraph, and its sentences: what a TextFilter sees."""

    text: str
    sentences: list[str]


class TextFilter(Filter):
    """Decides on a document by its text, before anything is fetched.

    Later stages have the sentences but no longer the text: no threshold of such a filter can be changed afterwards.
    """

    stage = Stage.PAGES

    @abstractmethod
    def decide(self, document: DocumentText) -> str | None:
        """Give the reason to drop the document, or None."""


class LinkFilter(Filter):
    """Decides on an image link, before anything is fetched. `needs` names the key of `links` that must be on."""

    stage = Stage.PAGES
    needs: ClassVar[str | None] = None

    @abstractmethod
    def decide(self, link: ImageLink, page_url: str = "") -> str | None:
        """Give the reason to drop the link that stands on that page, or None."""


class ImageFilter(Filter):
    """Decides on one image by what the server said and what was measured on it."""

    stage = Stage.IMAGES

    @abstractmethod
    def decide(self, image: Image) -> str | None:
        """Give the reason to drop the image, or None; a value that was not measured drops nothing."""


class GroupFilter(Filter):
    """Decides on the images of one document together, in page order."""

    stage = Stage.IMAGES

    @abstractmethod
    def decide(self, images: Sequence[Image]) -> list[str | None]:
        """Give for each image the reason to drop it, or None."""


class CorpusFilter(Filter):
    """Decides on an image by what was learned from the whole corpus: perceptual hashes, sorted."""

    stage = Stage.IMAGES

    @abstractmethod
    def decide(self, image: Image, learned: Sequence[int]) -> str | None:
        """Give the reason to drop the image, or None."""


class SampleFilter(CorpusFilter):
    """A corpus filter that learns from a sample of the images."""

    sample: int  # images to learn from

    @abstractmethod
    def learn(self, phashes: Sequence[int]) -> list[int]:
        """Give the perceptual hashes to drop everywhere, from those of the sample."""


class CopiesFilter(CorpusFilter):
    """A corpus filter that learns from all images: every hash with more than `max_copies` images near it."""

    max_copies: int
    max_distance: int  # bits of pHash: what counts as a copy


class ScoreFilter(Filter):
    """Decides on one image by its scores. `needs` names the score that must have been computed, if any."""

    stage = Stage.CUT
    needs: ClassVar[str | None] = None

    @abstractmethod
    def decide(self, score: ImageScore) -> str | None:
        """Give the reason to drop the image, or None."""


@dataclass(frozen=True, slots=True)
class AssignedDocument:
    """A document after the assignment: what a DocumentFilter sees. `matched` are the assigned images' similarities."""

    sentences: int
    matched: list[float]


class DocumentFilter(Filter):
    """Decides on a document with its assigned images."""

    stage = Stage.CUT

    @abstractmethod
    def decide(self, document: AssignedDocument) -> str | None:
        """Give the reason to drop the document with all its images, or None."""
