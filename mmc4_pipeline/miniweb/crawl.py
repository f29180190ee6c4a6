"""Write the miniature web as Common Crawl would store it: HTML in WARC files, WAT files, and the columnar index."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import uuid
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from mmc4_pipeline.miniweb.layout import NAVIGATION, render

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from mmc4_pipeline.miniweb.page import Page

CRAWL = "CC-MAIN-2019-18"
# The segment and the name of each WARC file.
WARCS = (
    ("1555578517558.8", "CC-MAIN-20190418101243-20190418123243-00000"),
    ("1555578517558.8", "CC-MAIN-20190418101243-20190418123243-00001"),
    ("1555578530527.11", "CC-MAIN-20190421060341-20190421082341-00000"),
)
INDEX_SCHEMA = pa.schema(
    [
        ("url_surtkey", pa.string()),
        ("url", pa.string()),
        ("url_host_name", pa.string()),
        ("url_host_registered_domain", pa.string()),
        ("url_protocol", pa.string()),
        ("url_path", pa.string()),
        ("url_query", pa.string()),
        ("fetch_time", pa.timestamp("ms")),
        ("fetch_status", pa.int16()),
        ("content_digest", pa.string()),
        ("content_mime_type", pa.string()),
        ("content_mime_detected", pa.string()),
        ("content_charset", pa.string()),
        ("content_languages", pa.string()),
        ("warc_filename", pa.string()),
        ("warc_record_offset", pa.int32()),
        ("warc_record_length", pa.int32()),
        ("warc_segment", pa.string()),
    ],
)
_HTTP_HEADERS = {"Content-Type": "text/html; charset=utf-8", "Server": "nginx"}


@dataclass(frozen=True)
class Capture:
    """The place of a page's response record: offset and length in bytes, and the WARC's path below the root."""

    page: Page
    segment: str
    path: str
    offset: int
    length: int
    payload_length: int
    digest: str


def timestamp(time: datetime) -> str:
    """Return a time in the format of C4 and of WARC headers."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _record_id(page: Page, part: str) -> str:
    """Return a record's id, the same in every run."""
    return f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{page.url} {page.capture} {part}')}>"


class _Writer:
    """Writes records to one file, each as a separate gzip member."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._writer = WARCWriter(out, gzip=True)

    def write(self, kind: str, uri: str | None, payload: bytes, headers: dict[str, str]) -> None:
        """Write a record without HTTP headers."""
        self._write(kind, uri, payload, headers, None)

    def write_http(self, kind: str, page: Page, payload: bytes, http: StatusAndHeaders) -> tuple[int, int]:
        """Write a page's request or response, and return the record's offset and length in bytes."""
        headers = {"WARC-Date": timestamp(page.time), "WARC-Record-ID": _record_id(page, kind)}
        if kind == "response":
            headers["WARC-Identified-Payload-Type"] = "text/html"
        offset = self._out.tell()
        self._write(kind, page.url, payload, headers, http)
        return offset, self._out.tell() - offset

    def _write(
        self, kind: str, uri: str | None, payload: bytes, headers: dict[str, str], http: StatusAndHeaders | None
    ) -> None:
        record = self._writer.create_warc_record(
            uri, kind, io.BytesIO(payload), len(payload), http_headers=http, warc_headers_dict=headers
        )
        self._writer.write_record(record)


def _warcinfo(path: str, time: datetime) -> dict[str, str]:
    return {
        "WARC-Filename": Path(path).name,
        "WARC-Date": timestamp(time),
        "WARC-Record-ID": f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, path)}>",
        "Content-Type": "application/warc-fields",
    }


def write_warc(root: Path, segment: str, name: str, pages: Sequence[Page]) -> list[Capture]:
    """Write a WARC file with a request and a response record for every page."""
    path = f"crawl-data/{CRAWL}/segments/{segment}/warc/{name}.warc.gz"
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    captures = []
    with (root / path).open("wb") as out:
        writer = _Writer(out)
        about = f"publisher: miniweb\r\nisPartOf: {CRAWL}\r\n".encode()
        writer.write("warcinfo", None, about, _warcinfo(path, pages[0].time))
        for page in pages:
            parts = urlsplit(page.url)
            request = StatusAndHeaders(f"GET {parts.path} HTTP/1.1", [("Host", parts.netloc)], is_http_request=True)
            writer.write_http("request", page, b"", request)
            payload = render(page)
            response = StatusAndHeaders("200 OK", list(_HTTP_HEADERS.items()), protocol="HTTP/1.1")
            offset, length = writer.write_http("response", page, payload, response)
            digest = base64.b32encode(hashlib.sha1(payload, usedforsecurity=False).digest()).decode()
            captures.append(Capture(page, segment, path, offset, length, len(payload), digest))
    return captures


def _links(page: Page) -> list[dict[str, str]]:
    """Return the page's links in the format of a WAT record, in the order of the HTML."""
    links = [{"path": "A@/href", "url": href, "text": words} for href, words in NAVIGATION]
    for link in page.links:
        entry = {"path": "IMG@/src", "url": link.src}
        if link.alt is not None:
            entry["alt"] = link.alt
        links.append(entry)
    return [*links, {"path": "A@/href", "url": "/imprint", "text": "Imprint"}]


