"""What is sent and received: the header fields of requests, the parts of responses, and how much of a body to read."""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from requests.utils import DEFAULT_CA_BUNDLE_PATH

# "identity": images are compressed already, and what is not sent compressed can't be a decompression bomb.
REQUEST_FIELDS = ["Accept: image/*,*/*;q=0.5", "Accept-Encoding: identity"]
CONNECT_SECONDS = 10.0  # for opening a connection; the whole request has more time
LARGE_BODY = 512 << 10  # bytes; reading a larger body pauses until it is told to go on
BUFFER = 128 << 10  # bytes that are read at a time
STATUS = re.compile(rb"HTTP/[\d.]+\s+(\d{3})", re.IGNORECASE)
# The fields of a header that are kept.
ENCODING, LOCATION, RESERVATION = "content-encoding", "location", "tdm-reservation"
RETRY_AFTER, ROBOTS_TAG, USAGE = "retry-after", "x-robots-tag", "content-usage"
_KEPT = {name.encode(): name for name in (ENCODING, LOCATION, RESERVATION, RETRY_AFTER, ROBOTS_TAG, USAGE)}


@dataclass(frozen=True, slots=True)
class Body:
    """What to do with a body: collect at most `limit` bytes, or read at most `limit` bytes to be done with the request.

    A body that is not collected is given up after `seconds`.
    """

    limit: int
    is_collected: bool
    seconds: float | None = None


@dataclass(slots=True)
class Response:
    """A response as far as it was read. `status` is None if there was none.

    `headers` has the fields that say something about an image, by their names in lower case.
    `is_complete` says whether all of it was read; `is_too_long` whether its body was longer than its limit. `code` and
    `message` are libcurl's if it failed. `os_error` is why no socket was opened.
    """

    status: int | None = None
    headers: dict[str, list[str]] = field(default_factory=dict)
    chunks: list[bytes] = field(default_factory=list)
    code: int = 0
    message: str = ""
    is_complete: bool = False
    is_too_long: bool = False
    os_error: OSError | None = None

    @property
    def body(self) -> bytes:
        """Return what was collected of the body."""
        return self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)


def has_content(status: int, *, may_be_part: bool) -> bool:
    """Return whether a response with this status has the content that was requested: a success, but not an empty one.

    Part of an image (206) is not an image, but part of a robots.txt has rules: Google reads that of each success, too.
    """
    without = (HTTPStatus.NO_CONTENT, HTTPStatus.RESET_CONTENT, *(() if may_be_part else (HTTPStatus.PARTIAL_CONTENT,)))
    return status // 100 == HTTPStatus.OK // 100 and status not in without


def fields_of(lines: list[bytes], names: Mapping[bytes, str] = _KEPT) -> dict[str, list[str]]:
    """Return a header's fields with these names in lower case, the values of repeated ones in order.

    A line without a colon is not a field; browsers ignore it.
    """
    fields: dict[str, list[str]] = {}
    values: list[str] | None = None  # those of the line before, if they are kept
    for number, line in enumerate(lines):
        if number and line[0] in b" \t":  # a folded line (RFC 9112, 5.2)
            if values is not None:
                values[-1] = f"{values[-1]} {_text(line).strip()}"
            continue
        found, colon, value = line.partition(b":")
        name = names.get(found.strip().lower()) if colon else None
        values = None if name is None else fields.setdefault(name, [])
        if values is not None:
            values.append(_text(value).strip())
    return fields


def certificates() -> str:
    """Return the file of the certificates that are trusted."""
    return ssl.get_default_verify_paths().cafile or DEFAULT_CA_BUNDLE_PATH


def _text(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")
