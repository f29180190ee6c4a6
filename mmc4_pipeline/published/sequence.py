"""Documents as sequences of texts and images: two lists of equal length, of which one has a value at each place.

An image belongs to the sentence that follows it, the last one to the last sentence: that is the publisher's assignment.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from mmc4_pipeline.pages.sentences import sentences_of
from mmc4_pipeline.published.layout import UNKNOWN, InvalidRowError, PublishedDocument, PublishedImage


@dataclass(frozen=True, slots=True)
class About:
    """What a dataset says about an image besides its URL."""

    alt: str = ""
    width: int | None = None
    height: int | None = None
    similarity: float | None = None


NOTHING = About()


def document_of_sequence(
    url: str,
    images: Sequence[Any],
    texts: Sequence[Any],
    about: Sequence[About] | None = None,
    crawled: datetime = UNKNOWN,
) -> PublishedDocument:
    """Return the document; raises InvalidRowError if the lists do not fit together. A place may have neither."""
    if len(images) != len(texts) or (about is not None and len(about) != len(images)):
        more = "" if about is None else f", {len(about)} entries of metadata"
        raise InvalidRowError(f"{len(images)} images, {len(texts)} texts{more}: the numbers differ")
    sentences, lines, found = list[str](), list[str](), list[PublishedImage]()
    for place, (image, text) in enumerate(zip(images, texts, strict=True)):
        if not isinstance(image, str | None) or not isinstance(text, str | None):
            raise InvalidRowError(f"place {place}: not a text")
        if text is not None and image is not None:
            raise InvalidRowError(f"place {place} has an image and a text")
        if text is not None:
            lines.append(text)
            sentences += sentences_of(text)
        elif image is not None:
            known, before = about[place] if about else NOTHING, len(sentences)
            found.append(
                PublishedImage(image, known.alt, known.width, known.height, before - 1, before, known.similarity)
            )
    last = len(sentences) - 1 if sentences else None
    assigned = [replace(image, sentence=last) if image.sentence == len(sentences) else image for image in found]
    return PublishedDocument(url, "\n".join(lines), sentences, assigned, crawled)
