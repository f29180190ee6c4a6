"""Links of the sample of real pages that is stored next to some checkouts; skipped if it is absent."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastwarc import ArchiveIterator, WarcRecordType
from selectolax.lexbor import LexborHTMLParser

from filters.ads import Ads
from filters.web_url import web_url
from mmc4_pipeline.pages.html import decode_html
from mmc4_pipeline.pages.main_images import main_images
from mmc4_pipeline.pages.main_text import main_text
from mmc4_pipeline.pages.wat_links import WatImages, links_of_wat
from mmc4_pipeline.recipe import LinkSettings, load_recipe
from schemas.reasons import Reason
from tests.pages import links_of_html

REALWEB = Path(__file__).parents[4] / "shared" / "realweb"
pytestmark = pytest.mark.skipif(not REALWEB.is_dir(), reason="../shared/realweb is not here")
FULLER = load_recipe("mmc4-links").links


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """Return the decoded pages by URL."""
    found = {}
    for path in REALWEB.glob("commoncrawl/crawl-data/*/segments/*/warc/*.warc.gz"):
        for record in ArchiveIterator(path.open("rb"), record_types=WarcRecordType.response, auto_decode="all"):
            content_type = record.http_headers.get("Content-Type") or ""
            found[record.headers["WARC-Target-URI"]] = decode_html(record.reader.read(), content_type)
    return found


@pytest.fixture(scope="module")
def wat() -> dict[str, dict[str, Any]]:
    """Return the HTML metadata of the WAT records by URL."""
    found = {}
    for path in REALWEB.glob("commoncrawl/crawl-data/*/segments/*/wat/*.warc.wat.gz"):
        for record in ArchiveIterator(path.open("rb"), record_types=WarcRecordType.metadata, parse_http=False):
            payload = orjson.loads(record.reader.read())["Envelope"]["Payload-Metadata"]
            if "HTTP-Response-Metadata" in payload:
                found[record.headers["WARC-Target-URI"]] = payload["HTTP-Response-Metadata"]["HTML-Metadata"]
    return found


def _without_details(url: str) -> str:
    """Return a URL without what WHATWG's URL standard and Python's urljoin, which made the truth, do otherwise."""
    return (web_url(url) or url).removesuffix("?")


def test_every_link_of_the_truth_is_found_from_warc_and_from_wat(
    pages: dict[str, str], wat: dict[str, dict[str, Any]]
) -> None:
    truth = json.loads((REALWEB / "truth.json").read_text())["pages"]
    assert len(truth) >= 60
    for url, links in truth.items():
        by_html, by_wat = links_of_html(pages[url], url), links_of_wat(WatImages.of(wat[url]), url)
        assert [_without_details(link.url) for link in by_html] == list(map(_without_details, links))
        assert [link.url for link in by_wat] == [link.url for link in by_html]
        assert [link.alt for link in by_html] == [link.alt for link in by_wat]


def test_the_fuller_set_finds_each_image_and_more(pages: dict[str, str]) -> None:
    """Identify images by a number planted in `alt`; images in `noscript` repeat others and are left out."""
    more: Counter[str] = Counter()
    for url, text in pages.items():
        tree = LexborHTMLParser(text)
        for noscript in tree.css("noscript"):
            noscript.decompose()
        for number, image in enumerate(tree.css("img")):
            image.attrs["alt"] = str(number)
        by_src, fuller = (
            {link.alt: link for link in links_of_html(tree.html or "", url, settings)}
            for settings in (LinkSettings(), FULLER)
        )
        assert by_src.keys() <= fuller.keys()
        more["elements"] += len(fuller.keys() - by_src.keys())
        more["addresses"] += len({link.url for link in fuller.values()} - {link.url for link in by_src.values()})
    assert more["elements"] > 30
    assert more["addresses"] > 300


def test_no_image_is_found_twice_through_noscript(pages: dict[str, str]) -> None:
    for url, text in pages.items():
        outside = LexborHTMLParser(text)
        for noscript in outside.css("noscript"):
            noscript.decompose()
        found = Counter(link.url for link in links_of_html(text, url, FULLER))
        shown = Counter(link.url for link in links_of_html(outside.html or "", url, FULLER))
        assert all(found[link] == shown[link] for link in shown)


def test_most_pages_have_a_main_content_with_some_of_their_images(pages: dict[str, str]) -> None:
    counts: Counter[str] = Counter()
    for url, text in pages.items():
        images = main_images(text)
        assert images is not None
        links = links_of_html(text, url, LinkSettings(), images)
        counts["with text"] += len(main_text(text, url)) > 200
        counts["with images"] += any(link.in_main_content for link in links)
        counts["links"] += len(links)
        counts["in main content"] += sum(link.in_main_content is True for link in links)
    assert counts["with text"] > 0.9 * len(pages)
    assert counts["with images"] > 0.5 * len(pages)
    assert 0.1 < counts["in main content"] / counts["links"] < 0.5


def test_some_links_are_ads(pages: dict[str, str]) -> None:
    counts: Counter[str] = Counter()
    own = Ads().load(lambda path: Path(path).read_bytes())
    for url, text in pages.items():
        for link in links_of_html(text, url):
            counts["ads"] += own.decide(link, url) is Reason.AD
            counts["lead elsewhere"] += link.leads_to is not None
            counts["links"] += 1
    assert 0 < counts["ads"] < 0.05 * counts["links"]
    assert 0 < counts["lead elsewhere"] < 0.5 * counts["links"]
