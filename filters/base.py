"""The kinds of filters. A filter's kind decides what it sees, and so in which stage it runs.

To write a filter, put a frozen dataclass of its thresholds into a module of its own and derive it from one of the kinds
below. The name of the module is the filter's key in a recipe. `decide` returns the reason to drop something, or None to
keep it; it must be a pure function of its arguments and the thresholds, and must neither measure nor fetch anything.

| kind | sees | stage |
|---|---|---|
| `TextFilter` | a document's text | pages |
| `LinkFilter` | an image link, before the image is fetched | pages |
| `PageFilter` | what a page declares about the use of its content | pages |
| `ImageFilter` | the response to one image request, and what was measured on the image | images |
| `DeclarationFilter` | what an image's server declares about its use | images |
| `ContentFilter` | hashes of the bytes and the picture of one image | images |
| `GroupFilter` | all images of a document | images |
| `SampleFilter`, `CopiesFilter` | one image, and what was learned from the images of the whole corpus | images |
| `ScoreFilter` | the scores of one image | cut |
| `DocumentFilter` | a document with its assigned images | cut |

A filter that reads a file (a list of words, hosts, rules or hashes) is a `FileTextFilter`, `FileLinkFilter` or
`FileContentFilter`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

from schemas.image import Image
from schemas.page import ImageLink
from schemas.reasons import Stage
from schemas.score import ImageScore


class Stricter(Enum):
    """The direction in which a threshold becomes stricter. A later recipe may only move it that way."""

    HIGHER = "higher"
    LOWER = "lower"
    SUBSET = "fewer entries"
    SUPERSET = "more entries"
    SAME = "the same value"  # the threshold is fixed, but the filter may be added later

    def allows(self, before: Any, after: Any) -> bool:
        """Return whether a threshold of `after` drops everything that `before` drops."""
        match self:
            case Stricter.HIGHER:
                return bool(after >= before)
            case Stricter.LOWER:
                return bool(after <= before)
            case Stricter.SUBSET:
                return set(after) <= set(before)
            case Stricter.SUPERSET:
                return set(after) >= set(before)
            case Stricter.SAME:
                return bool(after == before)


class Filter(ABC):
    """A frozen dataclass of thresholds; derive from one of the kinds below instead.

    `stage` is the stage in which it decides.
    `reason` is why it drops something. The default is the filter's key; a filter that drops for several reasons may
    return others. Ledger, funnel and report show whatever string it returns.
    `stricter` names for each threshold the direction in which it drops more. A threshold without an entry can't be
    changed after its stage has run, and a filter without any entry can't be added after that, except if all that it
    needs are places.
    `needs_places` is whether it decides by where images are in the text of their pages.
    """

    stage: ClassVar[Stage]
    reason: ClassVar[str]
    stricter: ClassVar[Mapping[str, Stricter]] = {}
    needs_places: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        """Set the default reason."""
        super().__init_subclass__()
        if "reason" not in vars(cls):
            cls.reason = cls.__module__.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class DocumentText:
    """A document's text, with one line for each paragraph, and its sentences."""

    text: str
    sentences: list[str]


class TextFilter(Filter):
    """Decides on a document by its text, before any image is fetched.

    Later stages have the sentences but no longer the text, so no threshold of a text filter can be changed afterwards.
    """

    stage = Stage.PAGES

    @abstractmethod
    def decide(self, document: DocumentText, /) -> str | None:
        """Return the reason to drop the document, or None."""


class LinkFilter(Filter):
    """Decides on an image link, before the image is fetched.

    `needs` names a key of the recipe's `links` that must be true.
    """

    stage = Stage.PAGES
    needs: ClassVar[str | None] = None

    @abstractmethod
    def decide(self, link: ImageLink, page_url: str = "", /) -> str | None:
        """Return the reason to drop this link of the page, or None."""


class PageFilter(Filter):
    """Decides on all image links of a page, by what the page declares (`schemas/declarations.py`).

    Declarations are collected only for filters of the recipe with which pages are read, so no filter can be added
    afterwards.
    """

    stage = Stage.PAGES

    def decide(self, declarations: Sequence[str], /) -> str | None:
        """Return the reason to drop the page's links, or None."""
        return None if self.refusal(declarations) is None else self.reason

    @abstractmethod
    def refusal(self, declarations: Sequence[str], /) -> str | None:
        """Return the declaration that forbids using the page's images, or None."""


class FileTextFilter(Filter):
    """A text filter as a recipe describes it: it names a file, and can't decide before the file is loaded."""

    stage = Stage.PAGES

    @abstractmethod
    def load(self, read: Callable[[str], bytes], /) -> TextFilter:
        """Return the filter that decides. `read` returns the content of a path or URL.

        Raises ValueError if the content can't be used. Each worker process loads the file once.
        """


