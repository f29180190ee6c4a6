"""Why a document or an image link was dropped, and by which filter. Both are part of the published ledger."""

from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """The five stages, in the order in which they run."""

    LOCATE = "locate"
    PAGES = "pages"
    IMAGES = "images"
    SCORE = "score"
    CUT = "cut"


class Reason(StrEnum):
    """The built-in reasons. A filter may have others: records hold a reason as a plain string."""

    # Documents.
    INVALID_DOCUMENT = "invalid_document"  # a C4 line that is no JSON object or lacks a field
    DUPLICATE_DOCUMENT = "duplicate_document"  # same URL and fetch time as an earlier document
    NOT_LOCATED = "not_located"  # no capture of that URL near that time in the index
    PAGE_UNREADABLE = "page_unreadable"  # its WARC or WAT record is missing, cut short or corrupt
    NOT_HTML = "not_html"  # its record holds something else than an HTML page
    NO_TEXT = "no_text"  # no sentence in its text

    # Documents, by their text.
    TOO_FEW_SENTENCES = "too_few_sentences"
    LANGUAGE = "language"
    LOREM_IPSUM = "lorem_ipsum"
    CURLY_BRACKET = "curly_bracket"
    BAD_WORDS = "bad_words"

    # Image links, before anything is fetched.
    DENIED = "denied"  # the user's deny-list has it, or its page
    URL_EXTENSION = "url_extension"
    URL_TOKEN = "url_token"  # noqa: S105 - a reason, not a password
    NOT_MAIN_CONTENT = "not_main_content"
    ROBOTS = "robots"  # robots.txt of its host, or of one that it redirects to
    DEFERRED = "deferred"  # put off until its shard's last pass, whose time was over too

    # Image links, by what the web answered.
    NOT_FETCHED = "not_fetched"  # nobody asked the web, and the image shards that were given lack it
    OPTED_OUT = "opted_out"
    HTTP_ERROR = "http_error"
    TIMEOUT = "timeout"
    HOST_UNAVAILABLE = "host_unavailable"
    FORBIDDEN_ADDRESS = "forbidden_address"
    TOO_LARGE = "too_large"
    NOT_AN_IMAGE = "not_an_image"
    CORRUPT = "corrupt"

    # Images, by what was measured on them.
    TOO_SMALL = "too_small"
    ASPECT_RATIO = "aspect_ratio"
    DOCUMENT_DUPLICATE = "document_duplicate"
    CORPUS_DUPLICATE = "corpus_duplicate"
    AD = "ad"  # or before anything is fetched: by its URL, where it leads, its declared size
    FACE = "face"
    NSFW = "nsfw"
    LOW_SIMILARITY = "low_similarity"

    # The document as a whole breaks a rule of the recipe; its remaining images go with it.
    DOCUMENT = "document"


@dataclass(frozen=True, slots=True)
class Drop:
    """Why something was dropped: the reason, and the key in the recipe of the filter that decided it.

    `filter` is null if no filter did: the host did not respond, for example.
    """

    reason: str
    filter: str | None = None


DENIED = Drop(Reason.DENIED, "deny_list")  # a takedown drops links as if that filter had been on from the start