def _metadata(capture: Capture) -> dict[str, Any]:
    page = capture.page
    kind = "application/http; msgtype=response"
    metas = [{"charset": "utf-8"}, {"name": "viewport", "content": "width=device-width"}]
    answer = {
        "Response-Message": {"Status": "200", "Version": "HTTP/1.1", "Reason": "OK"},
        "Headers": _HTTP_HEADERS,
        "HTML-Metadata": {"Head": {"Title": page.title, "Metas": metas}, "Links": _links(page)},
    }
    header = {
        "WARC-Type": "response",
        "WARC-Date": timestamp(page.time),
        "WARC-Record-ID": _record_id(page, "response"),
        "WARC-Target-URI": page.url,
        "Content-Type": kind,
    }
    return {
        "Container": {
            "Filename": Path(capture.path).name,
            "Compressed": True,
            "Offset": str(capture.offset),
            "Gzip-Metadata": {"Deflate-Length": str(capture.length)},
        },
        "Envelope": {
            "Format": "WARC",
            "Actual-Content-Length": str(capture.payload_length),
            "WARC-Header-Metadata": header,
            "Payload-Metadata": {"Actual-Content-Type": kind, "HTTP-Response-Metadata": answer},
        },
    }


def write_wat(root: Path, captures: Sequence[Capture]) -> None:
    """Write the WAT file of one WARC file: a metadata record for every response."""
    path = root / captures[0].path.replace("/warc/", "/wat/").replace(".warc.gz", ".warc.wat.gz")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        writer = _Writer(out)
        for capture in captures:
            page = capture.page
            headers = {
                "WARC-Date": timestamp(page.time),
                "WARC-Record-ID": _record_id(page, "wat"),
                "Content-Type": "application/json",
            }
            writer.write("metadata", page.url, json.dumps(_metadata(capture)).encode(), headers)


def _index_row(capture: Capture) -> dict[str, Any]:
    page, parts = capture.page, urlsplit(capture.page.url)
    labels = parts.netloc.split(".")
    # The sort key has the labels of the host in reverse, without a leading www.
    key = ",".join(reversed(labels[1:] if labels[0] == "www" else labels)) + ")" + parts.path
    return {
        "url_surtkey": key,
        "url": page.url,
        "url_host_name": parts.netloc,
        "url_host_registered_domain": ".".join(labels[-2:]),
        "url_protocol": parts.scheme,
        "url_path": parts.path,
        "url_query": parts.query or None,
        "fetch_time": page.time.replace(tzinfo=None),
        "fetch_status": 200,
        "content_digest": capture.digest,
        "content_mime_type": "text/html",
        "content_mime_detected": "text/html",
        "content_charset": "UTF-8",
        "content_languages": page.language,
        "warc_filename": capture.path,
        "warc_record_offset": capture.offset,
        "warc_record_length": capture.length,
        "warc_segment": capture.segment,
    }


def write_index(root: Path, captures: Iterable[Capture]) -> None:
    """Write the columnar index: two files, together sorted by url_surtkey."""
    folder = root / f"cc-index/table/cc-main/warc/crawl={CRAWL}/subset=warc"
    folder.mkdir(parents=True, exist_ok=True)
    rows = sorted(
        (_index_row(capture) for capture in captures), key=lambda row: (row["url_surtkey"], row["fetch_time"])
    )
    middle = len(rows) // 2
    for number, part in enumerate((rows[:middle], rows[middle:])):
        table = pa.Table.from_pylist(part, schema=INDEX_SCHEMA)
        pq.write_table(table, folder / f"part-{number:05d}-miniweb.c000.gz.parquet", compression="gzip")


def write_crawl(root: Path, pages: Iterable[Page]) -> None:
    """Write the whole crawl under `root`. The captures are spread evenly over the files, in order of time."""
    ordered = sorted(pages, key=lambda page: (page.time, page.url))
    captures: list[Capture] = []
    bounds = [number * len(ordered) // len(WARCS) for number in range(len(WARCS) + 1)]
    for (segment, name), (start, end) in zip(WARCS, pairwise(bounds), strict=True):
        written = write_warc(root, segment, name, ordered[start:end])
        write_wat(root, written)
        captures += written
    write_index(root, captures)
