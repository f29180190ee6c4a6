"""WARC records: the fields of their headers, in all spellings."""

import io
from datetime import UTC, datetime

import pytest

from mmc4_pipeline.commoncrawl.archive import records
from mmc4_pipeline.commoncrawl.warc_record import Record

URL = "https://a.example/?a=1:2"


def record(*fields: str, block: bytes = b"block") -> Record:
    header = "\r\n".join(("WARC/1.0", *fields, f"Content-Length: {len(block)}"))
    (found,) = records(io.BytesIO(header.encode() + b"\r\n\r\n" + block + b"\r\n\r\n"))
    assert isinstance(found, Record)
    assert found.block == block
    return found


@pytest.mark.parametrize(
    "spelling",
    [
        "WARC-Target-URI: {}",
        "warc-target-uri: {}",
        "WARC-Target-URI:{}",
        "WARC-TARGET-URI:\t {} ",
        "WARC-Target-URI: <{}>",
    ],
)
@pytest.mark.parametrize("last", [True, False])
def test_a_field_is_found_however_it_is_written(spelling: str, *, last: bool) -> None:
    fields = ["WARC-Type: Metadata", "X-WARC-Target-URI: https://b.example/", spelling.format(URL)]
    found = record(*fields) if last else record(*reversed(fields))
    assert (found.url, found.type) == (URL, "metadata")


def test_a_field_of_the_block_is_none_of_the_header() -> None:
    found = record("WARC-Type: response", block=b"\r\nWARC-Target-URI: https://b.example/\r\n")
    assert (found.url, found.date, found.payload_type) == ("", None, "")


@pytest.mark.parametrize(
    ("date", "meant"),
    [
        ("2019-04-25T12:57:54Z", datetime(2019, 4, 25, 12, 57, 54, tzinfo=UTC)),
        ("2019-04-25T14:57:54+02:00", datetime(2019, 4, 25, 12, 57, 54, tzinfo=UTC)),
        ("20190425125754", datetime(2019, 4, 25, 12, 57, 54, tzinfo=UTC)),
        ("2019-04-25", datetime(2019, 4, 25, tzinfo=UTC)),
        ("20191325125754", None),
        ("yesterday", None),
        ("0001-01-01T00:00:00+02:00", None),
    ],
)
def test_dates_are_in_utc_or_none(date: str, meant: datetime | None) -> None:
    assert record(f"WARC-Date: {date}").date == meant
