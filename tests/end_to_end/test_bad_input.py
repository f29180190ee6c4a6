"""Bad input ends in a message of one line or in a counted drop, never in a traceback."""

import gzip
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.end_to_end.running import Run, Web, mmc4, refusal, start, succeeded


def locate(web: Web, output: Path, **changed: str) -> list[str]:
    options = {
        "c4": str(web.folder / "c4/*.json.gz"),
        "cc_root": str(web.folder / "commoncrawl"),
        "output": str(output),
    }
    return ["locate", *(word for name, value in (options | changed).items() for word in (f"--{name}", value))]


def c4_lines(web: Web) -> list[bytes]:
    return [line for path in sorted((web.folder / "c4").glob("*.gz")) for line in gzip.open(path).read().splitlines()]


def rejects(output: Path, stage: str) -> list[dict[str, Any]]:
    return [row for path in sorted((output / stage).glob("rejects-*")) for row in pq.read_table(path).to_pylist()]


def test_invalid_documents_are_counted_and_named_with_their_line(web: Web, tmp_path: Path) -> None:
    lines = c4_lines(web)
    broken = [
        b"{no json",
        b"[]",
        b'{"url": "http://a.example/", "text": "no time"}',
        lines[0].replace(b'"20', b'"yesterday 20'),
    ]
    shard = tmp_path / "shard.json"
    shard.write_bytes(b"\n".join([lines[0], *broken, *lines[1:]]) + b"\n")
    succeeded(mmc4(*locate(web, tmp_path / "out", c4=str(shard))))
    found = {row["source"].rpartition(":")[2]: row["detail"] for row in rejects(tmp_path / "out", "locations")}
    assert "JSON" in found["2"]
    assert "JSON object" in found["3"]
    assert "'timestamp'" in found["4"]
    assert "ISO 8601" in found["5"]
    counts = json.loads((tmp_path / "out/locations/manifest.json").read_text())["counts"]["documents"]
    assert counts["in"] == len(lines) + len(broken)
    assert counts["dropped"]["invalid_document"] == len(broken)


