"""Builds of some of the documents: their pages are those of the whole build, and their dataset is a part of it."""

import gzip
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.end_to_end.running import Web, mmc4, refusal, succeeded


def pages(output: Path) -> dict[str, dict[str, object]]:
    """Return what the pages stage wrote, by key."""
    return {row["key"]: row for row in pq.read_table(sorted((output / "pages").glob("pages-*.parquet"))).to_pylist()}


@pytest.mark.parametrize("chosen", ["limit", "sample"])
def test_the_pages_of_some_documents_are_those_of_the_whole_build(
    web: Web, built: Path, tmp_path: Path, chosen: str
) -> None:
    succeeded(mmc4(*web.stage("locate", tmp_path, **{chosen: "20"})))
    succeeded(mmc4(*web.stage("pages", tmp_path)))
    some, whole = pages(tmp_path), pages(built)
    assert 10 < len(some) < len(whole)
    assert some == {key: whole[key] for key in some}


def test_no_stage_reads_on_after_the_last_document(web: Web, tmp_path: Path) -> None:
    content = b"".join(gzip.decompress(path.read_bytes()) for path in sorted((web.folder / "c4").glob("*.gz")))
    damaged = tmp_path / "c4.json.gz"
    damaged.write_bytes(gzip.compress(content) + b"no gzip")
    output = tmp_path / "out"
    succeeded(mmc4(*web.stage("locate", output, c4=str(damaged), limit="20")))
    succeeded(mmc4(*web.stage("pages", output)))
    assert pages(output)


def test_a_build_of_the_first_documents_is_a_subset(web: Web, tmp_path: Path) -> None:
    large = {"documents_per_shard": "1000"}  # both have one shard
    succeeded(mmc4("build", *web.build_arguments(tmp_path / "some", limit="20", **large)))
    out = succeeded(mmc4("build", *web.build_arguments(tmp_path / "all", **large))).stdout
    (report,) = re.findall(r"^report +(.*)$", out, re.MULTILINE)
    assert Path(report).is_file()
    some, whole = (str(next((tmp_path / name / "dataset").iterdir())) for name in ("some", "all"))
    succeeded(mmc4("verify", some, "--subset_of", whole))


def test_a_limit_is_refused_with_warc_files(web: Web, tmp_path: Path) -> None:
    message = refusal(mmc4("build", *web.build_arguments(tmp_path, c4=None, warcs="x.warc.gz", limit="20")))
    assert "--limit" in message
    assert "--warcs" in message
