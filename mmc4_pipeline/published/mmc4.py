"""MMC4's JSON lines (github.com/allenai/mmc4): mmc4, mmc4-ff and the core subsets, and our own `mmc4_jsonl`.

`image_info[i].matched_text_index` is the sentence that image i was assigned to, `matched_sim` their similarity. The
sentences are taken as they are. The images are in the page's order, but nobody knows where between the sentences.
"""

from datetime import UTC, datetime
from typing import Any

from mmc4_pipeline.pages.sentences import MAX_CHARACTERS
from mmc4_pipeline.published.layout import (
    InvalidRowError,
    Kind,
    Layout,
    PublishedDocument,
    PublishedImage,
    Row,
    list_of,
    similarity_of,
    text_of,
)

_CRAWLED = datetime(2019, 4, 22, tzinfo=UTC)  # CC-MAIN-2019-18, from which C4 was made


class Mmc4(Layout):
    """MMC4's layout."""

    name = "mmc4"
    fields = {"url": Kind.TEXT, "text_list": Kind.LIST, "image_info": Kind.LIST}
    optional = ("could_have_url_duplicate",)
    has_places = False

    def document(self, row: Row, path: str) -> PublishedDocument:
        """Return the document of a line."""
        sentences = list_of(row, "text_list")
        for number, sentence in enumerate(sentences):
            if not isinstance(sentence, str) or len(sentence) > MAX_CHARACTERS:
                raise InvalidRowError(f"text_list[{number}] is not a text of at most {MAX_CHARACTERS:,} characters")
        images = [
            _image(info, f"image_info[{number}]", len(sentences))
            for number, info in enumerate(list_of(row, "image_info"))
        ]
        return PublishedDocument(
            url=text_of(row, "url"),
            text=" ".join(sentences),
            sentences=sentences,
            images=images,
            crawled=_CRAWLED,
            could_have_url_duplicate=bool(row.get("could_have_url_duplicate")),
        )


def _image(info: Any, place: str, sentences: int) -> PublishedImage:
    if not isinstance(info, dict) or not isinstance(info.get("raw_url"), str):
        raise InvalidRowError(f"{place}.raw_url is missing or not a text")
    index = info.get("matched_text_index")
    is_sentence = isinstance(index, int) and not isinstance(index, bool) and 0 <= index < sentences
    # In our own files an image may stand after the last sentence.
    is_at_end = is_sentence and index == sentences - 1 and info.get("follows_sentence") is True
    return PublishedImage(
        info["raw_url"],
        after_sentence=index if is_at_end else None,
        sentence=index if is_sentence else None,
        similarity=similarity_of(info.get("matched_sim")) if is_sentence else None,
    )
