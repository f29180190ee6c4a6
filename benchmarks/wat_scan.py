"""Benchmark image links from a WAT file: `pages_by_wat` for every page against cc2dataset's `process_wat`, in one run.

    python -m venv peer && peer/bin/pip install pyspark pysimdjson fsspec loguru fastwarc
    peer/bin/pip install --no-deps cc2dataset
    python benchmarks/wat_scan.py --peer peer/bin/python

A WAT file of 200 MB is generated (always the same one), the two run alternately on one core, and their links are
compared page by page. Seconds are CPU seconds within the function. The peer runs as "image_only", which includes images
without `alt`, like this project. The peer does not resolve character references in URLs ("&amp;"); they are resolved
before the links are compared. `ratio_c4` is for one page in seven, about C4's share of a crawl; the peer cannot select
pages. The last line is JSON with medians.
"""

import argparse
import gc
import html
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mmc4_pipeline.commoncrawl.by_wat import pages_by_wat, wat_filename
from mmc4_pipeline.pages.content import PageContent
from mmc4_pipeline.pages.page_reader import PageReader
from mmc4_pipeline.recipe import LinkSettings
from mmc4_pipeline.storage import HttpSettings, Inputs
from schemas.capture import Location

WARC = "crawl-data/CC-MAIN-2019-18/segments/1/warc/CC-MAIN-20190418101243-00000.warc.gz"
MOMENT = datetime(2019, 4, 25, tzinfo=UTC)
C4_SHARE = 7  # one page of this many is in C4
PEER = """
import json, sys, time
from loguru import logger
from cc2dataset.main import process_wat
logger.remove()
started = time.process_time()
rows = list(process_wat(sys.argv[1], "image_only"))
seconds = time.process_time() - started
if len(sys.argv) > 2:
    with open(sys.argv[2], "w") as out:
        for _, url, _, _, page in rows:
            out.write(json.dumps([page, url]) + chr(10))
print(json.dumps(seconds))
"""


def main() -> None:
    """Measure, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, help="the Python of an environment with cc2dataset (see above)")
    parser.add_argument("--megabytes", type=int, default=200, help="size of the WAT file, compressed")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, wat_filename(WARC))
        written = write_wat(path, arguments.megabytes << 20)
        print(f"{written.pages} pages, {written.raw >> 20} MiB, compressed {path.stat().st_size >> 20} MiB")
        ours: list[float] = []
        c4: list[float] = []
        theirs: list[float] = []
        for turn in range(arguments.repeats):
            ours.append(seconds(folder, written.locations))
            theirs.append(peer_seconds(arguments.peer, path, Path(folder, "links") if turn == 0 else None))
            c4.append(seconds(folder, written.locations[::C4_SHARE]))
        same, links = compare(folder, written.locations, Path(folder, "links"))
    result = {
        "pages": written.pages,
        "links": links,
        "same_links": same,
        "seconds": round(statistics.median(ours), 2),
        "seconds_cc2dataset": round(statistics.median(theirs), 2),
        "ratio": round(statistics.median(other / own for own, other in zip(ours, theirs, strict=True)), 2),
        "ratio_c4": round(statistics.median(other / own for own, other in zip(c4, theirs, strict=True)), 2),
    }
    print(json.dumps(result))


def seconds(folder: str, locations: list[Location]) -> float:
    """Return the CPU seconds of reading these pages, after checking that each was read."""
    gc.collect()
    started = time.process_time()
    read = sum(isinstance(page, PageContent) for page in our_pages(folder, locations))
    spent = time.process_time() - started
    if read != len(locations):
        sys.exit(f"{len(locations)} pages are wanted, {read} were read")
    return spent


def our_pages(folder: str, locations: list[Location]) -> Iterator[object]:
    """Read in the same way as the pipeline."""
    return pages_by_wat(Inputs(HttpSettings()), folder, WARC, locations, PageReader(LinkSettings()))


def peer_seconds(python: str, path: Path, links: Path | None) -> float:
    """Return the CPU seconds of the peer, in its own process, and write its links if a path is given."""
    command = [python, "-c", PEER, str(path), *([str(links)] if links else [])]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compare(folder: str, locations: list[Location], peer: Path) -> tuple[bool, int]:
    """Return whether each page has the same image URLs in the same order on both sides, and their number."""
    theirs: dict[str, list[str]] = {}
    for line in peer.open():
        page, url = json.loads(line)
        theirs.setdefault(page, []).append(html.unescape(url))
    ours = {
        page.location.url: [link.url for link in page.links]
        for page in our_pages(folder, locations)
        if isinstance(page, PageContent) and page.links
    }
    return ours == theirs, sum(map(len, ours.values()))


@dataclass
class Written:
    """A generated file: the pages' locations, and the number of bytes before compression."""

    locations: list[Location]
    raw: int

    @property
    def pages(self) -> int:
        """Their number."""
        return len(self.locations)


