"""C4 files: what is read, what is rejected, and what a broken file says of itself."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.c4 import document_files, read_documents
from mmc4_pipeline.errors import UserError
from schemas.document import Document, RejectedDocument
from schemas.reasons import Reason

GOOD = {"text": "One line.\nAnother: café.", "timestamp": "2019-04-25T12:57:54Z", "url": "https://a.example/ä"}


def lines_of(*documents: object) -> bytes:
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


def test_plain_and_gzip_give_the_same_documents(tmp_path: Path) -> None:
    content = lines_of(GOOD, {**GOOD, "url": "https://b.example/"})
    (tmp_path / "a.json").write_bytes(content)
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(content[:40]) + gzip.compress(content[40:]))  # two members
    plain = list(read_documents(str(tmp_path / "a.json")))
    packed = list(read_documents(str(tmp_path / "a.json.gz")))
    assert [source for source, _ in packed] == [f"{tmp_path}/a.json.gz:1", f"{tmp_path}/a.json.gz:2"]
    assert [document for _, document in plain] == [document for _, document in packed]
    first = plain[0][1]
    assert isinstance(first, Document)
    assert (first.url, first.text) == (GOOD["url"], GOOD["text"])
    assert first.timestamp == datetime(2019, 4, 25, 12, 57, 54, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        (b'{"text": "cut off', "no JSON"),
        (b"\xff\xfe{}", "no JSON"),
        (b"", "no JSON"),
        (b"[1, 2]", "no JSON object"),
        (b"null", "no JSON object"),
        (lines_of({**GOOD, "text": None}).strip(), "field 'text'"),
        (lines_of({**GOOD, "timestamp": 1556197074}).strip(), "field 'timestamp'"),
        (lines_of({**GOOD, "url": ["https://a.example/"]}).strip(), "field 'url'"),
        (lines_of({"text": "t", "url": "https://a.example/ä"}).strip(), "field 'timestamp'"),
        (lines_of({**GOOD, "timestamp": "yesterday"}).strip(), "'yesterday' is no ISO 8601 time"),
        (lines_of({**GOOD, "timestamp": "0001-01-01T00:00:00+14:00"}).strip(), "no ISO 8601 time"),
    ],
)
def test_a_bad_line_loses_only_itself(tmp_path: Path, line: bytes, detail: str) -> None:
    path = tmp_path / "c4.json"
    path.write_bytes(lines_of(GOOD) + line + b"\n" + lines_of(GOOD))
    (_, before), (source, rejected), (_, after) = read_documents(str(path))
    assert isinstance(before, Document)
    assert before == after
    assert isinstance(rejected, RejectedDocument)
    assert rejected.source == source == f"{path}:2"
    assert rejected.reason == Reason.INVALID_DOCUMENT.value
    assert detail in rejected.detail


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_gzip_file_cut_short_is_an_error_that_names_file_and_line(tmp_path: Path, share: float) -> None:
    documents = [{**GOOD, "url": f"https://a.example/{number}"} for number in range(500)]
    whole = gzip.compress(lines_of(*documents))
    path = tmp_path / "c4.json.gz"
    path.write_bytes(whole[: int(len(whole) * share)])
    read = []
    with pytest.raises(UserError, match=r"c4\.json\.gz: cut short or corrupt after line \d+") as caught:
        read.extend(read_documents(str(path)))
    assert f"after line {len(read)} " in str(caught.value)


@pytest.mark.parametrize("content", [b"no gzip at all\n", gzip.compress(lines_of(GOOD))[:-6] + b"wrong!"])
def test_a_corrupt_gzip_file_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c4.json.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"c4\.json\.gz: cut short or corrupt"):
        list(read_documents(str(path)))


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.json"):
        list(read_documents(str(tmp_path / "gone.json")))


def test_patterns_name_each_file_once_in_order(tmp_path: Path) -> None:
    for name in ("b.json", "a.json", "c.txt"):
        (tmp_path / name).touch()
    found = document_files([f"{tmp_path}/*.json", f"{tmp_path}/b.json"])
    assert found == [f"{tmp_path}/a.json", f"{tmp_path}/b.json"]
    with pytest.raises(UserError, match=r"--c4 .*\*\.parquet"):
        document_files([f"{tmp_path}/*.json", f"{tmp_path}/*.parquet"])


@given(
    st.dictionaries(
        st.sampled_from(["url", "timestamp", "text", "x"]),
        st.text("2019-:TZ+ä\n", max_size=25) | st.integers() | st.none(),
    )
)
def test_no_object_stops_the_reading(tmp_path_factory: pytest.TempPathFactory, fields: dict[str, object]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(lines_of(fields))
    ((_, outcome),) = read_documents(str(path))
    complete = all(isinstance(fields.get(name), str) for name in ("url", "timestamp", "text"))
    assert complete or isinstance(outcome, RejectedDocument)
