"""WARC files as the input: which records are documents, and how the others are counted."""

import gzip
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import zstandard
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from mmc4_pipeline.commoncrawl.from_warcs import documents_of_warc, warc_files
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.naming import document_key
from mmc4_pipeline.pages.content import PageContent
from mmc4_pipeline.pages.page_reader import PageReader
from mmc4_pipeline.recipe import LinkSettings
from schemas.document import RejectedDocument
from schemas.statistics import Counts
from tests.mmc4_pipeline.file_server import INPUTS

READER = PageReader(LinkSettings(), "page")
SENTENCE = "The old mill stands by the river and still grinds corn."
HTML = f"<html><body><main><p>{SENTENCE}</p><img src=a.jpg></main></body></html>".encode()


class Warc:
    """A WARC file written record by record; `ranges` has each record's offset and length."""

    def __init__(self, path: Path) -> None:
        self.path, self.ranges = path, []

    def write(
        self,
        url: str,
        body: bytes = HTML,
        status: str = "200 OK",
        content_type: str | None = "text/html; charset=utf-8",
        kind: str = "response",
        date: str = "2019-04-25T12:57:54Z",
        **headers: str,
    ) -> None:
        """Append a record."""
        about = [("Content-Type", content_type)] if content_type else []
        http = StatusAndHeaders(status, about, protocol="HTTP/1.1", is_http_request=kind == "request")
        more = {"WARC-Date": date} | {name.replace("_", "-"): value for name, value in headers.items()}
        with self.path.open("ab") as out:
            offset = out.tell()
            writer = WARCWriter(out, gzip=True)
            writer.write_record(
                writer.create_warc_record(
                    url, kind, io.BytesIO(body), len(body), http_headers=http, warc_headers_dict=more
                )
            )
            self.ranges.append((offset, out.tell() - offset))

    def read(self) -> tuple[list[PageContent | RejectedDocument], dict[str, Any]]:
        """Return the documents and the counts of records, after checking that these add up."""
        records = Counts()
        outcomes = list(documents_of_warc(INPUTS, str(self.path), READER, records))
        records.check("records")
        return outcomes, records.to_json()


@pytest.fixture
def warc(tmp_path: Path) -> Warc:
    return Warc(tmp_path / "a.warc.gz")


def test_an_html_page_is_a_document_with_its_own_text(warc: Warc) -> None:
    warc.write("https://a.example/", kind="request")
    warc.write("https://news.example.com/page", date="2019-04-25T12:57:54.123456Z")
    warc.write("https://b.example/")
    (first, second), counts = warc.read()
    assert counts == {"in": 2, "kept": 2, "dropped": {}}
    assert isinstance(first, PageContent)
    assert first.text == SENTENCE
    assert [link.url for link in first.links] == ["https://news.example.com/a.jpg"]
    moment = datetime(2019, 4, 25, 12, 57, 54, tzinfo=UTC)
    location = first.location
    assert (location.url, location.timestamp, location.fetch_time) == ("https://news.example.com/page", moment, moment)
    assert (location.key, location.site) == (document_key(location.url, moment), "example.com")
    assert (location.offset, location.length) == warc.ranges[1]
    assert location.source == f"{warc.path}@{location.offset}"
    assert isinstance(second, PageContent)
    assert (second.location.offset, second.location.length) == warc.ranges[2]


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"status": "404 Not Found"}, "not_ok"),
        ({"status": "301 Moved Permanently"}, "not_ok"),
        ({"content_type": "image/jpeg"}, "not_html"),
        ({"content_type": None}, "not_html"),
        ({"content_type": "text/plain"}, "not_html"),
        ({"content_type": "application/xhtml+xml"}, None),
        ({"content_type": "TEXT/HTML"}, None),
        ({"content_type": None, "WARC_Identified_Payload_Type": "text/html"}, None),
    ],
)
def test_other_answers_are_counted_and_no_documents(warc: Warc, record: dict[str, Any], why: str | None) -> None:
    warc.write("https://a.example/", **record)
    outcomes, counts = warc.read()
    assert len(outcomes) == (why is None)
    assert counts["dropped"] == ({why: 1} if why else {})