def write_wat(path: Path, size: int) -> Written:
    """Write a WAT file of at least this size in bytes, with Common Crawl's three records for each page."""
    path.parent.mkdir(parents=True)
    chance = random.Random(0)
    words = make_words(chance)
    sites = [Site(chance, chance.sample(words, 500)) for _ in range(200)]
    written = Written([], 0)
    offset = 479
    with path.open("wb", buffering=1 << 20) as out:
        while out.tell() < size:
            site = sites[len(written.locations) % len(sites)]
            url = f"{site.origin}/{slug(chance, site.words)}/{len(written.locations)}.html"
            for kind in ("request", "response", "metadata"):
                length = chance.randrange(400, 40_000) if kind == "response" else chance.randrange(350, 500)
                if kind == "response":
                    site_name = site.origin.partition("//")[2]
                    place = (url, MOMENT, site_name, "c4:1", MOMENT, WARC, offset, length)
                    written.locations.append(Location(url, *place, could_have_url_duplicate=False))
                data = record(url, envelope(chance, site, url, kind, offset, length))
                offset += length
                written.raw += len(data)
                packer = zlib.compressobj(6, zlib.DEFLATED, 31)
                out.write(packer.compress(data) + packer.flush())
    return written


def make_words(chance: random.Random) -> list[str]:
    """Make words, of which the frequent ones are short as in any language."""
    letters = "eeeeeettttaaaoooiiinnnsssrrrhhhlllddccuummffppggwwyybbvk"
    return ["".join(chance.choices(letters, k=2 + int(chance.expovariate(0.25)) % 9)) for _ in range(6000)]


def phrase(chance: random.Random, words: list[str], most: int) -> str:
    """Return some words."""
    return " ".join(words[int(len(words) * chance.random() ** 2)] for _ in range(chance.randint(1, most)))


def slug(chance: random.Random, words: list[str]) -> str:
    """Return some words in the form used in URLs."""
    return phrase(chance, words, 5).replace(" ", "-")


class Site:
    """A web site with links and images, of which each page has some, in the proportions of news pages."""

    def __init__(self, chance: random.Random, words: list[str]) -> None:
        self.words = words
        self.origin = f"https://www.{chance.choice(words)}{chance.choice(words)}.example"
        self.links = [self._link(chance, words) for _ in range(1500)]
        self.scripts = [
            f'{{"path":"SCRIPT@/src","url":"{self.origin}/js/{slug(chance, words)}.js?ver={n}"}}' for n in range(20)
        ]
        self.styles = [
            f'{{"path":"LINK@/href","url":"{self.origin}/css/{slug(chance, words)}.css?ver={n}","rel":"stylesheet"}}'
            for n in range(12)
        ]

    def _link(self, chance: random.Random, words: list[str]) -> str:
        kind = chance.random()
        if kind < 0.145:
            return self._image(chance, words)
        if kind < 0.16:
            return f'{{"path":"FORM@/action","url":"{self.origin}/search","method":"get"}}'
        if kind < 0.17:
            return f'{{"path":"IFRAME@/src","url":"https://player.example/embed/{chance.getrandbits(40):x}?rel=0"}}'
        start = chance.choice((self.origin, self.origin, "", f"https://{chance.choice(words)}.example"))
        title = chance.choice(
            ("", "", "", f',"title":"{phrase(chance, words, 6)}"', ',"target":"_blank","rel":"nofollow"')
        )
        path = f"{start}/{slug(chance, words)}/{slug(chance, words)}/"
        return f'{{"path":"A@/href","url":"{path}"{title},"text":"{phrase(chance, words, 7)}"}}'

    def _image(self, chance: random.Random, words: list[str]) -> str:
        name = f"{slug(chance, words)}-{chance.choice((150, 300, 768, 1024))}.jpg"
        folder = f"wp-content/uploads/2019/{chance.randint(1, 12):02}"
        url = chance.choices(
            (
                f"{self.origin}/{folder}/{name}",
                f"https://cdn.{chance.choice(words)}.example/{folder}/{name}",
                f"https://i.{chance.choice(words)}.example/{chance.getrandbits(64):x}/{name}?w=300&amp;h=200",
                f"//cdn.{chance.choice(words)}.example/{folder}/{name}",
                f"/{folder}/{name}",
                f"images/{name}",
                f"../img/{name}",
                "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7",
            ),
            (30, 26, 6, 10, 11, 3, 1, 13),
        )[0]
        alt = f',"alt":"{phrase(chance, words, 9)}"' if chance.random() < 0.5 else ""
        return f'{{"path":"IMG@/src","url":"{url}"{alt}}}'

    def html(self, chance: random.Random) -> str:
        """Return the HTML-Metadata of one page."""
        first = chance.randrange(len(self.links))
        count = min(len(self.links), int(chance.lognormvariate(4.7, 0.75)))  # 148 on average
        links = (self.links * 2)[first : first + count]
        base = f',"Base":"{self.origin}/"' if chance.random() < 0.03 else ""
        metas = ",".join(
            f'{{"property":"og:{name}","content":"{phrase(chance, self.words, 20)}"}}'
            for name in (
                "title",
                "description",
                "site_name",
                "image:alt",
                "type",
                "locale",
                "see_also",
                "updated",
                "url",
                "app",
                "id",
            )
        )
        return (
            f'{{"Head":{{"Title":"{phrase(chance, self.words, 9)}"{base},"Metas":[{metas}],'
            f'"Link":[{",".join(self.styles)}],'
            f'"Scripts":[{",".join(self.scripts)}]}},"Links":[{",".join(links)}]}}'
        )


