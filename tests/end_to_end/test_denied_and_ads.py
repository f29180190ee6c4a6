"""A deny-list and ad rules on the miniature web: the images that they drop are never requested."""

import hashlib
import json
import shutil
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import pytest

from mmc4_pipeline.miniweb.serve import serving
from tests.end_to_end.running import MINIWEB, Web, mmc4, refusal, succeeded


def rows(folder: Path, pattern: str) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob(pattern)) for row in pq.read_table(path).to_pylist()]


@pytest.fixture(scope="module")
def lists(built: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Write both lists; return the paths, and the entries: a page's site, a host, a URL, and a URL by its hash."""
    folder = tmp_path_factory.mktemp("lists")
    kept = [row for row in rows(built, "dataset/miniweb/ledger/*.parquet") if row["reason"] is None]
    site = urlsplit(kept[0]["page_url"]).hostname.removeprefix("www.")
    others = sorted({row["image_url"] for row in kept if site not in row["page_url"] and site not in row["image_url"]})
    host = next(urlsplit(url).hostname for url in others if urlsplit(url).hostname.startswith("cdn."))
    one, hashed = [url for url in others if urlsplit(url).hostname != host][:2]
    sha256 = hashlib.sha256(hashed.encode()).hexdigest()
    (folder / "deny.txt").write_text(f"{site.upper()}  # a site\n{host}.\n{one}\nsha256:{sha256}\n")
    (folder / "ads.txt").write_text("! planted\n/banner-*$image\n@@/media/2019/banner-$image\n")
    return {"deny": str(folder / "deny.txt"), "ads": str(folder / "ads.txt"), "site": site, "host": host} | {
        "urls": {one, hashed}
    }


def is_denied(lists: dict[str, Any], row: dict[str, Any]) -> bool:
    image, page = urlsplit(row["image_url"]).hostname, urlsplit(row["page_url"]).hostname
    of_site = any(f".{name}".endswith(f".{lists['site']}") for name in (image, page))
    return of_site or image == lists["host"] or row["image_url"] in lists["urls"]


def test_dropped_images_are_never_requested(web: Web, built: Path, lists: dict[str, Any], tmp_path: Path) -> None:
    output = tmp_path / "out"
    shutil.copytree(built / "locations", output / "locations")
    with serving(web.folder) as address:
        recipe = ("--recipe", str(MINIWEB / "miniweb.yaml"), "--output", str(output))
        settings = [f"filters.deny_list.list={lists['deny']}", f"filters.ads.list={lists['ads']}"]
        succeeded(mmc4("pages", *recipe, *(word for item in settings for word in ("--set", item))))
        fetch = ("--image_routes", f"{address}/{{url}}", "--fetch_timeout", "1", "--delay_per_host", "0")
        succeeded(mmc4("images", *recipe, *fetch, "--allow_private_hosts"))
        with urllib.request.urlopen(f"{address}/__stats") as response:
            requested = json.load(response)["per_url"]
    pages = rows(output, "pages/pages-*.parquet")
    found = {(page["url"], link["position"]): link["reason"] for page in pages for link in page["links"]}
    dropped_by = {(link["reason"], link["filter"]) for page in pages for link in page["links"]}
    assert dropped_by == {
        (None, None),
        ("denied", "deny_list"),
        ("ad", "ads"),
        ("url_extension", "url"),
        ("url_token", "url"),
    }
    before = rows(built, "dataset/miniweb/ledger/*.parquet")
    assert len(found) == len(before)
    reasons = {"denied": 0, "ad": 0}
    for row in before:
        reason = found[row["page_url"], row["position"]]
        if is_denied(lists, row):
            assert reason == "denied"
        elif row["stage"] != "pages" and "/banner-" in row["image_url"] and "/media/2019/" not in row["image_url"]:
            assert reason == "ad"
        else:
            assert reason == (row["reason"] if row["stage"] == "pages" else None)
            continue
        assert row["image_url"] not in requested
        reasons[reason] += 1
    assert reasons["denied"] > 10
    assert reasons["ad"] > 10
    assert requested
    plan = json.loads((output / "pages/manifest.json").read_text())
    assert plan["input"]["lists"] == {
        path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in (lists["deny"], lists["ads"])
    }
    assert plan["counts"]["links"]["dropped"]["denied"] == reasons["denied"]
    assert plan["counts"]["links"]["dropped"]["ad"] == reasons["ad"]


def test_both_can_be_added_when_cutting(built: Path, lists: dict[str, Any], tmp_path: Path) -> None:
    output = shutil.copytree(built, tmp_path / "out")
    recipe = tmp_path / "own.yaml"
    recipe.write_text(
        f"extends: mmc4\nfilters: {{deny_list: {{list: {lists['deny']}}}, ads: {{}}, ad_sizes: {{sizes: [300x250]}}}}\n"
    )
    succeeded(mmc4("cut", "--output", str(output), "--recipe", str(recipe)))
    scored = [row for row in rows(output, "dataset/miniweb/ledger/*.parquet") if row["stage"] in (None, "cut")]
    cut = rows(output, "dataset/own/ledger/*.parquet")
    denied = {(row["page_url"], row["position"]) for row in cut if row["reason"] == "denied"}
    assert denied == {(row["page_url"], row["position"]) for row in scored if is_denied(lists, row)}
    assert denied
    assert all(row["stage"] == "cut" for row in cut if row["reason"] == "denied")
    assert {row["filter"] for row in cut if row["reason"] == "denied"} == {"deny_list"}
    assert {row["filter"] for row in cut if row["reason"] == "ad"} <= {"ads", "ad_sizes"}
    assert all((row["filter"] is None) == (row["reason"] is None) for row in cut if row["stage"] == "cut")
    changed = mmc4("cut", "--output", str(output), "--recipe", "mmc4-core", "--set", "filters.deny_list.list=no.txt")
    assert "no.txt" in refusal(changed)


def test_another_list_is_refused_after_the_pages_stage(web: Web, built: Path, lists: dict[str, Any]) -> None:
    arguments = web.build_arguments(built)
    run = mmc4("build", *arguments, "--set", f"filters.deny_list.list={lists['deny']}", "--resume")
    assert "deny_list" in refusal(run)
