"""Measure how many sentences are found in their pages, and compare the places of images with a second opinion.

    python benchmarks/places.py SAMPLE [--recipe mmc4]

SAMPLE is laid out like ../shared/realweb: C4 files in c4/ and a mirror of Common Crawl in commoncrawl/. The pages are
read as the pages stage does. Then they are parsed by html5lib instead of selectolax, each sentence is looked for with a
regular expression over the words of the page's raw text, and the places are counted again. The last line is JSON: the
shares of sentences found and of places that are the same, and CPU milliseconds per page, with and without places.
"""

import argparse
import gzip
import json
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import html5lib
from fastwarc import ArchiveIterator, WarcRecordType

from mmc4_pipeline.pages.c4_lines import c4_lines
from mmc4_pipeline.pages.html import decode_html
from mmc4_pipeline.pages.html_links import LinksAndText, links_and_text
from mmc4_pipeline.pages.links import resolve
from mmc4_pipeline.pages.main_text import main_text
from mmc4_pipeline.pages.places import Place, find_sentences, places_of
from mmc4_pipeline.pages.sentences import sentences_by_line
from mmc4_pipeline.recipe import load_recipe

_NOT_TEXT = ("script", "style", "template")
_HTML = "{http://www.w3.org/1999/xhtml}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sample", type=Path)
    parser.add_argument("--recipe", default="mmc4")
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe)
    pages, texts = pages_of(arguments.sample), texts_of(arguments.sample)
    counts = dict.fromkeys(("sentences", "found", "found_again", "images", "known", "inside", "same"), 0)
    spent = 0.0
    for url in sorted(pages.keys() & texts.keys()):
        html = pages[url]
        text = texts[url] if recipe.text_source == "c4" else c4_lines(main_text(html, url)).text
        lines = sentences_by_line(text)
        began = time.process_time()
        found = links_and_text(html, url, recipe.links)
        places = places_of(lines, found.around, len(found.links))
        spent += time.process_time() - began
        opinion = SecondOpinion(html, url)
        sentences = [sentence for line in lines for sentence in line]
        spans = find_sentences(lines, found.around.replace(" ", ""))
        again = opinion.spans(sentences)
        other = opinion.places(found, again)
        for position, (place, expected) in enumerate(zip(places, other, strict=True)):
            if place != expected:
                print(f"{url}: image {position}: {place}, but the second opinion is {expected}")
        counts["sentences"] += len(sentences)
        counts["found"] += sum(span is not None for span in spans)
        counts["found_again"] += sum(span is not None for span in again)
        counts["images"] += len(places)
        counts["known"] += sum(place.after_sentence is not None for place in places)
        counts["inside"] += sum(place.inside_text is True for place in places)
        counts["same"] += sum(place == expected for place, expected in zip(places, other, strict=True))
    result = {
        "pages": len(pages.keys() & texts.keys()),
        **counts,
        "share_found": round(counts["found"] / max(counts["sentences"], 1), 5),
        "share_same": round(counts["same"] / max(counts["images"], 1), 5),
        "cpu_ms_per_page": round(1000 * spent / max(len(pages), 1), 2),
    }
    print(json.dumps(result))


def pages_of(sample: Path) -> dict[str, str]:
    """Return the decoded pages by URL."""
    found = {}
    for path in sample.glob("commoncrawl/crawl-data/*/segments/*/warc/*.warc.gz"):
        for record in ArchiveIterator(path.open("rb"), record_types=WarcRecordType.response, auto_decode="all"):
            content_type = record.http_headers.get("Content-Type") or ""
            found[record.headers["WARC-Target-URI"]] = decode_html(record.reader.read(), content_type)
    return found


def texts_of(sample: Path) -> dict[str, str]:
    """Return C4's texts by URL."""
    lines = [line for path in sample.glob("c4/*.json.gz") for line in gzip.decompress(path.read_bytes()).splitlines()]
    return {document["url"]: document["text"] for document in map(json.loads, lines)}


class SecondOpinion:
    """A page as html5lib parses it: its raw text, and the offset in it of each `img`."""

    def __init__(self, html: str, url: str) -> None:
        tree = html5lib.parse(html)
        base = next((node.get("href") for node in tree.iter(f"{_HTML}base") if node.get("href")), "")
        self._base = resolve(url, base) or url
        self._images: list[tuple[dict[str, str], int]] = []
        parts: list[str] = []
        size = 0
        for piece in walk(tree.find(f"{_HTML}body")):
            if isinstance(piece, dict):
                self._images.append((piece, size))
            else:
                parts.append(piece)
                size += len(piece)
        self._text = "".join(parts)

    def spans(self, sentences: Sequence[str]) -> list[tuple[int, int] | None]:
        """Return where each sentence is, in order: the first one possible, then as late as the next one allows."""
        patterns = [pattern_of(sentence) for sentence in sentences]
        spans: list[tuple[int, int] | None] = []
        at = 0
        for pattern in patterns:
            match = pattern.search(self._text, at) if pattern else None
            spans.append(match.span() if match else None)
            at = match.end() if match else at
        limit = at
        for number in reversed(range(len(spans))):
            span, pattern = spans[number], patterns[number]
            if span and pattern:
                *_, last = (match for match in pattern.finditer(self._text, span[0], limit))
                spans[number], limit = last.span(), last.start()
        return spans

    def places(self, found: LinksAndText, spans: Sequence[tuple[int, int] | None]) -> list[Place]:
        """Return the place of each link."""
        known = [(number, *span) for number, span in enumerate(spans) if span]
        places, images = [], iter(self._images)
        for link in found.links:
            offset = next(at for attributes, at in images if resolve(self._base, attributes.get("src")) == link.url)
            before = [number for number, _, end in known if end <= offset]
            inside = known[0][1] < offset < known[-1][2] if known else None
            places.append(Place(before[-1] if before else -1, inside) if known else Place())
        return places


def walk(node: Any) -> Iterator[str | dict[str, str]]:
    """Yield the texts below a node and the attributes of each `img`, in the order of the page."""
    stack: list[Any] = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            yield item
            continue
        name = item.tag.removeprefix(_HTML) if isinstance(item.tag, str) else "template"  # a comment
        if name == "img":
            yield dict(item.attrib)
        if name in _NOT_TEXT:
            continue
        for child in reversed(item):
            stack += [child.tail or "", child]
        stack.append(item.text or "")


def pattern_of(sentence: str) -> re.Pattern[str] | None:
    """Return a pattern of the sentence's words, with anything but words between them."""
    words = re.findall(r"[^\W_]+", sentence)
    return re.compile(r"(?:[\W_]|\[\d*\])*".join(map(re.escape, words)), re.IGNORECASE) if words else None


if __name__ == "__main__":
    main()