def envelope(chance: random.Random, site: Site, url: str, kind: str, offset: int, length: int) -> str:
    """Return a WAT record's JSON with its keys in the order of 2019."""
    digest = f"sha1:{chance.getrandbits(160):040X}"
    identity = f"<urn:uuid:{chance.getrandbits(128):032x}>"
    http = f'"Actual-Content-Type":"application/http; msgtype={kind}"'
    if kind == "response":
        payload = (
            f'{http},"HTTP-Response-Metadata":{{"Response-Message":{{"Status":"200","Version":"HTTP/1.1","Reason":"OK"}},'
            f'"Headers-Length":"41","Headers":{{"Date":"Thu, 25 Apr 2019 12:57:54 GMT","Server":"nginx","Content-Type":'
            f'"text/html; charset=UTF-8","X-Crawler-Transfer-Encoding":"chunked","Connection":"keep-alive","Vary":'
            f'"Accept-Encoding","X-Powered-By":"PHP/7.2.17","Link":"<{site.origin}/wp-json/>; rel=\\"https://api.w.org/\\"",'
            f'"Cache-Control":"max-age=600","X-Crawler-Content-Encoding":"gzip","Content-Length":"{length * 4}"}},'
            f'"HTML-Metadata":{site.html(chance)},"Entity-Length":"{length * 4}","Entity-Digest":"{digest}",'
            '"Entity-Trailing-Slop-Length":"0"}'
        )
    elif kind == "request":
        payload = (
            f'{http},"HTTP-Request-Metadata":{{"Request-Message":{{"Method":"GET","Version":"HTTP/1.1","Path":"{url}"}},'
            '"Headers-Length":"310","Headers":{"User-Agent":"CCBot/2.0 (https://commoncrawl.org/faq/)","Accept":'
            '"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8","Accept-Language":"en-US,en;q=0.5",'
            f'"Accept-Encoding":"br,gzip","Connection":"Keep-Alive"}},"Entity-Length":"0","Entity-Digest":"{digest}",'
            '"Entity-Trailing-Slop-Length":"0"}'
        )
    else:
        payload = (
            '"Actual-Content-Type":"application/metadata-fields","WARC-Metadata-Metadata":{"Metadata-Records":'
            f'[{{"Name":"fetchTimeMs","Value":"{chance.randrange(9999)}"}},{{"Name":"charset-detected","Value":"UTF-8"}},'
            '{"Name":"languages-cld2","Value":"{\\"reliable\\":true,\\"languages\\":[{\\"code\\":\\"en\\"}]}"}]}'
        )
    return (
        f'{{"Container":{{"Filename":"{WARC.rpartition("/")[2]}","Compressed":true,"Offset":"{offset}","Gzip-Metadata":'
        f'{{"Inflated-Length":"{length * 4}","Footer-Length":"8","Inflated-CRC":"{chance.getrandbits(31)}",'
        f'"Deflate-Length":"{length}","Header-Length":"10"}}}},"Envelope":{{"Format":"WARC","WARC-Header-Length":"592",'
        f'"Actual-Content-Length":"{length * 4}","WARC-Header-Metadata":{{"WARC-IP-Address":"192.0.2.{offset % 256}",'
        f'"WARC-Target-URI":"{url}","WARC-Payload-Digest":"{digest}","WARC-Block-Digest":"{digest}","WARC-Date":'
        f'"2019-04-25T12:57:54Z","WARC-Record-ID":"{identity}","WARC-Type":"{kind}","Content-Type":"application/http"}},'
        f'"Block-Digest":"{digest}","Payload-Metadata":{{{payload},"Trailing-Slop-Length":"0"}}}}}}'
    )


def record(url: str, content: str) -> bytes:
    """Return a WARC record of type metadata."""
    body = content.encode()
    return (
        (
            f"WARC/1.0\r\nWARC-Type: metadata\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2019-04-25T12:57:54Z\r\n"
            f"WARC-Record-ID: <urn:uuid:{zlib.crc32(body):08x}-0000-4000-8000-{zlib.adler32(body):012x}>\r\n"
            f"WARC-Refers-To: <urn:uuid:{zlib.crc32(body):08x}-0000-4000-8000-000000000000>\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode()
        + body
        + b"\r\n\r\n"
    )


if __name__ == "__main__":
    main()