def test_the_same_document_twice_is_counted_once(web: Web, tmp_path: Path) -> None:
    lines = c4_lines(web)
    (tmp_path / "shard.json").write_bytes(b"\n".join([*lines, *lines]) + b"\n")
    succeeded(mmc4(*locate(web, tmp_path / "out", c4=str(tmp_path / "shard.json"))))
    counts = json.loads((tmp_path / "out/locations/manifest.json").read_text())["counts"]["documents"]
    assert counts["dropped"]["duplicate_document"] == len(lines)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_truncated_shard_is_named_with_the_line(web: Web, tmp_path: Path, workers: str) -> None:
    whole = gzip.compress(b"\n".join(c4_lines(web)), mtime=0)
    (tmp_path / "shard.json.gz").write_bytes(whole[: len(whole) // 2])
    arguments = locate(web, tmp_path / "out", c4=str(tmp_path / "shard.json.gz"), direct_num_workers=workers)
    with start(*arguments) as process:  # in a process of its own, whose stderr is also that of Beam and its workers
        stdout, stderr = process.communicate()
    message = refusal(Run(process.returncode, stdout, stderr))
    assert re.search(r"shard\.json\.gz: .* line \d+", message)


def test_missing_input(web: Web, tmp_path: Path) -> None:
    assert "--c4 nowhere/*.gz: " in refusal(mmc4(*locate(web, tmp_path / "a", c4="nowhere/*.gz")))
    assert "--cc_root" in refusal(mmc4(*locate(web, tmp_path / "b", cc_root=str(tmp_path))))
    assert "CC-MAIN-1999-01" in refusal(mmc4(*locate(web, tmp_path / "c", crawl="CC-MAIN-1999-01")))
    assert "`mmc4 pages`" in refusal(mmc4("images", "--output", str(tmp_path / "d"), "--allow_private_hosts"))
    assert "--output" in refusal(mmc4("images", "--allow_private_hosts"))
    assert "--recipe?" in refusal(mmc4("images", "--recpie", "mmc4"))


@pytest.mark.parametrize("content", [b"", b"{}\n"])
def test_an_input_without_documents(web: Web, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "empty.json").write_bytes(content)
    message = refusal(mmc4(*locate(web, tmp_path / "out", c4=str(tmp_path / "empty.json"))))
    assert "--c4" in message


def index_with(web: Web, folder: Path, change: Any) -> Path:
    """Copy the web's Common Crawl and change the tables of its index with `change`."""
    shutil.copytree(web.folder / "commoncrawl", folder)
    for path in folder.glob("cc-index/**/*.parquet"):
        pq.write_table(change(pq.read_table(path, partitioning=None)), path)
    return folder


def test_an_index_without_a_needed_column(web: Web, tmp_path: Path) -> None:
    root = index_with(web, tmp_path / "cc", lambda table: table.drop_columns(["warc_record_offset"]))
    message = refusal(mmc4(*locate(web, tmp_path / "out", cc_root=str(root))))
    assert re.search(r"\.parquet: .*'warc_record_offset'", message)


def test_an_index_that_is_not_parquet(web: Web, tmp_path: Path) -> None:
    root = index_with(web, tmp_path / "cc", lambda table: table)
    path = next(root.glob("cc-index/**/*.parquet"))
    path.write_bytes(b"PAR1 and nothing else")
    assert f"{path.name}: " in refusal(mmc4(*locate(web, tmp_path / "out", cc_root=str(root))))


def test_an_index_column_of_the_wrong_type(web: Web, tmp_path: Path) -> None:
    def as_text(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index("fetch_time")
        return table.set_column(at, "fetch_time", table["fetch_time"].cast(pa.string()))

    root = index_with(web, tmp_path / "cc", as_text)
    message = refusal(mmc4(*locate(web, tmp_path / "out", cc_root=str(root))))
    assert re.search(r"\.parquet: .*'fetch_time' .*string", message)


def test_an_index_without_rows(web: Web, tmp_path: Path) -> None:
    root = index_with(web, tmp_path / "cc", lambda table: table.slice(0, 0))
    message = refusal(mmc4(*locate(web, tmp_path / "out", cc_root=str(root))))
    assert re.search(r"\.parquet: .*--cc_root and --crawl", message)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_index_that_is_damaged_in_the_middle(web: Web, tmp_path: Path, workers: str) -> None:
    root = index_with(web, tmp_path / "cc", lambda table: table)
    path = next(root.glob("cc-index/**/*.parquet"))
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 2] = b"\xff" * (len(content) // 2 - 4)
    path.write_bytes(content)
    arguments = locate(web, tmp_path / "out", cc_root=str(root), direct_num_workers=workers)
    with start(*arguments) as process:
        stdout, stderr = process.communicate()
    message = refusal(Run(process.returncode, stdout, stderr))
    assert f"{path.name}: row group 0 " in message


def test_documents_in_parquet_with_other_column_names(web: Web, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in c4_lines(web)]
    columns = {"uri": "url", "date": "timestamp", "text": "text"}
    table = pa.table({name: [row[field] for row in rows] for name, field in columns.items()})
    pq.write_table(table, tmp_path / "fine.parquet")
    message = refusal(mmc4(*locate(web, tmp_path / "a", c4=str(tmp_path / "fine.parquet"))))
    assert re.search(r"fine\.parquet: .*'url' .*uri, date, text", message)
    assert "--c4_fields" in message
    output, names = tmp_path / "b", ("--c4_fields", "url=uri", "timestamp=date")
    succeeded(mmc4(*locate(web, output, c4=str(tmp_path / "fine.parquet")), *names))
    succeeded(mmc4("pages", "--output", str(output)))  # reads the texts with the names that locate was given
    counts = json.loads((output / "pages/manifest.json").read_text())["counts"]["documents"]
    assert counts["kept"] > 0
    assert "no_text" not in counts["dropped"]
    content = (tmp_path / "fine.parquet").read_bytes()
    (tmp_path / "short.parquet").write_bytes(content[: len(content) // 2])
    message = refusal(mmc4(*locate(web, tmp_path / "c", c4=str(tmp_path / "short.parquet")), *names))
    assert "short.parquet: " in message


def test_an_offset_beyond_the_end_of_the_file(web: Web, tmp_path: Path) -> None:
    def shift_one(table: pa.Table) -> pa.Table:
        offsets = table["warc_record_offset"].to_pylist()
        offsets[0] = 1 << 30
        return table.set_column(table.schema.get_field_index("warc_record_offset"), "warc_record_offset", [offsets])

    root = index_with(web, tmp_path / "cc", shift_one)
    output = tmp_path / "out"
    succeeded(mmc4(*locate(web, output, cc_root=str(root))))
    succeeded(mmc4("pages", "--output", str(output)))
    assert {row["reason"] for row in rejects(output, "pages")} <= {"page_unreadable"}


@pytest.mark.parametrize("source", ["warc", "wat", "warc_scan"])
def test_a_truncated_warc_or_wat_file_loses_only_the_missing_pages(web: Web, tmp_path: Path, source: str) -> None:
    root, output = tmp_path / "cc", tmp_path / "out"
    shutil.copytree(web.folder / "commoncrawl", root)
    kind = "wat" if source == "wat" else "warc"
    path = min(root.glob(f"crawl-data/**/{kind}/*.gz"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    succeeded(mmc4(*locate(web, output, cc_root=str(root))))
    succeeded(mmc4("pages", "--output", str(output), "--page_source", source))
    counts = json.loads((output / "pages/manifest.json").read_text())["counts"]["documents"]
    lost = counts["dropped"]["page_unreadable"]
    assert 0 < lost < counts["in"] / 2
    assert len([row for row in rejects(output, "pages") if row["reason"] == "page_unreadable"]) == lost


def test_a_common_crawl_without_its_warc_files(web: Web, tmp_path: Path) -> None:
    root, output = tmp_path / "cc", tmp_path / "out"
    shutil.copytree(web.folder / "commoncrawl/cc-index", root / "cc-index")
    succeeded(mmc4(*locate(web, output, cc_root=str(root))))
    message = refusal(mmc4("pages", "--output", str(output)))
    assert re.search(r"https?://.*\.warc\.gz", message)


def test_missing_weights_end_the_run_before_a_page_is_read(web: Web, tmp_path: Path) -> None:
    output = tmp_path / "out"

    def build(**changed: str) -> str:
        return refusal(mmc4("build", *web.build_arguments(output, **changed)))

    assert "--clip_pretrained nonsense: " in build(clip_model="ViT-B-32", clip_pretrained="nonsense")
    assert "ViT-Z-99" in build(clip_model="ViT-Z-99")
    assert "nowhere.pt: " in build(nsfw_weights=str(tmp_path / "nowhere.pt"))
    (tmp_path / "head.pt").write_bytes(b"no weights")
    assert re.search(r"head\.pt: .*NsfwHead", build(nsfw_weights=str(tmp_path / "head.pt")))
    without_nsfw = web.build_arguments(output)
    del without_nsfw[(at := without_nsfw.index("--nsfw_weights")) : at + 2]
    message = refusal(mmc4("build", *without_nsfw))
    assert re.search(r"filters\.nsfw .*--nsfw_weights.*nsfw_torch\.pt", message)
    assert not output.exists()


def test_invalid_recipes_and_routes(web: Web, tmp_path: Path) -> None:
    def build(**changed: str) -> str:
        return refusal(mmc4("build", *web.build_arguments(tmp_path / "out", **changed)))

    assert re.search("'min_sid'.*min_side", build(set="filters.resolution.min_sid=3"))
    assert "recipe mmc5: " in build(recipe="mmc5")
    assert "{url}" in build(image_routes="http://127.0.0.1/")
    assert "{url} and {timestamp}" in build(image_routes="http://127.0.0.1/{url}/{page}")
