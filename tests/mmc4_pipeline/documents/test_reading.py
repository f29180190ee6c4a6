"""C4 files: what is read, what is rejected, and the errors for broken files."""

import gzip
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.documents.choosing import document_files, inspect
from mmc4_pipeline.documents.fields import DocumentFields, parse_fields
from mmc4_pipeline.documents.reading import read_documents, read_references
from mmc4_pipeline.errors import UserError
from schemas.document import Document, DocumentReference, RejectedDocument
from schemas.reasons import Reason
from tests.mmc4_pipeline.file_server import INPUTS

GOOD = {"text": "One line.\nAnother: café.", "timestamp": "2019-04-25T12:57:54Z", "url": "https://a.example/ä"}


def lines_of(*documents: object) -> bytes:
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


def test_plain_and_gzip_give_the_same_documents(tmp_path: Path) -> None:
    content = lines_of(GOOD, {**GOOD, "url": "https://b.example/"})
    (tmp_path / "a.json").write_bytes(content)
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(content[:40]) + gzip.compress(content[40:]))  # two members
    plain = list(read_documents(INPUTS, str(tmp_path / "a.json")))
    packed = list(read_documents(INPUTS, str(tmp_path / "a.json.gz")))
    assert [source for source, _ in packed] == [f"{tmp_path}/a.json.gz:1", f"{tmp_path}/a.json.gz:2"]
    assert [document for _, document in plain] == [document for _, document in packed]
    first = plain[0][1]
    assert isinstance(first, Document)
    assert (first.url, first.text) == (GOOD["url"], GOOD["text"])
    assert first.timestamp == datetime(2019, 4, 25, 12, 57, 54, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        (b'{"text": "\\ud83d", "url": NaN', "not valid JSON"),
        (b'{"text": "\\ud83d' + b"[" * 100_000, "not valid JSON"),
        (b'["\\ud83d"]', "not valid JSON"),
        (b'{"text": "caf\xe9"}', "not valid JSON"),
        (b'{"text": "cut off', "not valid JSON"),
        (b"\xff\xfe{}", "not valid JSON"),
        (b"", "not valid JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (lines_of({**GOOD, "text": None}).strip(), "field 'text'"),
        (lines_of({**GOOD, "timestamp": 1556197074}).strip(), "field 'timestamp'"),
        (lines_of({**GOOD, "url": ["https://a.example/"]}).strip(), "field 'url'"),
        (lines_of({"text": "t", "url": "https://a.example/ä"}).strip(), "field 'timestamp'"),
        (lines_of({**GOOD, "timestamp": "yesterday"}).strip(), "'yesterday'"),
        (lines_of({**GOOD, "timestamp": "0001-01-01T00:00:00+14:00"}).strip(), "ISO 8601"),
    ],
)
def test_a_bad_line_loses_only_itself(tmp_path: Path, line: bytes, detail: str) -> None:
    path = tmp_path / "c4.json"
    path.write_bytes(lines_of(GOOD) + line + b"\n" + lines_of(GOOD))
    (_, before), (source, rejected), (_, after) = read_documents(INPUTS, str(path))
    assert isinstance(before, Document)
    assert before == after
    assert isinstance(rejected, RejectedDocument)
    assert rejected.source == source == f"{path}:2"
    assert rejected.reason == Reason.INVALID_DOCUMENT.value
    assert detail in rejected.detail


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_gzip_file_truncated_is_an_error_that_names_file_and_line(tmp_path: Path, share: float) -> None:
    documents = [{**GOOD, "url": f"https://a.example/{number}"} for number in range(500)]
    whole = gzip.compress(lines_of(*documents))
    path = tmp_path / "c4.json.gz"
    path.write_bytes(whole[: int(len(whole) * share)])
    read = []
    with pytest.raises(UserError, match=r"c4\.json\.gz: .* line \d+") as caught:
        read.extend(read_documents(INPUTS, str(path)))
    assert f"after line {len(read)} " in str(caught.value)


