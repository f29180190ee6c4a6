"""The miniature web agrees with its truth, and the small models recognise its pictures."""

from __future__ import annotations

import asyncio
import gzip
import io
import itertools
import json
from collections import Counter, defaultdict
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import aiohttp
import imagehash
import numpy as np
import pyarrow.parquet as pq
import pytest
import sentencex
from PIL import Image
from warcio.archiveiterator import ArchiveIterator

from mmc4_pipeline.miniweb import evaluate, models
from mmc4_pipeline.miniweb.generate import generate
from mmc4_pipeline.miniweb.planting import TOKENS
from mmc4_pipeline.miniweb.serve import load_responses, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = 20
INDEX = "cc-index/table/cc-main/warc/crawl=CC-MAIN-2019-18/subset=warc"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("miniweb")
    generate(folder, pages=PAGES, seed=3, stalled=True)
    return folder


@pytest.fixture(scope="module")
def truth(web: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((web / "truth.json").read_text())
    return loaded


@pytest.fixture(scope="module")
def documents(web: Path) -> list[dict[str, str]]:
    return [json.loads(line) for path in sorted(web.glob("c4/*.json.gz")) for line in gzip.open(path, "rt")]


@pytest.fixture(scope="module")
def index(web: Path) -> list[dict[str, Any]]:
    files = sorted((web / "commoncrawl" / INDEX).glob("*.parquet"))
    rows: list[dict[str, Any]] = [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]
    return rows


def _wanted(documents: list[dict[str, str]], index: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each C4 document's URL with the index row of exactly that capture."""
    for document in documents:
        time = datetime.strptime(document["timestamp"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        for row in index:
            if row["url"] == document["url"] and row["fetch_time"].replace(tzinfo=UTC) == time:
                yield document["url"], row


class _Sources(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.found.append(dict(attrs)["src"] or "")


def _by_page(truth: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    links = defaultdict(list)
    for link in truth["links"]:
        links[link["page_url"]].append(link)
    return links


def _body(responses: dict[str, Any], url: str) -> bytes:
    while location := dict(responses[url].headers).get("Location"):
        url = location
    body: bytes = responses[url].body
    return body


def test_same_seed_same_bytes(web: Path, tmp_path: Path) -> None:
    generate(tmp_path, pages=PAGES, seed=3, stalled=True)
    files = sorted(path.relative_to(web) for path in web.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert [file for file in files if (web / file).read_bytes() != (tmp_path / file).read_bytes()] == []


def test_without_stalled_images_only_their_responses_differ(web: Path, truth: dict[str, Any], tmp_path: Path) -> None:
    generate(tmp_path, pages=PAGES, seed=3)
    files = [path for path in web.rglob("*") if path.is_file()]
    changed = [path.name for path in files if path.read_bytes() != (tmp_path / path.relative_to(web)).read_bytes()]
    assert sorted(changed) == ["answers.json", "bodies.tar", "truth.json"]
    before, after = load_responses(web), load_responses(tmp_path)
    stalled = {link["image_url"] for link in truth["links"] if link["reason"] == "timeout"}
    assert {url for url in before if before[url].behaviour == "slow"} == stalled != set()
    assert {url for url in before if before[url] != after[url]} == stalled
    links = zip(truth["links"], json.loads((tmp_path / "truth.json").read_text())["links"], strict=True)
    assert {
        one["image_url"]: (one["reason"], other["reason"]) for one, other in links if one != other
    } == dict.fromkeys(stalled, ("timeout", "http_error"))


def test_the_index_leads_to_pages_with_the_true_links(
    web: Path,
    truth: dict[str, Any],
    documents: list[dict[str, str]],
    index: list[dict[str, Any]],
) -> None:
    links = _by_page(truth)
    located = set()
    for url, row in _wanted(documents, index):
        located.add(url)
        data = (web / "commoncrawl" / row["warc_filename"]).read_bytes()
        member = data[row["warc_record_offset"] : row["warc_record_offset"] + row["warc_record_length"]]
        parser = _Sources()
        for record in ArchiveIterator(io.BytesIO(member)):
            assert record.rec_type == "response"
            assert record.rec_headers.get_header("WARC-Target-URI") == url
            parser.feed(record.content_stream().read().decode())
        assert [urljoin(url, src) for src in parser.found] == [link["image_url"] for link in links[url]]
        assert [link["position"] for link in links[url]] == list(range(len(links[url])))
    assert located == {url for url, page in truth["pages"].items() if page["located"]}
    assert sum(not page["located"] for page in truth["pages"].values()) == 3


def test_wat_lists_the_same_links(web: Path, truth: dict[str, Any], index: list[dict[str, Any]]) -> None:
    links = _by_page(truth)
    rows = {(Path(row["warc_filename"]).name, str(row["warc_record_offset"])): row for row in index}
    seen: Counter[str] = Counter()
    wats = sorted(web.rglob("*.warc.wat.gz"))
    for path in wats:
        with path.open("rb") as file:
            for record in ArchiveIterator(file):
                wat = json.loads(record.content_stream().read())
                row = rows[wat["Container"]["Filename"], wat["Container"]["Offset"]]
                assert row["url"] == wat["Envelope"]["WARC-Header-Metadata"]["WARC-Target-URI"]
                response = wat["Envelope"]["Payload-Metadata"]["HTTP-Response-Metadata"]
                entries = response["HTML-Metadata"]["Links"]
                images = [urljoin(row["url"], link["url"]) for link in entries if link["path"] == "IMG@/src"]
                if images == [link["image_url"] for link in links[row["url"]]]:
                    seen[row["url"]] += 1
    assert len(wats) >= 3
    assert {url for url, page in truth["pages"].items() if page["located"]} <= set(seen)


def test_the_sentence_splitter_returns_the_planted_sentences(
    truth: dict[str, Any], documents: list[dict[str, str]]
) -> None:
    for document in documents:
        parts = [part.strip() for line in document["text"].split("\n") for part in sentencex.segment("en", line)]
        assert parts == truth["pages"][document["url"]]["sentences"]
        assert 5 <= len(parts) <= 14
    for link in truth["links"]:
        assert (link["sentence"] is not None) == (link["kind"] in ("scene", "face"))
        assert link["sentence"] is None or truth["pages"][link["page_url"]]["sentences"].count(link["sentence"]) == 1


def test_each_layout_is_planted(truth: dict[str, Any]) -> None:
    pages = [(links, truth["pages"][url]["sentences"]) for url, links in _by_page(truth).items()]
    own: dict[str, list[int]] = {"before": [], "after": []}
    rows: list[int] = []
    for links, sentences in pages:
        layout, places = links[0]["layout"], [link["after_sentence"] for link in links]
        assert places == sorted(places)
        if layout in own:
            own[layout] += [
                sentences.index(link["sentence"]) - link["after_sentence"] for link in links if link["sentence"]
            ]
        elif layout == "gallery":
            rows += Counter(places).values()
        else:
            assert set(places) <= {-1, len(sentences) - 1}
    assert Counter(own["before"])[1] > 0.5 * len(own["before"])  # directly before the image's own sentence
    assert Counter(own["after"])[0] > 0.5 * len(own["after"])
    assert 3 in rows


def test_reasons_that_follow_from_the_url(truth: dict[str, Any]) -> None:
    for link in truth["links"]:
        image = urlsplit(link["image_url"])
        assert (link["reason"] == "url_extension") != image.path.lower().endswith((".png", ".jpg", ".jpeg"))
        assert (link["reason"] == "url_token") == any(token in link["image_url"] for token in TOKENS)


def test_everything_is_planted(truth: dict[str, Any]) -> None:
    reasons = Counter(link["reason"] for link in truth["links"])
    assert len(reasons) == 15
    assert 0.45 < reasons[None] / reasons.total() < 0.6
    links = _by_page(truth)
    assert any(not links[url] for url, page in truth["pages"].items() if page["located"])
    assert any(all(link["reason"] for link in page) for page in links.values() if page)


def test_pictures_differ_and_copies_do_not(web: Path, truth: dict[str, Any]) -> None:
    responses = load_responses(web)
    scored = (None, "nsfw", "low_similarity", "document_duplicate")
    for links in _by_page(truth).values():
        hashes = {
            link["image_url"]: imagehash.phash(Image.open(io.BytesIO(_body(responses, link["image_url"]))))
            for link in links
            if link["reason"] in scored
        }
        first = {link["image_url"]: link["duplicate_of"] or link["image_url"] for link in links}
        for one, other in itertools.combinations(hashes, 2):
            distance = hashes[one] - hashes[other]
            assert distance <= 5 if first[one] == first[other] else distance > 12


def test_the_server_responds_as_planted(web: Path, truth: dict[str, Any]) -> None:
    variants = {link["variant"]: link["image_url"] for link in truth["links"]}

    async def ask(base: str) -> tuple[dict[str, tuple[int, Any, int] | type], dict[str, Any]]:
        async def one(url: str) -> tuple[int, Any, int] | type:
            try:
                async with session.get(f"{base}/{url}", timeout=aiohttp.ClientTimeout(total=2)) as response:
                    return response.status, response.headers, len(await response.read())
            except (aiohttp.ClientError, TimeoutError) as error:
                return type(error)

        async with aiohttp.ClientSession() as session:
            responses = {variant: await one(url) for variant, url in variants.items()}
            robots = await one("https://www.old-lantern.example/robots.txt")
            assert isinstance(robots, tuple)
            assert robots[0] == 404
            async with session.get(f"{base}/__stats") as stats:
                return responses, await stats.json()

    with serving(web) as base:
        responses, stats = asyncio.run(ask(base))
    assert issubclass(responses.pop("slow"), TimeoutError)  # type: ignore[arg-type]
    assert issubclass(responses.pop("dead_host"), aiohttp.ServerDisconnectedError)  # type: ignore[arg-type]
    refusal = responses.pop("busy")
    assert isinstance(refusal, tuple)
    assert (refusal[0], refusal[1]["Retry-After"]) == (503, "1")
    for variant, response in responses.items():
        assert isinstance(response, tuple), variant
        assert response[0] == (int(variant) if variant.isdigit() else 200), variant
        assert response[2] > 0, variant
    for variant in ("noai", "noimageai", "noindex", "noimageindex"):
        assert variant in responses[variant][1]["X-Robots-Tag"]  # type: ignore[index]
    assert stats["robots"] == {"www.old-lantern.example": 1}
    assert stats["too_soon"] == 0
    assert set(variants.values()) <= set(stats["per_url"])
    assert (
        stats["requests"] >= len(variants) + 2
    )  # a redirect makes three requests of one; clients may retry a dead host
    assert set(stats["most_open"].values()) == {1}


def test_the_small_models_recognise_the_pictures(web: Path) -> None:
    measured = evaluate.measure(web)
    assert np.mean(measured.right) >= 0.95
    assert np.mean(np.array(measured.own) >= evaluate.FLOOR) >= 0.98
    assert np.mean(np.array(measured.off_topic) < evaluate.FLOOR) >= 0.95
    assert min(measured.hazard) > 0.5
    assert max(measured.harmless) < 0.05
    assert np.mean(np.array(measured.face) >= 0.5) >= 0.75
    assert np.mean(np.array(measured.faceless) >= 0.5) <= 0.02


def test_weights_are_small() -> None:
    assert sum(path.stat().st_size for path in models.WEIGHTS.iterdir()) <= 8_000_000
