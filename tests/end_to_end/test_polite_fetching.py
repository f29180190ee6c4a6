"""Politeness on the miniature web: robots.txt, Retry-After, limits per host, and redirects to denied URLs."""

import json
import shutil
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import pytest

from mmc4_pipeline.images.fetching.settings import FetchSettings
from mmc4_pipeline.miniweb.serve import serving
from tests.end_to_end.running import MINIWEB, Web, mmc4, refusal, succeeded


@pytest.fixture(scope="module")
def fetched(
    web: Web, built: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Fetch again with the target of a redirect denied; return the image rows by URL, and the server's statistics."""
    output = tmp_path_factory.mktemp("polite") / "out"
    shutil.copytree(built / "locations", output / "locations")
    denied = next(
        url.replace("/moved/", "/old/") for url in answers(web) if "/moved/" in url
    )  # the second of three hops
    (output / "deny.txt").write_text(f"{denied}\n")
    recipe = ("--recipe", str(MINIWEB / "miniweb.yaml"), "--output", str(output))
    deny = ("--set", f"filters.deny_list.list={output / 'deny.txt'}")
    succeeded(mmc4("pages", *recipe, *deny))
    with serving(web.folder) as address:
        fetch = ("--image_routes", f"{address}/{{url}}", "--fetch_timeout", "2", "--delay_per_host", "0")
        fetch += ("--max_open_per_shared_host", "4")  # no host is treated as shared
        succeeded(mmc4("images", *recipe, *deny, *fetch, "--allow_private_hosts"))
        with urllib.request.urlopen(f"{address}/__stats") as answer:
            seen = json.load(answer)
    rows = [row for path in sorted(output.glob("images/images-*.parquet")) for row in pq.read_table(path).to_pylist()]
    return {row["url"]: row for row in rows}, seen | {"denied": denied}


def answers(web: Web) -> dict[str, Any]:
    return json.loads((web.folder / "images/answers.json").read_text())


def test_images_forbidden_by_robots_txt_are_not_requested(
    fetched: tuple[dict[str, dict[str, Any]], dict[str, Any]],
) -> None:
    rows, seen = fetched
    forbidden = {url for url in rows if "/private/" in url}
    assert forbidden
    assert {rows[url]["reason"] for url in forbidden} == {"robots"}
    assert forbidden.isdisjoint(seen["per_url"])
    assert [url for url, row in rows.items() if row["reason"] == "robots" and url not in forbidden] == []
    assert {urlsplit(url).netloc for url in seen["per_url"]} <= set(seen["robots"])


def test_retry_after_is_respected(web: Web, fetched: tuple[dict[str, dict[str, Any]], dict[str, Any]]) -> None:
    rows, seen = fetched
    busy = {url for url, answer in answers(web).items() if answer["behaviour"] == "busy"}
    assert busy
    assert {rows[url]["reason"] for url in busy} == {None}
    assert min(seen["per_url"][url] for url in busy) == 2
    assert seen["too_soon"] == 0


def test_no_host_gets_more_concurrent_requests_than_allowed(
    fetched: tuple[dict[str, dict[str, Any]], dict[str, Any]],
) -> None:
    assert max(fetched[1]["most_open"].values()) <= FetchSettings().max_open_per_host


def test_a_redirect_to_a_denied_url_is_not_followed(fetched: tuple[dict[str, dict[str, Any]], dict[str, Any]]) -> None:
    rows, seen = fetched
    (row,) = [row for row in rows.values() if row["reason"] == "denied"]
    assert (row["error"], row["http_status"]) == (f"redirected to {seen['denied']}", 301)
    assert row["url"] in seen["per_url"]
    assert seen["denied"] not in seen["per_url"]


def test_the_live_web_needs_a_user_agent_with_a_contact(built: Path, tmp_path: Path) -> None:
    line = refusal(mmc4("images", "--output", str(built), "--image_routes", "{url}"))
    assert "--fetch_user_agent" in line
    nothing = ("--c4", "none.json", "--cc_root", "none", "--output", str(tmp_path / "out"))
    assert "--fetch_user_agent" in refusal(mmc4("build", *nothing, "--clip_pretrained", "random"))
    assert not (tmp_path / "out").exists()
