"""Benchmark streaming a whole WARC file: this project's `records` against warcio's ArchiveIterator, in one run.

    python benchmarks/warc_scan.py

A WARC file of 100 MB is generated (always the same one) with Common Crawl's three records for each page: request,
response, metadata. The two run alternately on one core; each returns URL and decoded body length of every response,
which are compared. Seconds are CPU seconds. The last line is JSON with medians.
"""

import argparse
import gc
import io
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from warcio.archiveiterator import ArchiveIterator
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from mmc4_pipeline.commoncrawl.archive import records
from mmc4_pipeline.commoncrawl.warc_record import Record

Pages = list[tuple[str, int]]


def main() -> None:
    """Measure, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=100, help="size of the WARC file, compressed")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pages.warc.gz")
        write_warc(path, arguments.megabytes << 20)
        times: list[tuple[float, float]] = []
        for _ in range(arguments.repeats):
            own, mine = timed(ours, path)
            other, peers = timed(theirs, path)
            times.append((own, other))
    result = {
        "pages": len(mine),
        "same_pages": mine == peers,
        "seconds": round(statistics.median(own for own, _ in times), 2),
        "seconds_warcio": round(statistics.median(other for _, other in times), 2),
        "ratio": round(statistics.median(other / own for own, other in times), 2),
    }
    print(json.dumps(result))


def timed(read: Callable[[Path], Pages], path: Path) -> tuple[float, Pages]:
    """Return the CPU seconds of reading, and the pages."""
    gc.collect()
    started = time.process_time()
    pages = read(path)
    return time.process_time() - started, pages


def ours(path: Path) -> Pages:
    """Read in the same way as pages_by_scan."""
    with path.open("rb") as stream:
        return [
            (record.url, len(record.http_response()[1]))
            for record in records(stream)
            if isinstance(record, Record) and record.type == "response"
        ]


def theirs(path: Path) -> Pages:
    """Read in the usual way of warcio."""
    with path.open("rb") as stream:
        return [
            (record.rec_headers.get_header("WARC-Target-URI"), len(record.content_stream().read()))
            for record in ArchiveIterator(stream)
            if record.rec_type == "response"
        ]


def write_warc(path: Path, size: int) -> None:
    """Write a WARC file of at least this size in bytes."""
    chance = random.Random(0)
    letters = "eeeeeettttaaaoooiiinnnsssrrrhhhlllddccuummffppggwwyybbvk"
    words = ["".join(chance.choices(letters, k=2 + int(chance.expovariate(0.25)) % 9)) for _ in range(6000)]
    lines = [html_line(chance, words) for _ in range(40_000)]
    with path.open("wb") as out:
        writer = WARCWriter(out, gzip=True)
        number = 0
        while out.tell() < size:
            url = f"https://www.{words[number % 6000]}.example/{number}.html"
            first = chance.randrange(len(lines))
            count = min(len(lines), int(chance.lognormvariate(5.7, 0.8)))
            body = "\n".join((lines * 2)[first : first + count]).encode()
            response = [("Content-Type", "text/html; charset=UTF-8"), ("Server", "nginx"), ("Vary", "Accept-Encoding")]
            request = [("User-Agent", "CCBot/2.0 (https://commoncrawl.org/faq/)"), ("Accept-Encoding", "br,gzip")]
            for kind, status, headers, content in (
                ("request", "GET / HTTP/1.1", request, b""),
                ("response", "200 OK", response, body),
                ("metadata", "", [], b"fetchTimeMs: 312\r\ncharset-detected: UTF-8\r\n"),
            ):
                protocol = "" if kind == "request" else "HTTP/1.1"
                http = (
                    StatusAndHeaders(status, headers, protocol, is_http_request=kind == "request") if status else None
                )
                writer.write_record(writer.create_warc_record(url, kind, io.BytesIO(content), http_headers=http))
            number += 1


def html_line(chance: random.Random, words: list[str]) -> str:
    """Return a line of HTML with about as much markup as text."""
    text = " ".join(words[int(6000 * chance.random() ** 3)] for _ in range(chance.randint(2, 30)))
    name, number = chance.choice(words), chance.getrandbits(24)
    return chance.choice(
        (
            f'<p class="post-{name}">{text}</p>',
            f'<li id="menu-item-{number}" class="menu-item"><a href="/{name}/{number}">{text}</a></li>',
            f'<div class="{name}"><img src="/uploads/2019/04/{name}-{number}.jpg" alt="{text}" width="300"></div>',
            f'<script type="text/javascript">var {name} = {{"id": {number}, "text": "{text}"}};</script>',
        )
    )


if __name__ == "__main__":
    main()
