"""A page's declarations, in its HTTP header and its meta tags, are found by all routes to the page."""

from typing import Any

import pytest

from mmc4_pipeline.commoncrawl.by_range import pages_by_range
from mmc4_pipeline.commoncrawl.by_scan import pages_by_scan
from mmc4_pipeline.commoncrawl.by_wat import pages_by_wat
from mmc4_pipeline.commoncrawl.from_warcs import documents_of_warc
from mmc4_pipeline.pages.content import PageContent
from mmc4_pipeline.pages.page_reader import PageReader
from mmc4_pipeline.recipe import LinkSettings
from schemas.statistics import Counts
from tests.mmc4_pipeline.commoncrawl.test_by_wat import record_of, write_wat
from tests.mmc4_pipeline.file_server import INPUTS

READER = PageReader(LinkSettings(), declarations=True)
CASES: list[tuple[tuple[tuple[str, str], ...], list[dict[str, str]], list[str]]] = [
    ((("X-Robots-Tag", "noai"),), [], ["header x-robots-tag: noai"]),
    (
        (("tdm-reservation", "1"),),
        [{"name": "tdm-reservation", "content": "0"}],
        ["header tdm-reservation: 1", "meta tdm-reservation: 0"],
    ),
    ((("Content-Usage", "train-ai=n"),), [], ["header content-usage: train-ai=n"]),
    ((), [{"name": "Robots", "content": "NOML, nofollow"}], ["meta robots: NOML, nofollow"]),
    ((("X-Robots-Tag", "noindex"),), [{"name": "robots", "content": "noindex"}], []),
    ((), [{"name": "description", "content": "noai"}], []),
]


@pytest.mark.parametrize(("fields", "metas", "declarations"), CASES)
def test_every_route(
    crawl: Any, fields: tuple[tuple[str, str], ...], metas: list[dict[str, str]], declarations: list[str]
) -> None:
    tags = "".join(f"<meta name='{meta['name']}' content='{meta['content']}'>" for meta in metas)
    location = crawl.write("https://a.example/", f"<head>{tags}</head><img src=a.jpg>".encode(), headers=fields)
    html = {"Head": {"Metas": metas}, "Links": [{"path": "IMG@/src", "url": "a.jpg"}]}
    record = record_of(location.offset, html)
    record["Envelope"]["Payload-Metadata"]["HTTP-Response-Metadata"]["Headers"].update(fields)
    write_wat(crawl, [record])
    root, name = str(crawl.root), location.warc_filename
    outcomes = [
        *pages_by_range(INPUTS, root, name, [location], READER),
        *pages_by_scan(INPUTS, root, name, [location], READER),
        *pages_by_wat(INPUTS, root, name, [location], READER),
        *documents_of_warc(INPUTS, str(crawl.path), READER, Counts()),
    ]
    found = [outcome for outcome in outcomes if isinstance(outcome, PageContent)]
    assert [item.declarations for item in found] == [declarations] * 4
    assert all(len(item.links) == 1 for item in found)


@pytest.mark.parametrize("keys", [("Headers", "HTML-Metadata"), ("HTML-Metadata", "Headers")])
@pytest.mark.parametrize("parts", [("Head", "Links"), ("Links", "Head")])
def test_wat_records_in_any_order(crawl: Any, keys: tuple[str, str], parts: tuple[str, str]) -> None:
    location = crawl.write("https://a.example/", b"<img src=a.jpg>")
    whole = {
        "Head": {"Metas": [{"name": "robots", "content": "noai"}]},
        "Links": [{"path": "IMG@/src", "url": "a.jpg"}],
    }
    answer = {"Headers": {"tdm-reservation": "1"}, "HTML-Metadata": {part: whole[part] for part in parts}}
    record = record_of(location.offset, {})
    record["Envelope"]["Payload-Metadata"]["HTTP-Response-Metadata"] = {key: answer[key] for key in keys}
    write_wat(crawl, [record])
    (page,) = pages_by_wat(INPUTS, str(crawl.root), location.warc_filename, [location], READER)
    assert isinstance(page, PageContent)
    assert page.declarations == ["header tdm-reservation: 1", "meta robots: noai"]
