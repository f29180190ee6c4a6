"""From shards that img2dataset wrote to a dataset: nothing is requested, and every dropped link has a reason."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mmc4_pipeline.miniweb.serve import load_responses
from tests.end_to_end.running import MINIWEB, Web, contents, mmc4, refusal, succeeded
from tests.mmc4_pipeline.images.from_img2dataset.written_shards import Row, write_shard

MISSING = 7  # one image in this many is in none of the shards
MEASURED = ("key", "position", "url", "sha256", "byte_size", "format", "width", "height", "phash")


@pytest.fixture(scope="module")
def shards(web: Web, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of image shards of the miniature web, as img2dataset writes them without re-encoding."""
    folder = tmp_path_factory.mktemp("shards")
    rows = [
        Row(url, answer.body)
        if answer.status == 200 and answer.body
        else Row(url, None, "failed_to_download", f"HTTP Error {answer.status}: the server's words")
        for url, answer in load_responses(web.folder).items()
        if not url.endswith("/robots.txt")
    ]
    given = [row for number, row in enumerate(rows) if number % MISSING]
    for number in range(3):
        write_shard(folder, number, given[number::3])
    return folder


def arguments(web: Web, output: Path, shards: Path) -> list[str]:
    all_of_them = web.build_arguments(output)
    route = all_of_them.index("--image_routes")
    assert all_of_them.pop() == "--allow_private_hosts"  # without requests no route and no permission is needed
    return [*all_of_them[:route], *all_of_them[route + 2 :], "--images_from", str(shards)]


@pytest.fixture(scope="module")
def from_shards(web: Web, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the output folder of a build from these shards."""
    output = tmp_path_factory.mktemp("from_shards") / "out"
    succeeded(mmc4("build", *arguments(web, output, shards)))
    return output


def rows(output: Path) -> dict[tuple[str, int], dict[str, Any]]:
    tables = (pq.read_table(path) for path in sorted(output.glob("images/images-*.parquet")))
    return {(row["key"], row["position"]): row for table in tables for row in table.to_pylist()}


def in_shards(shards: Path) -> dict[str, str]:
    tables = (pq.read_table(path, columns=["url", "status"]) for path in sorted(shards.glob("*.parquet")))
    return {row["url"]: row["status"] for table in tables for row in table.to_pylist()}


def test_an_image_has_the_same_measurements_as_when_fetched(built: Path, from_shards: Path, shards: Path) -> None:
    fetched, found, has = rows(built), rows(from_shards), in_shards(shards)
    assert fetched.keys() == found.keys()
    same = [link for link, row in fetched.items() if row["sha256"] and has.get(row["url"]) == "success"]
    assert len(same) > 150
    assert [{name: found[link][name] for name in MEASURED} for link in same] == [
        {name: fetched[link][name] for name in MEASURED} for link in same
    ]


def test_images_missing_from_the_shards_are_dropped_with_that_reason(from_shards: Path, shards: Path) -> None:
    found, has = rows(from_shards), in_shards(shards)
    missing = {link for link, row in found.items() if row["url"].partition("#")[0] not in has}
    assert len(missing) > 20
    assert {link for link, row in found.items() if row["reason"] == "not_fetched"} == missing
    refused = [row for row in found.values() if row["reason"] == "http_error"]
    assert {row["http_status"] for row in refused} >= {403, 404, 410, 500}


def test_counts_add_up_down_to_the_dataset(from_shards: Path) -> None:
    images, pages = (
        json.loads((from_shards / stage / "manifest.json").read_text())["counts"] for stage in ("images", "pages")
    )
    assert images["links"]["in"] == pages["links"]["kept"] == len(rows(from_shards))
    reasons = Counter(row["reason"] for row in rows(from_shards).values())
    assert images["links"]["kept"] == reasons.pop(None) > 100
    assert images["links"]["dropped"] == reasons
    succeeded(mmc4("verify", str(from_shards / "dataset/miniweb")))


def test_a_resumed_run_writes_the_same_bytes_and_accepts_only_the_same_shards(
    from_shards: Path, shards: Path, tmp_path: Path
) -> None:
    half = shutil.copytree(from_shards, tmp_path / "half")
    assert not (half / "images/prefetched").exists()  # the index is removed when the stage is finished
    (half / "images/manifest.json").unlink()
    for path in [*(half / "images").glob("*-00001-of-*"), *(half / "images").glob("*/00001.json")]:
        path.unlink()
    recipe = ("--recipe", str(MINIWEB / "miniweb.yaml"), "--output", str(half), "--resume", "--images_from")
    other = write_shard(tmp_path / "more", 9, [Row("https://nobody.example/x.jpg")])
    assert "input.images_from" in refusal(mmc4("images", *recipe, str(shards), str(other)))
    succeeded(mmc4("images", *recipe, str(shards)))
    assert contents(half, "images/**/*") == contents(from_shards, "images/**/*")


def test_an_incomplete_shard_ends_the_run_with_one_line(built: Path, shards: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(shards, tmp_path / "shards")
    for stage in ("locations", "pages"):
        shutil.copytree(built / stage, tmp_path / "out" / stage)
    recipe = ("--recipe", str(MINIWEB / "miniweb.yaml"), "--output", str(tmp_path / "out"), "--images_from")
    (copy / "00001.parquet").write_bytes(b"PAR1")
    assert "00001.parquet: " in refusal(mmc4("images", *recipe, str(copy)))
    (copy / "00001.parquet").unlink()
    assert "00001.parquet: " in refusal(mmc4("images", *recipe, str(copy), "--resume"))
    assert "--images_from" in refusal(mmc4("images", *recipe, str(tmp_path / "none"), "--resume"))
