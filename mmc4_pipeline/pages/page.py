"""Makes page records: a document's sentences beside the links of its page, each link with the filters' verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType

import msgspec

from filters.base import DocumentText, LinkFilter, TextFilter
from mmc4_pipeline.pages.content import PageContent, rejected
from mmc4_pipeline.pages.sentences import sentences_of
from schemas.document import RejectedDocument
from schemas.page import ImageLink, Page
from schemas.reasons import Reason


def judge_link(link: ImageLink, filters: Sequence[LinkFilter], page_url: str = "") -> ImageLink:
    """Give the link with the first filter's reason to drop it, or with none."""
    reason = next((reason for item in filters if (reason := item.decide(link, page_url))), None)
    return msgspec.structs.replace(link, reason=reason)


def make_page(
    found: PageContent,
    text: str,
    filters: Sequence[LinkFilter],
    text_filters: Mapping[str, TextFilter] = MappingProxyType({}),
) -> Page | RejectedDocument:
    """Make the record of a document; one without any sentence, or for a text filter's reason, is dropped."""
    location = found.location
    sentences = sentences_of(text)
    if not sentences:
        return rejected(location, Reason.NO_TEXT, "the document's text has no sentence")
    document = DocumentText(text, sentences)
    for key, item in text_filters.items():
        reason = item.decide(document)
        if reason is not None:
            thresholds = ", ".join(f"{name}: {value}" for name, value in asdict(item).items())  # type: ignore[call-overload]
            return rejected(location, reason, f"filters.{key} {thresholds}".strip())
    return Page(
        key=location.key,
        url=location.url,
        site=location.site,
        timestamp=location.fetch_time,
        could_have_url_duplicate=location.could_have_url_duplicate,
        sentences=sentences,
        links=[judge_link(link, filters, location.url) for link in found.links],
    )
