"""Every response record of a WARC file, in file order (fastwarc)."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from aiohttp import ClientError
from fastwarc import ArchiveIterator, WarcRecordType

from mmc4_pipeline import storage
from mmc4_pipeline.commoncrawl.records import target
from mmc4_pipeline.commoncrawl.warc import MAX_RECORD_BYTES
from mmc4_pipeline.errors import UserError


@dataclass(frozen=True, slots=True)
class Response:
    """A response record. `offset` and `length` are its gzip member's, in bytes; `time` is None where it states none.

    `kind` is the Content-Type, or what the crawler found it to be where the server said nothing. `problem` says why
    the body could not be read in full. `length` is 0 where the file is corrupt right behind the record.
    """

    url: str
    time: datetime | None
    offset: int
    length: int
    status: int | None
    kind: str
    body: bytes
    problem: str | None = None


class BrokenWarcError(Exception):
    """A WARC file could not be read to its end. `offset` is that of the last record that was read."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


def responses(path: str) -> Iterator[Response]:
    """Stream a WARC file. Raises BrokenWarcError at the place where it is corrupt or stops being readable."""
    last, offset = None, 0
    try:
        with storage.open_read(path) as stream:
            size = stream.seek(0, io.SEEK_END)
            stream.seek(0)
            for record in ArchiveIterator(stream, parse_http=False):
                offset = record.stream_pos
                if last is not None:
                    yield replace(last, length=offset - last.offset)
                last = _response(record) if record.record_type == WarcRecordType.response else None
            if last is not None:
                yield replace(last, length=size - last.offset)
    except (UserError, OSError, ValueError, EOFError, ClientError) as error:
        if last is not None:
            yield last
        raise BrokenWarcError(str(error), offset) from error


def _response(record: Any) -> Response:  # noqa: ANN401 - fastwarc has no types
    declared, problem = record.content_length, None
    if declared > MAX_RECORD_BYTES:
        problem = f"the record has {declared} bytes"
    else:
        record.freeze()
        if record.content_length < declared:
            problem = "the WARC file ends before the record does"
    record.parse_http(auto_decode="all")
    http = record.http_headers  # false where it holds no header, None where there is no HTTP at all
    return Response(
        url=target(record.headers.get("WARC-Target-URI")),
        time=record.record_date,
        offset=record.stream_pos,
        length=0,
        status=http.status_code if http is not None else None,
        kind=(http.get("Content-Type") if http else None) or record.headers.get("WARC-Identified-Payload-Type") or "",
        body=b"" if problem else record.reader.read(MAX_RECORD_BYTES),
        problem=problem,
    )
