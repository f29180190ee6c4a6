"""What pages, servers and hosts declare, from WARC file to ledger over real HTTP: the strict recipe and the paper's."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from tests.end_to_end.running import WEIGHTS, mmc4, refusal, succeeded
from tests.mmc4_pipeline.images.conftest import photograph
from tests.mmc4_pipeline.images.site import Site, jpeg, serving_site

PROSE = "".join(
    f"<p>The river was {depth} metres deep when we crossed it, and nobody had expected so much water in May.</p>"
    for depth in range(8)
)
ROBOTS = b"User-agent: *\nDisallow: /private/\nContent-Usage: /rule/ train-ai=n\n"
TDMREP = b'[{"location": "/reserved/free.jpg", "tdm-reservation": 0}, {"location": "/reserved/", "tdm-reservation": 1}]'
AI_TXT = b"User-Agent: *\nDisallow: /ai/*.jpg\nAllow: /\n"
HOST_FILES = ("/ai.txt", "/.well-known/tdmrep.json")
IMAGES: dict[str, tuple[dict[str, str], str | None, str | None]] = {  # headers; filter and declaration in the ledger
    "/plain.jpg": ({}, None, None),
    "/reserved/free.jpg": ({"tdm-reservation": "0"}, None, None),
    "/yes.jpg": ({"Content-Usage": "train-ai=y"}, None, None),
    "/tdm.jpg": ({"TDM-Reservation": "1"}, "tdm_reservation", "header tdm-reservation: 1"),
    "/usage.jpg": ({"Content-Usage": "train-ai=n"}, "content_usage", "header content-usage: train-ai=n"),
    "/noml.jpg": ({"X-Robots-Tag": "noml"}, "consent", "header x-robots-tag: noml"),
    "/reserved/a.jpg": ({}, "tdmrep_json", "tdmrep.json: 1, location /reserved/"),
    "/ai/a.jpg": ({}, "ai_txt", "ai.txt: Disallow: /ai/*.jpg"),
    "/rule/a.jpg": ({}, "content_usage", "robots.txt content-usage: train-ai=n"),
    "/private/a.jpg": ({}, None, None),
}
PAGES: dict[str, tuple[list[tuple[str, str]], str, str, str]] = {  # headers, tags; filter and declaration
    "a": ([], "<meta name=robots content='noai, noimageai'>", "page_robots", "meta robots: noai, noimageai"),
    "b": ([("tdm-reservation", "1")], "", "page_tdm_reservation", "header tdm-reservation: 1"),
    "c": ([("Content-Usage", "train-ai=n")], "", "page_content_usage", "header content-usage: train-ai=n"),
}
OFF = "".join(
    f", {name}: null"
    for name in ("resolution", "document_duplicates", "corpus_duplicates", "nsfw", "similarity", "document")
)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving_site() as site:
        yield site


@pytest.fixture(scope="module")
def warc(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a WARC file: a page without declarations that shows all images, and pages with declarations."""
    for number, (path, (headers, _, _)) in enumerate(IMAGES.items()):
        site.files[path] = (jpeg(photograph(number)), headers)
    site.files |= {"/robots.txt": (ROBOTS, {}), HOST_FILES[0]: (AI_TXT, {}), HOST_FILES[1]: (TDMREP, {})}
    path = tmp_path_factory.mktemp("consent") / "pages.warc.gz"
    with path.open("wb") as out:
        writer = WARCWriter(out, gzip=True)
        pages = {"quiet": ([], "", IMAGES)} | {name: (*page[:2], [f"/{name}.jpg"]) for name, page in PAGES.items()}
        for name, (headers, tags, images) in pages.items():
            shown = "".join(f"<img src='{site.address}{image}'>" for image in images)
            body = f"<html><head><title>{name}</title>{tags}</head><body><article>{PROSE}{shown}</article>".encode()
            http = StatusAndHeaders("200 OK", [("Content-Type", "text/html"), *headers], protocol="HTTP/1.1")
            url = f"https://{name}.example/"
            writer.write_record(
                writer.create_warc_record(url, "response", io.BytesIO(body), len(body), http_headers=http)
            )
    return path


def build(warc: Path, site: Site, base: str) -> dict[str, dict[str, Any]]:
    """Build a dataset with a recipe; return the rows of the ledger by the paths of their images."""
    recipe, output = warc.parent / f"by-{base}.yaml", warc.parent / base
    recipe.write_text(f"extends: {base}\ntext_source: page\nfilters: {{{OFF.removeprefix(', ')}}}\n")
    site.requested.clear()
    clip = ("--clip_model", str(WEIGHTS / "clip.json"), "--clip_pretrained", str(WEIGHTS / "clip.pt"))
    fetch = ("--image_routes", "{url}", "--allow_private_hosts", "--delay_per_host", "0")
    succeeded(mmc4("build", "--warcs", str(warc), "--recipe", str(recipe), "--output", str(output), *clip, *fetch))
    ledger = pq.read_table(output / "dataset" / f"by-{base}" / "ledger").to_pylist()
    return {row["image_url"].removeprefix(site.address): row for row in ledger}


@pytest.fixture(scope="module")
def strict(warc: Path, site: Site) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
    """Return the ledger of a build with the strict recipe, and what it requested."""
    return build(warc, site, "mmc4-consent"), dict(site.requested)


def test_the_strict_recipe_heeds_every_declaration_and_names_it(
    strict: tuple[dict[str, dict[str, Any]], dict[str, int]],
) -> None:
    rows, requested = strict
    found = {path: (row["filter"], row["declaration"]) for path, row in rows.items()}
    of_pages = {f"/{name}.jpg": page[2:] for name, page in PAGES.items()}
    assert found == {path: image[1:] for path, image in IMAGES.items()} | of_pages
    for path, row in rows.items():
        assert row["reason"] == ("robots" if "/private/" in path else "opted_out" if row["filter"] else None)
    never = {"/reserved/a.jpg", "/ai/a.jpg", "/rule/a.jpg", "/private/a.jpg", *of_pages}
    assert requested == dict.fromkeys([*(rows.keys() - never), "/robots.txt", *HOST_FILES], 1)


def test_the_paper_s_recipe_requests_and_drops_nothing_more(warc: Path, site: Site) -> None:
    rows = build(warc, site, "mmc4")
    assert {path for path, row in rows.items() if row["reason"] == "opted_out"} == set()
    assert {row["declaration"] for row in rows.values()} == {None}
    assert site.requested == dict.fromkeys([*(rows.keys() - {"/private/a.jpg"}), "/robots.txt"], 1)


@pytest.mark.usefixtures("strict")
def test_images_that_img2dataset_fetches_come_without_declarations(warc: Path) -> None:
    recipe = ("--recipe", str(warc.parent / "by-mmc4-consent.yaml"), "--output", str(warc.parent / "mmc4-consent"))
    other = ("--fetch_engine", "img2dataset", "--ignore_robots_txt", "--allow_private_hosts")
    assert "filters.tdm_reservation" in refusal(mmc4("images", *recipe, *other))
