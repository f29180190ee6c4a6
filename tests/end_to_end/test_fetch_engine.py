"""`--fetch_engine img2dataset` on the miniature web, compared with our own fetcher; and `--images_from` its shards."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mmc4_pipeline.miniweb.serve import load_responses
from tests.end_to_end.running import MINIWEB, Web, mmc4, refusal, succeeded
from tests.mmc4_pipeline.images.from_img2dataset.installed import PYTHON, needs_img2dataset

ENGINE = ("--fetch_engine", "img2dataset", "--img2dataset_python", PYTHON)
MEASURED = ("sha256", "byte_size", "format", "width", "height", "phash", "length", "http_status", "route")


def rows(output: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the rows as fetched, before any decision."""
    tables = (pq.read_table(path) for path in sorted(output.glob("images/fetched-*.parquet")))
    return {(row["key"], row["position"]): row for table in tables for row in table.to_pylist()}


def pages_of(built: Path, output: Path) -> Path:
    for stage in ("locations", "pages"):
        shutil.copytree(built / stage, output / stage)
    return output


@needs_img2dataset
def test_both_engines_keep_the_same_images(web: Web, built: Path, tmp_path: Path) -> None:
    output = pages_of(built, tmp_path / "out")
    recipe = ("--recipe", str(MINIWEB / "miniweb.yaml"), "--output", str(output))
    fetch = ("--image_routes", f"{web.address}/{{url}}", "--fetch_timeout", "2", "--allow_private_hosts")
    succeeded(mmc4("images", *recipe, *fetch, *ENGINE, "--ignore_robots_txt"))
    ours, theirs = rows(built), rows(output)
    busy = {url for url, answer in load_responses(web.folder).items() if answer.behaviour == "busy"}
    known = {link for link, row in ours.items() if row["url"] not in busy and row["reason"] != "robots"}
    assert ours.keys() == theirs.keys()
    assert len(known) > 0.9 * len(ours)
    assert {link: theirs[link]["reason"] for link in known} == {link: ours[link]["reason"] for link in known}
    stored = [link for link in known if ours[link]["offset"] is not None]
    assert len(stored) > 150
    assert [{name: theirs[link][name] for name in MEASURED} for link in stored] == [
        {name: ours[link][name] for name in MEASURED} for link in stored
    ]
    manifest = json.loads((output / "images/manifest.json").read_text())
    assert manifest["input"]["fetch_engine"].startswith("img2dataset 1.")
    assert manifest["counts"]["links"]["in"] == len(theirs)
    own_again = mmc4("images", *recipe, *fetch, "--ignore_robots_txt", "--resume")
    assert "input.fetch_engine" in refusal(own_again)


@needs_img2dataset
def test_shards_from_a_separate_run_of_img2dataset_are_used(web: Web, built: Path, tmp_path: Path) -> None:
    urls = sorted({row["url"].partition("#")[0] for row in rows(built).values() if row["offset"] is not None})
    assert len(urls) > 150
    route = {f"{web.address}/{url}": url for url in urls}
    (tmp_path / "urls.txt").write_text("\n".join(route) + "\n")
    command = ["--url_list", "urls.txt", "--output_folder", "shards", "--output_format", "webdataset"]
    size = ["--image_size", "128", "--resize_mode", "keep_ratio", "--resize_only_if_bigger", "True"]
    many = ["--number_sample_per_shard", "60", "--processes_count", "1", "--thread_count", "8", "--retries", "2"]
    run = [PYTHON, "-m", "img2dataset.main", *command, *size, *many]
    subprocess.run(run, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    for table in sorted((tmp_path / "shards").glob("*.parquet")):  # they have the URLs of the replay server
        named = pq.read_table(table)
        column = [route[url] for url in named["url"].to_pylist()]
        pq.write_table(named.set_column(named.column_names.index("url"), "url", [column]), table)
    output = pages_of(built, tmp_path / "out")
    recipe = ("--recipe", str(MINIWEB / "miniweb.yaml"), "--output", str(output))
    succeeded(mmc4("images", *recipe, "--images_from", str(tmp_path / "shards/{00000..00002}.tar")))
    ours, taken = rows(built), rows(output)
    same = [link for link, row in taken.items() if row["offset"] is not None]
    assert len(same) > 100
    assert [(taken[link]["sha256"], taken[link]["width"], taken[link]["height"]) for link in same] == [
        (ours[link]["sha256"], ours[link]["width"], ours[link]["height"]) for link in same
    ]
    assert any(taken[link]["byte_size"] < ours[link]["byte_size"] for link in same)  # it did resize them
    assert {row["reason"] for link, row in taken.items() if link not in set(same)} <= {
        "not_fetched",
        "http_error",  # busy servers
    }


def test_the_engine_without_robots_txt_must_be_confirmed(built: Path, tmp_path: Path) -> None:
    run = ("images", "--output", str(built), "--allow_private_hosts", "--fetch_engine", "img2dataset")
    assert "--ignore_robots_txt" in refusal(mmc4(*run))
    (tmp_path / "python").write_text("not a program")
    python = ("--ignore_robots_txt", "--img2dataset_python", str(tmp_path / "python"))
    assert "--img2dataset_python" in refusal(mmc4(*run, *python))
