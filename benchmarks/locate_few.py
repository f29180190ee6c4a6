"""Compare look-ups in the CDXJ index with reading the columnar index, for few documents and for many.

    python benchmarks/locate_few.py [--files 20] [--documents 10 1000 100000]

Generates both indexes of the same captures (100,000 per file; the columnar one as in locate.py), and serves them over
HTTP on this machine, with a counter. `mmc4 locate` then runs with each index on the same documents; both must give the
same files. The last line is JSON: for each number of documents the requests, megabytes and seconds with each index, and
the number of documents from which `--index auto` reads the columnar index, here and for a real crawl of 2.5 billion
captures.
"""

import argparse
import gzip
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import locate
import numpy as np
import pyarrow.parquet as pq

from mmc4_pipeline.commoncrawl.cdx_index import LookUpCost
from mmc4_pipeline.estimate.crawl_size import C4_CRAWL

LINES_PER_BLOCK, BLOCKS_PER_FILE = 3_000, 100
FOLDER = f"cc-index/collections/{locate.CRAWL}/indexes"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20, help="index files of 100,000 captures each (default: 20)")
    parser.add_argument("--documents", type=int, nargs="+", default=[10, 1_000, 100_000])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        locate.generate(folder, arguments.files, max(arguments.documents))
        root = folder / "whole"
        cluster = write_cdx(root)
        paths = sorted(root.rglob("*.parquet"))
        listed = root / f"crawl-data/{locate.CRAWL}/cc-index-table.paths.gz"
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_bytes(gzip.compress("\n".join(str(path.relative_to(root)) for path in paths).encode()))
        lines = documents(folder)
        runs = {count: compare(folder, root, lines[:count], count) for count in arguments.documents}
        columnar = sum(path.stat().st_size for path in paths)
    result = {
        "captures": arguments.files * locate.ROWS,
        "runs": runs,
        "auto_reads_columnar_from_documents": changes_over(cluster, columnar),
        "same_for_a_crawl_of_2.5_billion_captures": changes_over(C4_CRAWL.pages // 25, C4_CRAWL.index_bytes),
    }
    print(json.dumps(result))


def write_cdx(root: Path) -> int:
    """Write the CDXJ index of the captures in the columnar index; return the size of cluster.idx."""
    (root / FOLDER).mkdir(parents=True)
    lines, cluster, number, sizes = list[str](), [], 0, dict[str, int]()

    def write_block() -> None:
        nonlocal number
        member, file = gzip.compress("".join(lines).encode(), 6), f"cdx-{number // BLOCKS_PER_FILE:05d}.gz"
        with (root / FOLDER / file).open("ab") as stream:
            stream.write(member)
        offset = sizes.get(file, 0)
        sizes[file] = offset + len(member)
        number += 1
        cluster.append(f"{' '.join(lines[0].split(' ')[:2])}\t{file}\t{offset}\t{len(member)}\t{number}\n")
        lines.clear()

    for path in sorted(root.rglob("*.parquet")):
        for row in pq.read_table(path).sort_by([("url_surtkey", "ascending"), ("fetch_time", "ascending")]).to_pylist():
            values = {
                "url": row["url"],
                "mime": "text/html",
                "mime-detected": "text/html",
                "status": "200",
                "digest": f"{hash(row['url']) & (2**160 - 1):032X}",
                "length": str(row["warc_record_length"]),
                "offset": str(row["warc_record_offset"]),
                "filename": row["warc_filename"],
                "charset": "UTF-8",
                "languages": "eng",
            }
            lines.append(f"{row['url_surtkey']} {row['fetch_time']:%Y%m%d%H%M%S} {json.dumps(values)}\n")
            if len(lines) == LINES_PER_BLOCK:
                write_block()
    if lines:
        write_block()
    content = "".join(cluster).encode()
    (root / FOLDER / "cluster.idx").write_bytes(content)
    return len(content)


def documents(folder: Path) -> list[str]:
    """Return the generated documents in random order."""
    files = sorted((folder / "c4").glob("*.gz"))
    lines = [line for path in files for line in gzip.decompress(path.read_bytes()).decode().splitlines(keepends=True)]
    np.random.default_rng(7).shuffle(lines)
    return lines


def compare(folder: Path, root: Path, lines: list[str], count: int) -> dict[str, Any]:
    """Locate the documents with each index; return what each took."""
    c4 = folder / f"few-{count}.json.gz"
    c4.write_bytes(gzip.compress("".join(lines).encode(), 1))
    found: dict[str, Any] = {}
    outputs = {}
    for index in ("cdx", "columnar"):
        with serving(root) as server:
            outputs[index] = folder / f"{index}-{count}"
            options = {"c4": c4, "cc_root": server.address, "index": index, "cc_requests_per_second": 1000}
            words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
            started = time.perf_counter()
            command = [sys.executable, "-m", "mmc4_pipeline.cli", "locate", *words, "--output", str(outputs[index])]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
            found[index] = {
                "requests": server.requests,
                "megabytes": round(server.sent / 1e6, 2),
                "seconds": round(time.perf_counter() - started, 1),
            }
    names = [path.name for path in sorted((outputs["cdx"] / "locations").glob("[lr]*.parquet"))]
    for name in names:
        one, other = ((outputs[index] / "locations" / name).read_bytes() for index in outputs)
        if one != other:
            sys.exit(f"{name} differs between the two indexes")
    print(f"{count} documents: {found}", flush=True)
    return found


def changes_over(cluster_size: int, columnar: int) -> int:
    """Return the number of documents from which reading the columnar index costs less."""
    numbers = range(1, 10**9)
    return numbers[bisect_left(numbers, columnar, key=lambda count: LookUpCost.of(cluster_size, count).as_bytes)]


class CountingServer(ThreadingHTTPServer):
    """Serves the files below a folder, honours Range, and counts."""

    daemon_threads = True
    requests = sent = 0

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        """Return the URL of the folder."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: CountingServer

    def do_HEAD(self) -> None:
        self.respond(with_body=False)

    def do_GET(self) -> None:
        self.respond(with_body=True)

    def respond(self, *, with_body: bool) -> None:
        path = self.server.root / self.path.lstrip("/")
        body = path.read_bytes() if path.is_file() else b""
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        part = body[start : int(wanted[2]) + 1 if wanted and wanted[2] else None]
        self.send_response(404 if not path.is_file() else 206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        with self.server.lock:
            self.server.requests += 1
            self.server.sent += len(part) if with_body else 0
        if with_body:
            self.wfile.write(part)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def serving(root: Path) -> Iterator[CountingServer]:
    """Serve a folder until the end of the block."""
    server = CountingServer(root)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


if __name__ == "__main__":
    main()
