"""OBELICS' Parquet (huggingface.co/datasets/HuggingFaceM4/OBELICS), and our own format `obelics`.

`images` has the URLs. `metadata` is a JSON list with what is known of each image, null at a text's place;
`general_metadata` is a JSON object with the page's URL and its WARC record.
"""

from typing import Any

import orjson

from mmc4_pipeline.pages.links import pixels
from mmc4_pipeline.published.layout import (
    InvalidRowError,
    Kind,
    Layout,
    PublishedDocument,
    Row,
    crawl_time,
    list_of,
    similarity_of,
    text_of,
)
from mmc4_pipeline.published.sequence import NOTHING, About, document_of_sequence

# OBELICS marks with this paragraph where a page's next article begins.
_NEXT_ARTICLE = "END_OF_DOCUMENT_TOKEN_TO_BE_REPLACED"


class Obelics(Layout):
    """OBELICS' layout."""

    name = "obelics"
    fields = {"images": Kind.LIST, "texts": Kind.LIST, "metadata": Kind.TEXT, "general_metadata": Kind.TEXT}

    def document(self, row: Row, path: str) -> PublishedDocument:
        """Return the document of a row."""
        general = _json(row, "general_metadata", dict)
        texts = [text.replace(_NEXT_ARTICLE, "\n") if isinstance(text, str) else text for text in list_of(row, "texts")]
        about = [_about(item) for item in _json(row, "metadata", list)]
        crawled = crawl_time(str(general.get("warc_filename", "")))
        return document_of_sequence(text_of(general, "url"), list_of(row, "images"), texts, about, crawled)


def _json(row: Row, name: str, kind: type) -> Any:
    try:
        value = orjson.loads(text_of(row, name))
    except orjson.JSONDecodeError as error:
        raise InvalidRowError(f"{name}: not valid JSON: {error}") from error
    if not isinstance(value, kind):
        raise InvalidRowError(f"{name}: not a JSON {'object' if kind is dict else 'list'}")
    return value


def _about(item: Any) -> About:
    if not isinstance(item, dict):
        return NOTHING
    alt = item.get("alt_text")
    return About(
        alt=" ".join(alt.split()) if isinstance(alt, str) else "",
        width=pixels(item.get("rendered_width")),
        height=pixels(item.get("rendered_height")),
        similarity=similarity_of(item.get("matched_sim")),  # only our own files have it
    )
