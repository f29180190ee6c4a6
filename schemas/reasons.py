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
    INVALID_DOCUMENT = "invalid_document"  # a line or row that is not a JSON object, or lacks a field of its layout
    DUPLICATE_DOCUMENT = "duplicate_document"  # an earlier one has the same URL and fetch time, or the same content
    NOT_LOCATED = "not_located"  # the index has no capture of the URL near that time
    PAGE_UNREADABLE = "page_unreadable"  # its WARC or WAT record is missing, truncated or corrupt
    NOT_HTML = "not_html"  # its record does not contain an HTML page
    NO_TEXT = "no_text"  # its text has no sentence

    # Documents, by their text.
    TOO_FEW_SENTENCES = "too_few_sentences"
    LANGUAGE = "language"
    LOREM_IPSUM = "lorem_ipsum"
    CURLY_BRACKET = "curly_bracket"
    BAD_WORDS = "bad_words"

    # Image links, before anything is fetched.
    DENIED = "denied"  # it or its page is on the user's deny-list
    URL_EXTENSION = "url_extension"
    URL_TOKEN = "url_token"  # noqa: S105 - a reason, not a password
    NOT_MAIN_CONTENT = "not_main_content"
    OUTSIDE_TEXT = "outside_text"
    INVALID_URL = "invalid_url"  # a published dataset has something else than an http(s) URL as an image
    TOO_MANY_URLS = "too_many_urls"  # the links before it on its page resolve to more characters than any real page's
    ROBOTS = "robots"  # forbidden by robots.txt of its host, or of a host that it redirects to
    DEFERRED = "deferred"  # there was too little time for it, in the backlog too, and the user accepted that

    # Image links, by the response.
    NOT_FETCHED = "not_fetched"  # it is missing in the image shards that were given instead of fetching
    OPTED_OUT = "opted_out"
    HTTP_ERROR = "http_error"
    TIMEOUT = "timeout"
    HOST_UNAVAILABLE = "host_unavailable"
    FORBIDDEN_ADDRESS = "forbidden_address"
    TOO_LARGE = "too_large"
    NOT_AN_IMAGE = "not_an_image"
    CORRUPT = "corrupt"

    # Images, by measurements.
    TOO_SMALL = "too_small"
    ASPECT_RATIO = "aspect_ratio"
    DOCUMENT_DUPLICATE = "document_duplicate"
    CORPUS_DUPLICATE = "corpus_duplicate"
    AD = "ad"  # or before it is fetched, by its URL, its link target or its declared size
    FACE = "face"
    NSFW = "nsfw"
    LOW_SIMILARITY = "low_similarity"
    NOT_SCORED = "not_scored"  # it has no value in a matrix by which images are assigned
    NO_PLACE = "no_place"  # page order is wanted, but the page has none of the document's sentences

    # The document as a whole breaks a rule of the recipe; its remaining images are dropped with it.
    DOCUMENT = "document"


@dataclass(frozen=True, slots=True)
class Drop:
    """Why something was dropped: the reason, and the key in the recipe of the filter that decided it.

    `filter` is null if no filter did: the host did not respond, for example.
    """

    reason: str
    filter: str | None = None


DENIED = Drop(Reason.DENIED, "deny_list")  # a takedown drops links as if that filter had been on from the start
