"""Files that were made to do harm are refused or cost one row, without the memory that they ask for."""

import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.published import lines, parquet
from mmc4_pipeline.published.files import LAYOUTS, find_published, read_published
from mmc4_pipeline.published.lines import rows_of_lines
from tests.mmc4_pipeline.file_server import INPUTS
from tests.mmc4_pipeline.published.published_rows import MINT1T, MMC4, OBELICS, documents
from tests.mmc4_pipeline.published.published_rows import parquet as written


def zipped(content: bytes, members: int = 1) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(members):
            archive.writestr(f"{number}.jsonl", content)
    return buffer.getvalue()


def zipped_as_large(content: bytes, members: int = 1) -> bytes:
    """Return an archive in zip64 format, which has numbers of 64 bits, as one of 4 GB and more has them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zipfile, "ZIP64_LIMIT", 10)
        made = zipped(content, members)
    assert b"PK\6\6" in made
    return made


@pytest.mark.parametrize(("name", "compress"), [("a.jsonl.gz", gzip.compress), ("a.jsonl.zip", zipped)])
def test_a_file_that_expands_without_bounds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, compress: Any
) -> None:
    path = tmp_path / name
    path.write_bytes(compress((b" " * (1 << 20) + b"\n") * 4))
    assert len(list(rows_of_lines(INPUTS, str(path)))) == 4  # small files may expand
    monkeypatch.setattr(lines, "_ALWAYS_ALLOWED", 1 << 20)
    with pytest.raises(UserError, match=r"a\.jsonl.*200"):
        list(rows_of_lines(INPUTS, str(path)))


def test_a_long_line_costs_itself_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 2000)
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(["x" * 100_000, json.dumps(MMC4), "y" * 2001, json.dumps(MMC4)]))
    assert [isinstance(row, str) for row in rows_of_lines(INPUTS, str(path))] == [True, False, True, False]


def changed(content: bytes, mark: bytes, offset: int, other: bytes) -> bytes:
    """Replace some bytes at an offset after the last mark."""
    at = content.rindex(mark) + offset
    return content[:at] + other + content[at + len(other) :]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\3\4 no archive",
        zipped(b"{}\n")[:-30],
        zipped(json.dumps(MMC4).encode() * 100)[:200],
        zipped(b"{}\n", 20_000),
        b"PK\6\7" + bytes(16) + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 46, 0, 0),
        zipped_as_large(b"{}\n", 20_000),
        zipped_as_large(b"{}\n")[:-30],
        changed(zipped_as_large(b"{}\n"), b"PK\6\6", 48, b"\xff" * 8),
        changed(changed(zipped(b"{}\n"), b"PK\1\2", 9, b"\x08"), b"PK\1\2", 46, b"\xff"),
    ],
    ids=[
        *("empty", "not a zip", "no end", "cut", "too many members", "no zip64"),
        *("zip64, too many members", "zip64, no end", "zip64, impossible offset", "impossible name"),
    ],
)
def test_a_broken_zip_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jsonl.zip"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.jsonl\.zip"):
        list(rows_of_lines(INPUTS, str(path)))


def test_a_truncated_file_is_reported_with_its_last_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(json.dumps(MMC4 | {"n": n}).encode() + b"\n" for n in range(999)))[:-9])
    with pytest.raises(UserError, match=r"after line \d+"):
        list(rows_of_lines(INPUTS, str(path)))


@pytest.mark.parametrize("compress", [zipped, zipped_as_large])
def test_members_of_a_zip_follow_one_another(tmp_path: Path, compress: Callable[[bytes, int], bytes]) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(compress(json.dumps(MMC4).encode() + b"\n", 3))
    assert len(documents(path)) == 3


def test_a_text_that_is_repeated_a_million_times_is_never_made(tmp_path: Path) -> None:
    long = "x" * 1_000_000
    places = pa.array([0] * 100_000 + [None, 1, None, 1], pa.int32())
    texts = pa.DictionaryArray.from_arrays(places, [long, "One."])
    table = pa.table(
        {
            "url": [MINT1T["url"]] * 2,
            "images": pa.array([[None] * 100_000, MINT1T["images"]], pa.list_(pa.string())),
            "texts": pa.ListArray.from_arrays(pa.array([0, 100_000, 100_004]), texts),
        }
    )
    path = tmp_path / "a.parquet"
    pq.write_table(table, path)
    assert path.stat().st_size < 2_000_000
    huge, other = documents(path)
    assert isinstance(huge, str)
    assert not isinstance(other, str)


def test_a_row_group_of_too_many_values_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.parquet", MINT1T)
    monkeypatch.setattr(parquet, "_MAX_VALUES", 3)
    with pytest.raises(UserError, match=r"a\.parquet"):
        documents(path)


def test_bytes_that_are_not_utf8_cost_their_row_only(tmp_path: Path) -> None:
    texts = pa.array([[b"One.", None], [b"\xff", None]], pa.list_(pa.binary())).cast(pa.list_(pa.string()), safe=False)
    images = pa.array([[None, "https://i.example/a.jpg"]] * 2, pa.list_(pa.string()))
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"url": ["https://a.example/"] * 2, "images": images, "texts": texts}), path)
    assert [isinstance(document, str) for document in documents(path)] == [False, True]


def test_a_truncated_parquet_file_is_one_clear_error(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", OBELICS)
    content = bytearray(path.read_bytes())
    content[4:200] = bytes(196)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.parquet.*after row 0"):
        list(read_published(INPUTS, str(path), LAYOUTS["obelics"]))


@pytest.mark.parametrize(
    ("name", "row", "found"),
    [
        ("a.jsonl", {"text": "C4's.", "url": "u", "timestamp": "t"}, ["text (text)", "url (text)", "timestamp (text)"]),
        ("a.jsonl", {"url": "u", "text_list": "One.", "image_info": []}, ["text_list (text)"]),
        ("a.parquet", {"url": "u", "text_list": ["One."], "image_info": [{"raw_url": "i"}]}, ["image_info (other)"]),
        ("a.parquet", MINT1T | {"images": [{"bytes": b"j", "path": "p"}]}, ["images (other)", "texts (list)"]),
        ("a.parquet", MINT1T | {"url": 5}, ["url (other)"]),
    ],
)
def test_another_layout_is_refused_with_the_fields_that_were_found(
    tmp_path: Path, name: str, row: dict[str, Any], found: list[str]
) -> None:
    path = tmp_path / name
    if name.endswith(".parquet"):
        written(path, row)
    else:
        path.write_text(json.dumps(row))
    with pytest.raises(UserError) as refused:
        find_published(INPUTS, [str(path)])
    for part in [*found, str(path), *LAYOUTS]:
        assert part in str(refused.value)


def test_files_of_one_layout_are_one_dataset(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text("nonsense\n" + json.dumps(MMC4))
    (tmp_path / "a.jsonl").write_text("")
    found = find_published(INPUTS, [str(tmp_path / "*.jsonl")])
    assert found.layout == "mmc4"
    assert [Path(path).name for path in found.sizes] == ["a.jsonl", "b.jsonl"]
    written(tmp_path / "c.parquet", OBELICS)
    for patterns in (["*"], ["a.jsonl"], ["*.gone"]):
        with pytest.raises(UserError, match="--published"):
            find_published(INPUTS, [str(tmp_path / pattern) for pattern in patterns])
