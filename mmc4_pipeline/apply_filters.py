"""Applies a recipe's filters in the recipe's order: the first one that drops something decides on its reason."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from filters.base import (
    CorpusFilter,
    DocumentFilter,
    FileContentFilter,
    FileTextFilter,
    Filter,
    GroupFilter,
    ImageFilter,
    LinkFilter,
    PageFilter,
    ScoreFilter,
    TextFilter,
)
from schemas.image import Image
from schemas.page import ImageLink
from schemas.reasons import Drop
from schemas.score import ImageScore


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image link with what is known about it so far. A filter skips a candidate that lacks what it decides by."""

    image: Image | None = None
    link: ImageLink | None = None
    score: ImageScore | None = None
    page_url: str = ""
    page_declares: Sequence[str] = ()

    @property
    def dropped(self) -> Drop | None:
        """The drop that the image was read with, None if there was none."""
        return Drop(self.image.reason, self.image.filter) if self.image and self.image.reason else None


Learned = Mapping[str, Sequence[int]]  # what each corpus filter learned from its sample, by its key in the recipe


def apply_filters(
    candidates: Sequence[Candidate], filters: Mapping[str, Filter], learned: Learned
) -> list[Drop | None]:
    """Return for each candidate of a document, in page order, what dropped it, or None.

    A filter sees only what the filters before it kept, so that two duplicates are never both dropped.
    Text filters run before any link is looked at, content filters when an image is received, and document filters after
    the assignment, so these are skipped here.
    """
    drops = [candidate.dropped for candidate in candidates]
    for key, item in filters.items():
        remaining = [index for index, drop in enumerate(drops) if drop is None]
        reasons = _decide(item, [candidates[index] for index in remaining], learned.get(key, ()))
        for index, reason in zip(remaining, reasons, strict=True):
            drops[index] = None if reason is None else Drop(reason, key)
    return drops


def apply_link_filters(
    links: Sequence[ImageLink],
    filters: Mapping[str, LinkFilter | PageFilter],
    page_url: str,
    page_declares: Sequence[str] = (),
) -> list[ImageLink]:
    """Return the links of a page, each with the reason and the filter that dropped it, if any did."""
    remaining = [link for link in links if link.reason is None]  # others were dropped while the page was read
    candidates = [Candidate(link=link, page_url=page_url, page_declares=page_declares) for link in remaining]
    drops = iter(apply_filters(candidates, filters, {}))
    return [
        msgspec.structs.replace(link, reason=drop.reason, filter=drop.filter)
        if link.reason is None and (drop := next(drops))
        else link
        for link in links
    ]


def first_drop(decisions: Iterable[tuple[str, str | None]]) -> Drop | None:
    """Return the first drop among decisions on a whole document: pairs of a filter's key and its reason or None."""
    return next((Drop(reason, key) for key, reason in decisions if reason is not None), None)


def _decide(item: Filter, candidates: Sequence[Candidate], learned: Sequence[int]) -> Sequence[str | None]:
    match item:
        case LinkFilter() | PageFilter():
            return _decide_links(item, candidates)
        case ImageFilter():
            return [item.decide(each.image) if each.image else None for each in candidates]
        case GroupFilter():
            return _decide_group(item, candidates)
        case CorpusFilter():
            return [item.decide(each.image, learned) if each.image else None for each in candidates]
        case ScoreFilter():
            return [item.decide(each.score) if each.score else None for each in candidates]
        case TextFilter() | FileTextFilter() | FileContentFilter() | DocumentFilter():
            return [None] * len(candidates)
    raise TypeError(f"{type(item).__name__} is not loaded, or not of a kind in filters/base.py")


def _decide_links(item: LinkFilter | PageFilter, candidates: Sequence[Candidate]) -> Sequence[str | None]:
    if isinstance(item, LinkFilter):
        return [item.decide(each.link, each.page_url) if each.link else None for each in candidates]
    return [item.decide(candidates[0].page_declares)] * len(candidates) if candidates else []  # all are of one page


def _decide_group(item: GroupFilter, candidates: Sequence[Candidate]) -> list[str | None]:
    reasons = iter(item.decide([each.image for each in candidates if each.image]))
    return [next(reasons) if each.image else None for each in candidates]
