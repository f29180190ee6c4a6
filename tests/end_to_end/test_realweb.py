"""The sample of real pages that is next to some checkouts; skipped if it is absent.

All of it is in `make test-engines`, because a build of the sample takes as long as hundreds of other tests.
"""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import pytest

from filters.web_url import web_url
from mmc4_pipeline.formats.registry import known_formats
from mmc4_pipeline.images.fetching.settings import FetchSettings
from mmc4_pipeline.recipe import load_recipe
from schemas.page import ImageLink
from tests.end_to_end import engines
from tests.end_to_end.running import WEIGHTS, contents, data_of, mmc4, succeeded, wait_for_server
from tests.engines import flink
from tests.mmc4_pipeline.file_server import serving
from tests.sequences import assert_all_formats_hold_the_same

REALWEB = Path(__file__).parents[3] / "shared" / "realweb"
pytestmark = [pytest.mark.engines, pytest.mark.skipif(not REALWEB.is_dir(), reason="no ../shared/realweb")]
QUICK_CLIP = {"clip_model": str(WEIGHTS / "clip.json"), "clip_pretrained": str(WEIGHTS / "clip.pt")}
long = pytest.mark.skipif("MMC4_LONG_TESTS" not in os.environ, reason="takes minutes; MMC4_LONG_TESTS=1 runs it")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Serve the sample's images with its own server."""
    (port,) = flink.free_ports(1)
    command = [sys.executable, str(REALWEB / "serve.py"), "--port", str(port), "--latency", "0.05"]
    process = subprocess.Popen(command)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for_server(f"{address}/__stats")
        yield address
    finally:
        process.terminate()
        process.wait()


