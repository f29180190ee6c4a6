"""Make pages of published documents, as the pages stage makes them of crawled ones."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import msgspec

from mmc4_pipeline.naming import site_of
from mmc4_pipeline.pages.content import PageContent
from mmc4_pipeline.pages.guard import guarded
from mmc4_pipeline.pages.links import PageUrls
from mmc4_pipeline.pages.page_sorter import PageSorter
from mmc4_pipeline.published.layout import PublishedDocument
from schemas.capture import Location
from schemas.document import RejectedDocument
from schemas.page import ImageLink, Page
from schemas.reasons import Reason

_MAX_INVALID = 300  # characters of something that is not a URL: nobody will request it


def page_of_published(found: PublishedDocument | str, source: str, sorter: PageSorter) -> Page | RejectedDocument:
    """Return the page of a published document, with the decisions of the recipe's filters, or why it is dropped.

    `found` is a string if it is not a document. `source` is its file and row.
    """
    if isinstance(found, str):
        return RejectedDocument("", "", source, Reason.INVALID_DOCUMENT.value, found)
    location = Location(
        key=key_of_published(found),
        url=found.url,
        timestamp=found.crawled,
        site=site_of(found.url),
        source=source,
        fetch_time=found.crawled,
        warc_filename="",
        offset=0,
        length=0,
        could_have_url_duplicate=found.could_have_url_duplicate,
    )
    page = guarded(location, _page, found, location, sorter)
    return replace(page, source=source) if isinstance(page, RejectedDocument) else page


def _page(found: PublishedDocument, location: Location, sorter: PageSorter) -> Page | RejectedDocument:
    return sorter.page(PageContent(location, list(_links(found))), found.text, found.sentences)


def key_of_published(document: PublishedDocument) -> str:
    """Return a document's key, a hash of its content: a dataset may have several documents with the same URL."""
    content = msgspec.json.encode([document.url, document.text, [image.url for image in document.images]])
    return hashlib.sha256(content).hexdigest()[:32]


def _links(document: PublishedDocument) -> Iterator[ImageLink]:
    urls = PageUrls(document.url)
    for position, image in enumerate(document.images):
        after = image.after_sentence
        url, reason = urls.resolve(image.url), urls.reason
        if url is None:
            url, reason = image.url[:_MAX_INVALID], Reason.INVALID_URL.value
        yield ImageLink(
            position=position,
            url=url,
            alt=image.alt,
            declared_width=image.width,
            declared_height=image.height,
            reason=reason,
            after_sentence=after,
            inside_text=None if after is None else 0 <= after < len(document.sentences) - 1,
            published_sentence=image.sentence,
            published_similarity=image.similarity,
        )
