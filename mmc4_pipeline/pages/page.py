"""Make page records: a document's sentences and the links of its page, each link with the filters' decision."""

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType

from filters.base import DocumentText, Filter, LinkFilter, PageFilter, TextFilter
from mmc4_pipeline.apply_filters import apply_link_filters, first_drop
from mmc4_pipeline.pages.content import PageContent, rejected
from mmc4_pipeline.pages.sentences import sentences_of
from schemas.document import RejectedDocument
from schemas.page import Page
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
    if sentences is None:
        sentences = sentences_of(text)
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
        links=apply_link_filters(found.links, filters, location.url, found.declarations),
        declarations=found.declarations,
    )