@pytest.mark.parametrize("content", [b"no gzip at all\n", gzip.compress(lines_of(GOOD))[:-6] + b"wrong!"])
def test_a_corrupt_gzip_file_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c4.json.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"c4\.json\.gz: .* line \d"):
        list(read_documents(INPUTS, str(path)))


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.json"):
        list(read_documents(INPUTS, str(tmp_path / "gone.json")))


def test_patterns_name_each_file_once_in_order(tmp_path: Path) -> None:
    for name in ("b.json", "a.json", "c.txt"):
        (tmp_path / name).touch()
    found = document_files(INPUTS, [f"{tmp_path}/*.json", f"{tmp_path}/b.json"])
    assert found == [f"{tmp_path}/a.json", f"{tmp_path}/b.json"]
    with pytest.raises(UserError, match=r"--c4 .*\*\.parquet"):
        document_files(INPUTS, [f"{tmp_path}/*.json", f"{tmp_path}/*.parquet"])


@given(
    st.dictionaries(
        st.sampled_from(["url", "timestamp", "text", "x"]),
        st.text("2019-:TZ+ä\n", max_size=25) | st.integers() | st.none(),
    )
)
def test_no_object_stops_the_reading(tmp_path_factory: pytest.TempPathFactory, fields: dict[str, object]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(lines_of(fields))
    ((_, outcome),) = read_documents(INPUTS, str(path))
    complete = all(isinstance(fields.get(name), str) for name in ("url", "timestamp", "text"))
    assert complete or isinstance(outcome, RejectedDocument)


# A writer that checks nothing: the second string is no UTF-8.
NOT_ALL_UTF_8 = pa.StringArray.from_buffers(3, *pa.array([b"https://a.example/1", b"\xff\xfe", b"u"]).buffers()[1:])
FIELDS = DocumentFields(text="content", url="uri", timestamp="date")


def parquet(path: Path, **changed: pa.Array) -> Path:
    """Write three documents and a column that is not needed, in row groups of two."""
    columns = {
        "id": pa.array([1, 2, 3]),
        "content": pa.array(["One.", "Two.", "Three."]),
        "date": pa.array(["2019-04-25T12:57:54Z"] * 3),
        "uri": pa.array(["https://a.example/1", "https://a.example/2", "https://a.example/3"]),
    }
    pq.write_table(pa.table(columns | changed), path, row_group_size=2)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.json.gz", "a.jsonl.zst", "a.parquet"])
def test_every_format_gives_the_same_documents(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.parquet":
        parquet(path)
    else:
        rows = pq.read_table(parquet(tmp_path / "rows.parquet")).to_pylist()
        packed = {".gz": gzip.compress, ".zst": zstandard.compress}.get(path.suffix, bytes)
        path.write_bytes(packed(lines_of(*rows[:1])) + packed(lines_of(*rows[1:])))  # two members, two frames
    read = list(read_documents(INPUTS, str(path), FIELDS))
    assert [source for source, _ in read] == [f"{path}:{number}" for number in (1, 2, 3)]
    documents = [document for _, document in read if isinstance(document, Document)]
    assert [(document.url[-1], document.text) for document in documents] == [
        ("1", "One."),
        ("2", "Two."),
        ("3", "Three."),
    ]
    references = list(read_references(INPUTS, str(path), FIELDS))
    assert references == [
        (number, DocumentReference(document.key, document.url, document.timestamp, f"{path}:{number}"))
        for number, document in enumerate(documents, start=1)
    ]
    size, expected = inspect(INPUTS, str(path), FIELDS)
    assert (size, expected) == (path.stat().st_size, 3)


def test_references_are_read_from_parquet_without_the_texts(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet")
    content = bytearray(path.read_bytes())
    chunk = pq.read_metadata(path).row_group(0).column(1)
    start = chunk.dictionary_page_offset
    content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(content)
    assert [number for number, _ in read_references(INPUTS, str(path), FIELDS)] == [1, 2, 3]
    with pytest.raises(UserError, match=r"a\.parquet: .* row 0 .*download it again"):
        list(read_documents(INPUTS, str(path), FIELDS))


@pytest.mark.parametrize("unit", ["s", "ms", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/Lima"])
def test_a_parquet_timestamp_is_a_moment_too(tmp_path: Path, unit: str, zone: str | None) -> None:
    moment = int(datetime(2019, 4, 25, 12, 57, 54, tzinfo=UTC).timestamp())
    dates = pa.array([moment] * 3, pa.timestamp("s", zone)).cast(pa.timestamp(unit, zone))
    path = parquet(tmp_path / "a.parquet", date=dates)
    read = [document for _, document in read_documents(INPUTS, str(path), FIELDS)]
    assert [item.timestamp for item in read if isinstance(item, Document)] == [
        datetime(2019, 4, 25, 12, 57, 54, tzinfo=UTC)
    ] * 3


@pytest.mark.parametrize(
    ("column", "values", "detail"),
    [
        ("uri", pa.array(["https://a.example/1", None, "https://a.example/3"]), "field 'url'"),
        ("content", pa.array(["One.", None, "Three."]), "field 'text'"),
        ("date", pa.array(["2019-04-25T12:57:54Z", "soon", "2019-04-25T12:57:54Z"]), "'soon'"),
        ("date", pa.array([0, None, 0], pa.timestamp("s")), "field 'timestamp'"),
        ("date", pa.array([0, 1 << 50, 0], pa.timestamp("s")), "field 'timestamp'"),
        ("uri", NOT_ALL_UTF_8, "field 'url'"),
    ],
)
def test_a_bad_row_loses_only_itself(tmp_path: Path, column: str, values: pa.Array, detail: str) -> None:
    path = parquet(tmp_path / "a.parquet", **{column: values})
    read = list(read_documents(INPUTS, str(path), FIELDS))
    assert [isinstance(document, Document) for _, document in read] == [True, False, True]
    source, rejected = read[1]
    assert isinstance(rejected, RejectedDocument)
    assert rejected.source == source == f"{path}:2"
    assert detail in rejected.detail


def test_fields_that_are_not_there_are_refused_with_those_that_are(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet: .*'text'.* id, content, date, uri\b.*--c4_fields"):
        inspect(INPUTS, str(path), DocumentFields())
    with pytest.raises(UserError, match=r"'date_download'.* id, content, date, uri\b"):
        inspect(INPUTS, str(path), replace(FIELDS, timestamp="date_download"))
    (tmp_path / "a.json").write_bytes(lines_of(*pq.read_table(path).to_pylist()))
    with pytest.raises(UserError, match=r"a\.json: .*'text'.* id, content, date, uri\b"):
        inspect(INPUTS, str(tmp_path / "a.json"), DocumentFields())


@pytest.mark.parametrize(
    ("column", "kind"), [("uri", pa.binary()), ("content", pa.list_(pa.string())), ("date", pa.int64())]
)
def test_a_column_of_another_kind_is_refused(tmp_path: Path, column: str, kind: pa.DataType) -> None:
    path = parquet(tmp_path / "a.parquet", **{column: pa.nulls(3, kind)})
    with pytest.raises(UserError, match=rf"a\.parquet: .*'{column}'.*--c4_fields"):
        inspect(INPUTS, str(path), FIELDS)


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", b"{}\n"])
def test_what_is_no_parquet_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.parquet: not a valid Parquet file .*download it again"):
        inspect(INPUTS, str(path), FIELDS)


def test_a_zstd_file_truncated_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(zstandard.compress(lines_of(*([GOOD] * 500)))[:-20])
    with pytest.raises(UserError, match=r"a\.jsonl\.zst: .* line \d+"):
        list(read_documents(INPUTS, str(path)))


def test_how_many_documents_a_file_has_is_told_from_its_beginning(tmp_path: Path) -> None:
    documents = [{**GOOD, "url": f"https://a.example/{number * 7919 % 10_007}"} for number in range(20_000)]
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(lines_of(*documents), 1))
    assert inspect(INPUTS, str(path), DocumentFields())[1] == pytest.approx(20_000, rel=0.1)
    (tmp_path / "empty.json").touch()
    assert inspect(INPUTS, str(tmp_path / "empty.json"), DocumentFields()) == (0, 0)
    (tmp_path / "no.json.gz").write_bytes(b"no gzip" * 9000)  # reading reports it, with the line
    assert inspect(INPUTS, str(tmp_path / "no.json.gz"), DocumentFields()) == (63_000, 70)


@pytest.mark.parametrize("pair", ["url", "url=", "title=name", "=x"])
def test_field_names_that_make_no_sense_are_refused(pair: str) -> None:
    with pytest.raises(UserError, match=f"--c4_fields {pair}: must be NAME=COLUMN"):
        parse_fields(["text=content", pair])
    assert parse_fields(["text=content", "timestamp=date"]) == DocumentFields("content", "url", "date")


BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (BOM + lines_of(GOOD), GOOD["text"]),
        (lines_of({**GOOD, "text": "a \ud83d b"}), "a \ufffd b"),
        (lines_of({**GOOD, "text": "\udc00"}), "\ufffd"),
        (lines_of({**GOOD, "text": "a \ude00\ud83d b"}), "a \ufffd\ufffd b"),
        (lines_of({**GOOD, "text": "\ud83d\ude00 \ud83d"}), "\U0001f600 \ufffd"),
        (BOM + lines_of({**GOOD, "text": "a \udfff", "other": 1}), "a \ufffd"),
        (lines_of({**GOOD, "other": "\ud800"}), GOOD["text"]),
        (json.dumps({**GOOD, "text": "a \ud83d"}, ensure_ascii=False).encode("utf-8", "surrogatepass"), "a \ufffd"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_byte_order_marks_and_lone_surrogates_lose_nothing(
    tmp_path: Path, line: bytes, text: str, *, first: bool
) -> None:
    path, good = tmp_path / "c4.json", lines_of(GOOD)
    path.write_bytes(line.strip() + b"\n" + good if first else good + line)
    assert inspect(INPUTS, str(path), DocumentFields())[1] in (1, 2)
    documents = [document for _, document in read_documents(INPUTS, str(path))]
    assert [getattr(document, "text", document) for document in documents] == (
        [text, GOOD["text"]] if first else [GOOD["text"], text]
    )
    references = [reference for _, reference in read_references(INPUTS, str(path))]
    assert [reference.key for reference in references] == [document.key for document in documents]


LINE = lines_of(GOOD).strip()


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (LINE[:-1] + b', "score": NaN}', GOOD["text"]),
        (LINE[:-1] + b', "score": -Infinity, "other": [1e999]}', GOOD["text"]),
        (LINE[:-1] + b', "id": ' + b"9" * 4000 + b"}", GOOD["text"]),
        (LINE[:-1] + b', "text": "last"}', "last"),  # as in all readers
        (LINE.replace(b"One line.", b"One\tline\x01."), "One\tline\x01.\nAnother: caf\u00e9."),
        (LINE.replace(b"One line.", b"One\\u0000line."), "One\x00line.\nAnother: caf\u00e9."),
        (b" \t" + LINE + b" \r", GOOD["text"]),
    ],
)
def test_what_most_readers_of_json_read_is_read(tmp_path: Path, line: bytes, text: str) -> None:
    path = tmp_path / "c4.json"
    path.write_bytes(line + b"\n" + lines_of(GOOD))
    first, second = (document for _, document in read_documents(INPUTS, str(path)))
    assert [getattr(document, "text", document) for document in (first, second)] == [text, GOOD["text"]]


def test_a_lone_surrogate_in_a_url_is_an_unusual_url_only(tmp_path: Path) -> None:
    path = tmp_path / "c4.json"
    path.write_bytes(lines_of({**GOOD, "url": "https://a.example/\ud800"}))
    ((_, document),) = read_documents(INPUTS, str(path))
    assert isinstance(document, Document)
    assert document.url == "https://a.example/\ufffd"
