"""Images out of shards that img2dataset made, down to a dataset: nothing is asked for, every link has a reason."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mmc4_pipeline.miniweb.serve import load_answers
from tests.end_to_end.running import MINIWEB, Web, contents, mmc4, refusal, succeeded
from tests.mmc4_pipeline.images.from_img2dataset.written_shards import Row, write_shard

MISSING = 7  # every so many images are in none of the shards
MEASURED = ("key", "position", "url", "sha256", "byte_size", "format", "width", "height", "phash")


@pytest.fixture(scope="module")
def shards(web: Web, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder of image shards of the miniature web, as img2dataset has them where it encodes nothing anew."""
    folder = tmp_path_factory.mktemp("shards")
    rows = [
        Row(url, answer.body)
        if answer.status == 200 and answer.body
        else Row(url, None, "failed_to_download", f"HTTP Error {answer.status}: what its server said")
        for url, answer in load_answers(web.folder).items()
        if not url.endswith("/robots.txt")
    ]
    given = [row for number, row in enumerate(rows) if number % MISSING]
    for number in range(3):
        write_shard(folder, number, given[number::3])
    return folder


def arguments(web: Web, output: Path, shards: Path) -> list[str]:
    all_of_them = web.build_arguments(output)
    route = all_of_them.index("--image_routes")
    assert all_of_them.pop() == "--allow_private_hosts"  # who asks for nothing needs no address and no leave
    return [*all_of_them[:route], *all_of_them[route + 2 :], "--images_from", str(shards)]


@pytest.fixture(scope="module")
def taken(web: Web, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the output folder of a build from these shards."""
    output = tmp_path_factory.mktemp("taken") / "out"
    succeeded(mmc4("build", *arguments(web, output, shards)))
    return output


def rows(output: Path) -> dict[tuple[str, int], dict[str, Any]]:
    tables = (pq.read_table(path) for path in sorted(output.glob("images/images-*.parquet")))
    return {(row["key"], row["position"]): row for table in tables for row in table.to_pylist()}


def in_shards(shards: Path) -> dict[str, str]:
    tables = (pq.read_table(path, columns=["url", "status"]) for path in sorted(shards.glob("*.parquet")))
    return {row["url"]: row["status"] for table in tables for row in table.to_pylist()}


def test_an_image_measures_as_it_does_when_fetched(built: Path, taken: Path, shards: Path) -> None:
    fetched, found, has = rows(built), rows(taken), in_shards(shards)
    assert fetched.keys() == found.keys()
    same = [link for link, row in fetched.items() if row["sha256"] and has.get(row["url"]) == "success"]
    assert len(same) > 150
    assert [{name: found[link][name] for name in MEASURED} for link in same] == [
        {name: fetched[link][name] for name in MEASURED} for link in same
    ]


def test_what_the_shards_lack_is_dropped_with_that_reason(taken: Path, shards: Path) -> None:
    found, has = rows(taken), in_shards(shards)
    lacking = {link for link, row in found.items() if row["url"].partition("#")[0] not in has}
    assert len(lacking) > 20
    assert {link for link, row in found.items() if row["reason"] == "not_fetched"} == lacking
    refused = [row for row in found.values() if row["reason"] == "http_error"]
    assert {row["http_status"] for row in refused} >= {403, 404, 410, 500}


def test_counts_add_up_down_to_the_dataset(taken: Path) -> None:
    images, pages = (
        json.loads((taken / stage / "manifest.json").read_text())["counts"] for stage in ("images", "pages")
    )
    assert images["links"]["in"] == pages["links"]["kept"] == len(rows(taken))
    reasons = Counter(row["reason"] for row in rows(taken).values())
    assert images["links"]["kept"] == reasons.pop(None) > 100
    assert images["links"]["dropped"] == reasons
    succeeded(mmc4("verify", str(taken / "dataset/miniweb")))


def test_a_run_that_was_stopped_goes_on_to_the_same_bytes_and_only_with_the_same_shards(
    taken: Path, shards: Path, tmp_path: Path
) -> None:
    half = shutil.copytree(taken, tmp_path / "half")
    assert not (half / "images/prefetched").exists()  # the index is of no use once all is taken
    (half / "images/manifest.json").unlink()
    for path in [*(half / "images").glob("*-00001-of-*"), *(half / "images").glob("*/00001.json")]:
        path.unlink()
    recipe = ("--recipe", str(MINIWEB / "miniweb.yaml"), "--output", str(half), "--resume", "--images_from")
    other = write_shard(tmp_path / "more", 9, [Row("https://nobody.example/x.jpg")])
    assert "input.images_from" in refusal(mmc4("images", *recipe, str(shards), str(other)))
    succeeded(mmc4("images", *recipe, str(shards)))
    assert contents(half, "images/**/*") == contents(taken, "images/**/*")


def test_a_shard_that_is_not_whole_ends_the_run_with_one_line(built: Path, shards: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(shards, tmp_path / "shards")
    for stage in ("locations", "pages"):
        shutil.copytree(built / stage, tmp_path / "out" / stage)
    recipe = ("--recipe", str(MINIWEB / "miniweb.yaml"), "--output", str(tmp_path / "out"), "--images_from")
    (copy / "00001.parquet").write_bytes(b"PAR1")
    assert "00001.parquet: cannot be read" in refusal(mmc4("images", *recipe, str(copy)))
    (copy / "00001.parquet").unlink()
    assert "00001.parquet: cannot be read" in refusal(mmc4("images", *recipe, str(copy), "--resume"))
    assert "--images_from" in refusal(mmc4("images", *recipe, str(tmp_path / "none"), "--resume"))