def test_a_page_too_complex_to_read_is_named(warc: Warc) -> None:
    warc.write("https://a.example/", b"<p>" + b"<i></i>" * 100_000)
    (reject,), _ = warc.read()
    assert isinstance(reject, RejectedDocument)
    assert (reject.reason, reject.url) == ("no_text", "https://a.example/")
    assert "elements" in reject.detail


def test_a_record_without_a_time_is_no_document(warc: Warc) -> None:
    warc.write("https://a.example/", date="yesterday")
    (reject,), counts = warc.read()
    assert isinstance(reject, RejectedDocument)
    assert (reject.reason, reject.detail) == ("page_unreadable", "the record has no WARC-Date")
    assert counts["kept"] == 1


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_file_cut_short_loses_the_record_that_was_cut(warc: Warc, share: float) -> None:
    filler = b"".join(b"<p>%d</p>" % (number * 7919 % 10007) for number in range(2000))
    for name in "abc":
        warc.write(f"https://{name}.example/", HTML + filler)
    offset, length = warc.ranges[2]
    warc.path.write_bytes(warc.path.read_bytes()[: offset + int(length * share)])
    outcomes, counts = warc.read()
    assert [isinstance(outcome, PageContent) for outcome in outcomes] == [True, True, False]
    cut = outcomes[2]
    assert isinstance(cut, RejectedDocument)
    assert (cut.reason, cut.source) == ("page_unreadable", f"{warc.path}@{offset}")
    assert counts["in"] == 3


def test_a_corrupt_place_is_counted_and_what_is_around_it_is_read(warc: Warc) -> None:
    for name in "abc":
        warc.write(f"https://{name}.example/")
    damaged = bytearray(warc.path.read_bytes())
    offset, length = warc.ranges[1]
    damaged[offset + length // 2] ^= 0x55
    warc.path.write_bytes(damaged)
    outcomes, counts = warc.read()
    before, place, after = outcomes
    assert [page.location.url for page in (before, after) if isinstance(page, PageContent)] == [
        "https://a.example/",
        "https://c.example/",
    ]
    assert isinstance(place, RejectedDocument)
    assert (place.reason, place.source) == ("page_unreadable", f"{warc.path}@{offset}")
    assert counts["kept"] == len(outcomes)


def test_a_file_that_is_no_warc_is_one_reject(tmp_path: Path) -> None:
    file = Warc(tmp_path / "a.warc.gz")
    file.path.write_bytes(gzip.compress(b"no record at all\n" * 100))
    (reject,), counts = file.read()
    assert isinstance(reject, RejectedDocument)
    assert "no WARC header" in reject.detail
    assert counts["in"] == 1


def test_files_are_named_once_in_order_and_must_be_there(tmp_path: Path) -> None:
    for name in ("b.warc.gz", "a.warc.gz"):
        (tmp_path / name).touch()
    paths = [str(tmp_path / name) for name in ("a.warc.gz", "b.warc.gz")]
    assert warc_files(INPUTS, [str(tmp_path / "*.warc.gz"), paths[1]]) == paths
    with pytest.raises(UserError, match=r"nowhere\*\.gz: no such file"):
        warc_files(INPUTS, [str(tmp_path / "nowhere*.gz")])


@pytest.mark.parametrize("name", ["a.arc", "a.arc.gz", "A.ARC.GZ", "crawl.wacz"])
def test_files_of_another_format_are_refused_before_anything_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    (tmp_path / "a.warc.gz").touch()
    with pytest.raises(UserError, match=name) as caught:
        warc_files(INPUTS, [str(tmp_path / "*")])
    assert "\n" not in str(caught.value)


def test_a_file_of_zstd_frames_is_read(warc: Warc, tmp_path: Path) -> None:
    for number in range(3):
        warc.write(f"https://a.example/{number}")
    data, frames = warc.path.read_bytes(), []
    for offset, length in warc.ranges:
        frames.append(zstandard.compress(gzip.decompress(data[offset : offset + length])))
    path = tmp_path / "b.warc.zst"
    path.write_bytes(b"".join(frames))
    assert warc_files(INPUTS, [str(tmp_path / "*.zst")]) == [str(path)]
    records = Counts()
    found = list(documents_of_warc(INPUTS, str(path), READER, records))
    assert [item.text for item in found if isinstance(item, PageContent)] == [SENTENCE] * 3
    assert records.to_json() == {"in": 3, "kept": 3, "dropped": {}}
