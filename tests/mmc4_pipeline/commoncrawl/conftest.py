"""Small crawls: real WARC files, written with warcio, with the records and pages that a test plants."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from mmc4_pipeline.naming import document_key, site_of
from schemas.capture import Location

MOMENT = datetime(2019, 4, 25, 12, 57, 54, tzinfo=UTC)
FILE = "crawl-data/CC-MAIN-2019-18/segments/1/warc/CC-MAIN-1.warc.gz"


def page_of(*links: str) -> bytes:
    """Return an HTML page with these image links; the filler makes the record long enough to be truncated."""
    filler = "".join(f"<p>{number * 7919 % 10007}</p>" for number in range(400))
    images = "".join(f'<p><img src="{link}"></p>{filler}' for link in links)
    return f"<html><head><title>t</title></head><body>{images}</body></html>".encode()


@dataclass
class Crawl:
    """A Common Crawl folder with one WARC file; `locations` has the index row of each response."""

    root: Path
    locations: list[Location] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """The WARC file."""
        return self.root / FILE

    def write(
        self,
        url: str,
        body: bytes,
        content_type: str | None = "text/html; charset=utf-8",
        kind: str = "response",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Location:
        """Append a record and return its location."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        about = [*headers, *([("Content-Type", content_type)] if content_type else [])]
        first = "GET / HTTP/1.1" if kind == "request" else "200 OK"
        http = StatusAndHeaders(first, about, protocol="HTTP/1.1", is_http_request=kind == "request")
        with self.path.open("ab") as out:
            offset = out.tell()
            writer = WARCWriter(out, gzip=True)
            writer.write_record(writer.create_warc_record(url, kind, io.BytesIO(body), len(body), http_headers=http))
            length = out.tell() - offset
        url = url.strip("<>")
        key = document_key(url, MOMENT)
        location = Location(key, url, MOMENT, site_of(url), "c4:1", MOMENT, FILE, offset, length, False)
        self.locations.append(location)
        return location


@pytest.fixture
def crawl(tmp_path: Path) -> Crawl:
    return Crawl(tmp_path)


@pytest.fixture
def page() -> Callable[..., bytes]:
    return page_of