def stats(server: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{server}/__stats") as response:
        return json.load(response)


def build_arguments(server: str, output: Path, **changed: str) -> list[str]:
    options = {
        "c4": str(REALWEB / "c4/*.json.gz"),
        "cc_root": str(REALWEB / "commoncrawl"),
        "crawl": "CC-MAIN-2019-18",
        "recipe": str(REALWEB / "recipe.yaml"),
        "image_routes": f"{server}/{{url}}",
        "delay_per_host": "0",
        "max_open_per_shared_host": "4",  # no host is treated as shared
        "clip_model": "ViT-B-32",
        "clip_pretrained": "random",
        "output": str(output),
    } | changed
    return [word for name, value in options.items() for word in (f"--{name}", value)] + ["--allow_private_hosts"]


@pytest.fixture(scope="module")
def built(server: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Build from the sample; return the output folder and the server's statistics."""
    output = tmp_path_factory.mktemp("realweb") / "out"
    succeeded(mmc4("build", *build_arguments(server, output)))
    return output, stats(server)


@pytest.fixture(scope="module")
def quick(server: str, built: tuple[Path, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Score the images with a CLIP that takes no time, and cut; return the output folder."""
    output = tmp_path_factory.mktemp("quick") / "out"
    for stage in ("locations", "pages", "images"):
        shutil.copytree(built[0] / stage, output / stage)
    succeeded(mmc4("build", *build_arguments(server, output, **QUICK_CLIP), "--resume"))
    return output


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    return json.loads((REALWEB / "truth.json").read_text())


def ledger(output: Path) -> list[dict[str, Any]]:
    return pq.read_table(output / "dataset/recipe/ledger").to_pylist()


def counts(output: Path, stage: str) -> dict[str, Any]:
    return json.loads((output / stage / "manifest.json").read_text())["counts"]


def test_every_page_is_located_except_the_one_that_was_never_crawled(built: tuple[Path, dict[str, Any]]) -> None:
    output, _ = built
    assert counts(output, "locations")["documents"] == {"in": 61, "kept": 60, "dropped": {"not_located": 1}}
    (reject,) = pq.read_table(output / "locations/rejects-00000-of-00001.parquet").to_pylist()
    assert reject["url"] == "http://never-crawled.example/page.html"
    assert re.search(r"c4-train.00000-of-00001.json.gz:61$", reject["source"])


def test_look_ups_give_the_same_locations(built: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    index = ("--c4", str(REALWEB / "c4/*.json.gz"), "--cc_root", str(REALWEB / "commoncrawl"), "--index", "cdx")
    recipe = ("--recipe", str(REALWEB / "recipe.yaml"), "--crawl", "CC-MAIN-2019-18")
    succeeded(mmc4("locate", *index, *recipe, "--output", str(tmp_path)))
    assert contents(tmp_path, "locations/*.parquet") == contents(built[0], "locations/*.parquet")


def link_of_truth(url: str) -> str:
    """Return a URL without what WHATWG's URL standard and Python's urljoin, which made the truth, do otherwise."""
    return (web_url(url) or url).removesuffix("?")


def test_the_ledger_accounts_for_every_link(built: tuple[Path, dict[str, Any]], truth: dict[str, Any]) -> None:
    rows = ledger(built[0])
    planted = Counter((page, link_of_truth(link)) for page, links in truth["pages"].items() for link in links)
    assert Counter((row["page_url"], link_of_truth(row["image_url"])) for row in rows) == planted
    assert all((row["reason"] is None) == (row["shard"] is not None) for row in rows)


def test_every_allowed_image_is_requested_exactly_once_apart_from_retries(
    built: tuple[Path, dict[str, Any]], truth: dict[str, Any]
) -> None:
    output, seen = built
    rules = load_recipe(str(REALWEB / "recipe.yaml")).filters["url"]
    links = {link for links in truth["pages"].values() for link in links}
    allowed = {url.partition("#")[0] for url in links if rules.decide(ImageLink(0, url, "", None, None)) is None}
    responses = Counter(truth["images"][url] for url in allowed if url in truth["images"])
    assert sum(responses.values()) == len(allowed)
    assert seen["requests"] == len(allowed) + 2 * responses["503"]  # three tries each
    requested = {row["image_url"].partition("#")[0] for row in ledger(output) if row["route"]}
    assert requested == allowed


def test_limits_per_host_are_kept(built: tuple[Path, dict[str, Any]], truth: dict[str, Any]) -> None:
    """At most four requests at once; robots.txt once per scheme and host, not counted among the requests above."""
    rules = load_recipe(str(REALWEB / "recipe.yaml")).filters["url"]
    links = {link for links in truth["pages"].values() for link in links}
    allowed = {url for url in links if rules.decide(ImageLink(0, url, "", None, None)) is None}
    seen = built[1]
    assert 1 < max(seen["most_open"].values()) <= FetchSettings().max_open_per_host
    assert seen["robots"] == len({url.split("/")[0] + urlsplit(url).netloc for url in allowed})


def test_the_response_of_each_image_decides_its_reason(
    built: tuple[Path, dict[str, Any]], truth: dict[str, Any]
) -> None:
    reasons = {
        "404": {"http_error"},
        "403": {"http_error"},
        "503": {"http_error"},
        "html": {"not_an_image"},
        "empty": {"not_an_image"},
        "truncated": {"corrupt"},
        "noai": {"opted_out"},
        "ok": {None, "too_small", "aspect_ratio", "document_duplicate"},
    }
    for row in ledger(built[0]):
        if row["stage"] != "pages":
            assert row["reason"] in reasons[truth["images"][row["image_url"].partition("#")[0]]], row


@long
@pytest.mark.engines("flink")
def test_flink_in_its_job_server_writes_the_same_bytes(
    server: str, built: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    assert files_by(engines.options("flink"), server, tmp_path) == data_of(built[0])


@long
@pytest.mark.engines("prism")
@pytest.mark.parametrize("engine", ["processes", "prism"])
def test_other_engines_write_the_same_bytes(
    server: str, built: tuple[Path, dict[str, Any]], tmp_path: Path, engine: str
) -> None:
    assert files_by(engines.options(engine), server, tmp_path) == data_of(built[0])


@long
@pytest.mark.engines("flink")
def test_a_flink_cluster_writes_the_same_bytes(server: str, built: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    with flink.cluster(tmp_path / "flink") as cluster:
        options = [*cluster.arguments(), "--parallelism", "4"]
        assert files_by(options, server, tmp_path / "out") == data_of(built[0])


def files_by(options: list[str], server: str, output: Path) -> dict[str, str]:
    succeeded(mmc4("build", *build_arguments(server, output), *options))
    return data_of(output)


def test_pages_from_wat_files_make_the_same_dataset(server: str, quick: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    shutil.copytree(quick / "locations", output / "locations")
    arguments = build_arguments(server, output, page_source="wat", **QUICK_CLIP)
    succeeded(mmc4("build", *arguments, "--resume"))
    places = ("after_sentence", "inside_text")
    assert {row[name] is None for row in ledger(output) for name in places} == {True}
    assert {row[name] is None for row in ledger(quick) for name in places} == {False}
    assert {row["page_similarity"] for row in ledger(output)} == {None}  # follows from places, too
    strip = ("route", "error", "page_similarity", *places)
    assert [without(row, strip) for row in ledger(output)] == [without(row, strip) for row in ledger(quick)]
    shard = "dataset/recipe/shard-00000.tar"
    assert (output / shard).read_bytes() == (quick / shard).read_bytes()


def without(row: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def test_vit_l_14_on_the_first_five_documents(server: str, tmp_path: Path) -> None:
    (shard,) = (REALWEB / "c4").glob("*.gz")
    lines = gzip.decompress(shard.read_bytes()).splitlines()[:5]
    (tmp_path / "five.json").write_bytes(b"\n".join(lines) + b"\n")
    output = tmp_path / "out"
    arguments = build_arguments(server, output, c4=str(tmp_path / "five.json"), clip_model="ViT-L-14")
    succeeded(mmc4("build", *arguments))
    assert counts(output, "locations")["documents"]["kept"] == 5
    assert counts(output, "scores/ViT-L-14_random")["links"]["kept"] > 0
    assert (output / "dataset/recipe/shard-00000.tar").stat().st_size > 0


def test_real_pages_are_the_same_in_every_format(built: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    (dataset,) = (built[0] / "dataset").iterdir()
    copy = shutil.copytree(dataset, tmp_path / "dataset")
    succeeded(mmc4("export", str(copy), "--formats", *known_formats()))
    succeeded(mmc4("verify", str(copy)))
    assert_all_formats_hold_the_same(copy)


def test_a_build_of_the_first_documents_reads_what_they_need_and_is_a_subset(
    server: str, quick: Path, tmp_path: Path
) -> None:
    some = tmp_path / "some"
    roots = {"": REALWEB / "commoncrawl", "/c4": REALWEB / "c4"}
    paths = {f"{root}/{path.relative_to(top)}": path for root, top in roots.items() for path in top.rglob("*.*")}
    with serving({url: path.read_bytes() for url, path in paths.items() if path.is_file()}) as mirror:
        (c4,) = (mirror.address + url for url in paths if url.startswith("/c4"))
        before = stats(server)["requests"]
        arguments = build_arguments(server, some, c4=c4, cc_root=mirror.address, index="cdx", limit="20", **QUICK_CLIP)
        succeeded(mmc4("build", *arguments))
        sent = Counter[str]()
        for request in mirror.finished():
            sent[request.path] += request.sent
    found = pq.read_table(
        sorted(some.glob("locations/locations-*.parquet")), columns=["warc_filename", "offset", "length"]
    ).to_pylist()
    assert len(found) == counts(some, "locations")["documents"]["kept"] == 20
    for warc in {row["warc_filename"] for row in found}:  # neighbouring records come with one request
        own = [(row["offset"], row["offset"] + row["length"]) for row in found if row["warc_filename"] == warc]
        assert 0 < sent.pop(f"/{warc}") <= max(end for _, end in own) - min(start for start, _ in own)
    assert not [path for path in sent if "crawl-data" in path]
    requested = {row["image_url"].partition("#")[0] for row in ledger(some) if row["route"]}
    assert len(requested) <= stats(server)["requests"] - before <= 3 * len(requested)
    succeeded(mmc4("verify", str(some / "dataset/recipe"), "--subset_of", str(quick / "dataset/recipe")))
