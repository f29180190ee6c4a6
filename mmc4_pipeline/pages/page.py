"""Make page records: a document's sentences and the links of its page, each link with the filters' decision."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType

import msgspec

from filters.base import DocumentText, Filter, LinkFilter, PageFilter, TextFilter
from mmc4_pipeline.apply_filters import apply_link_filters, first_drop
from mmc4_pipeline.pages.content import PageContent, rejected
from mmc4_pipeline.pages.places import places_of
from mmc4_pipeline.pages.sentences import sentences_by_line
from schemas.document import RejectedDocument
from schemas.page import ImageLink, Page
from schemas.reasons import Reason


def make_page(
    found: PageContent,
    text: str,
    filters: Mapping[str, LinkFilter | PageFilter],
    text_filters: Mapping[str, TextFilter] = MappingProxyType({}),
    recipe_filters: Mapping[str, Filter] | None = None,
    sentences: list[str] | None = None,
) -> Page | RejectedDocument:
    """Make the record of a document, or drop it if it has no sentence or a text filter rejects it.

    `recipe_filters` are the filters as in the recipe, whose settings are reported; by default `text_filters` are.
    `sentences` are those of the text, if they are known already.
    """
    location = found.location
    lines = sentences_by_line(text) if sentences is None else [[sentence] for sentence in sentences]
    sentences = [sentence for line in lines for sentence in line]
    if not sentences:
        return rejected(location, Reason.NO_TEXT, "the document's text has no sentence")
    document = DocumentText(text, sentences)
    drop = first_drop((key, item.decide(document)) for key, item in text_filters.items())
    if drop is not None and drop.filter is not None:
        settings = asdict((recipe_filters or text_filters)[drop.filter])  # type: ignore[call-overload] # a dataclass
        thresholds = ", ".join(f"{name}: {value}" for name, value in settings.items())
        return rejected(location, drop, f"filters.{drop.filter} {thresholds}".strip())
    return Page(
        key=location.key,
        url=location.url,
        site=location.site,
        timestamp=location.fetch_time,
        could_have_url_duplicate=location.could_have_url_duplicate,
        sentences=sentences,
        links=apply_link_filters(_placed(found, lines), filters, location.url, found.declarations),
        declarations=found.declarations,
    )


def _placed(found: PageContent, lines: Sequence[Sequence[str]]) -> list[ImageLink]:
    """Return the links with their places among the sentences, if the page's text is known."""
    if found.around is None:
        return found.links
    return [
        msgspec.structs.replace(link, after_sentence=place.after_sentence, inside_text=place.inside_text)
        for link, place in zip(found.links, places_of(lines, found.around, len(found.links)), strict=True)
    ]