class FileLinkFilter(Filter):
    """A link filter as a recipe describes it: it names a file, and can't decide before the file is loaded."""

    stage = Stage.PAGES
    needs: ClassVar[str | None] = None

    @abstractmethod
    def load(self, read: Callable[[str], bytes], /) -> LinkFilter:
        """Return the filter that decides, as in `FileTextFilter`."""


class ImageFilter(Filter):
    """Decides on one image, by the server's response and by what was measured on the image.

    It also runs on the response's headers alone, with all measurements null: keep an image if you can't tell.
    """

    stage = Stage.IMAGES

    @abstractmethod
    def decide(self, image: Image, /) -> str | None:
        """Return the reason to drop the image, or None."""


class DeclarationFilter(ImageFilter):
    """Decides on one image by what its server declares (`schemas/declarations.py`).

    It is also asked before the image is requested, with what files of the host declare. `host_file` is the path of a
    file that is requested from each host for this filter; robots.txt is requested anyway.
    """

    host_file: ClassVar[str | None] = None

    def decide(self, image: Image, /) -> str | None:
        """Return the reason to drop the image, or None."""
        return None if self.refusal(self.declarations_of(image)) is None else self.reason

    def declarations_of(self, image: Image, /) -> list[str]:
        """Return the declarations to decide by."""
        return image.declarations.split("\n") if image.declarations else []

    @abstractmethod
    def refusal(self, declarations: Sequence[str], /) -> str | None:
        """Return the declaration that forbids using the image, or None."""


@dataclass(frozen=True, slots=True)
class ContentHashes:
    """Hashes of an image: of its bytes as received, and of its picture, None if it could not be decoded.

    `pdq` is also None if no filter needs it.
    """

    md5: int
    sha1: int
    sha256: int
    phash: int | None = None
    pdq: int | None = None


class FileContentFilter(Filter):
    """A content filter as a recipe describes it: it names a file, and can't decide before the file is loaded."""

    stage = Stage.IMAGES

    @abstractmethod
    def load(self, read: Callable[[str], bytes], /) -> "ContentFilter":
        """Return the filter that decides, as in `FileTextFilter`."""


class ContentFilter(Filter):
    """Decides on one image by hashes of its content, before anything of it is stored.

    Nothing else is recorded of an image that it drops, and no threshold can be changed afterwards.
    """

    stage = Stage.IMAGES

    @property
    def needs_pdq(self) -> bool:
        """Return whether it decides by PDQ hashes, which are computed only then."""
        return False

    @abstractmethod
    def decide(self, hashes: ContentHashes, /) -> str | None:
        """Return the reason to drop the image, or None."""


class GroupFilter(Filter):
    """Decides on the images of one document together."""

    stage = Stage.IMAGES

    @abstractmethod
    def decide(self, images: Sequence[Image], /) -> Sequence[str | None]:
        """Return for each image, in page order, the reason to drop it, or None."""


class CorpusFilter(Filter):
    """Decides on an image by what was learned from the whole corpus: sorted perceptual hashes.

    Derive from `SampleFilter` or `CopiesFilter`, which say what is learned.
    """

    stage = Stage.IMAGES

    @abstractmethod
    def decide(self, image: Image, learned: Sequence[int], /) -> str | None:
        """Return the reason to drop the image, or None."""


class SampleFilter(CorpusFilter):
    """A corpus filter that learns from a sample of the images."""

    sample: int  # number of images to learn from

    @abstractmethod
    def learn(self, phashes: Sequence[int], /) -> list[int]:
        """Return the sorted perceptual hashes to drop everywhere, given those of the sample."""


class CopiesFilter(CorpusFilter):
    """A corpus filter that learns from all images: every hash with more than `max_copies` images near it."""

    max_copies: int
    max_distance: int  # two images are copies if their hashes differ in at most this many bits


class ScoreFilter(Filter):
    """Decides on one image by its scores.

    `column` names the column of the scores that it decides by (`schemas/columns.py`): it is a constant of the class, or
    a threshold that the recipe sets. `ImageScore.number` has its value.
    """

    stage = Stage.CUT
    column: str

    @abstractmethod
    def decide(self, score: ImageScore, /) -> str | None:
        """Return the reason to drop the image, or None."""


@dataclass(frozen=True, slots=True)
class AssignedDocument:
    """A document after the assignment: its numbers of sentences and words, and the similarity of each assigned image.

    `after_sentences` has the place of each assigned image in the text, as `after_sentence` in `ImageLink`.
    """

    sentences: int
    matched: list[float]
    words: int = 0
    after_sentences: Sequence[int | None] = ()


class DocumentFilter(Filter):
    """Decides on a document with its assigned images."""

    stage = Stage.CUT

    @abstractmethod
    def decide(self, document: AssignedDocument, /) -> str | None:
        """Return the reason to drop the document with all its images, or None."""
