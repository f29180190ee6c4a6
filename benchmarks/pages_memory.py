"""Measure the memory of the pages stage on the local runner, with a site that is far larger than a shard.

    python benchmarks/pages_memory.py [--documents 32000] [--large_site 100000] [--workers 2]

Generates C4 files, WARC files and an index with that many documents of ordinary sites, and one more site; locates
them, and runs `mmc4 pages` on all of them and on a twentieth. The peak is that of all processes together; memory that
they share counts for each. Checks that no shard is too large. The last line is JSON: peaks in MB, and what the peak
grows by per document in kB.
"""

import argparse
import gzip
import json
import random
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

CRAWL = "CC-MAIN-2019-18"
INDEX = Path(f"cc-index/table/cc-main/warc/crawl={CRAWL}/subset=warc/part-00000.parquet")
WARC = f"crawl-data/{CRAWL}/segments/1/warc/CC-MAIN-20190418101243-20190418123243-{{:05d}}.warc.gz"
MOMENT = datetime(2019, 4, 25, 12, 0, 0, tzinfo=UTC)
STAMP = MOMENT.strftime("%Y-%m-%dT%H:%M:%SZ")
SMALLER = 20
PER_SHARD = 2000
PER_SITE, PER_WARC, PER_C4_FILE = 4, 2000, 50_000
SENTENCES, WORDS, IMAGES = 22, 16, 15  # of a page; the text is as long as C4's, 2.2 kB
VOCABULARY = 5000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=32_000)
    parser.add_argument("--large_site", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2, help="processes of the local runner (default: 2)")
    arguments = parser.parse_args()
    peaks: dict[str, float] = {}
    counts: dict[str, int] = {}
    largest = shards = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, divisor in (("small", SMALLER), ("large", 1)):
            web = Path(folder, name)
            counts[name] = generate(web, arguments.documents // divisor, arguments.large_site // divisor)
            print(f"{name}: generated {counts[name]} documents", flush=True)
            common = ("--output", web / "out", "--recipe", "mmc4", "--direct_num_workers", arguments.workers)
            run("locate", *common, "--c4", web / "c4/*.json.gz", "--cc_root", web)
            peaks[name] = run("pages", *common, "--documents_per_shard", PER_SHARD)
            print(f"{name}: {peaks[name]:.0f} MB", flush=True)
            shards, largest = shard_sizes(web / "out/pages")
            if largest > 2 * PER_SHARD:
                sys.exit(f"a shard has {largest} documents, more than twice {PER_SHARD}")
    grown = (peaks["large"] - peaks["small"]) / (counts["large"] - counts["small"])
    result = {
        "documents": counts,
        "workers": arguments.workers,
        "mb": {name: round(peak, 1) for name, peak in peaks.items()},
        "kb_per_document": round(1000 * grown, 2),
        "shards": shards,
        "largest_shard": largest,
    }
    print(json.dumps(result))


def generate(web: Path, documents: int, large_site: int) -> int:
    """Write C4 files, WARC files and their index; return the number of documents."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(VOCABULARY)]
    urls = [f"https://www.site-{number // PER_SITE}.com/article-{number}.html" for number in range(documents)]
    urls += [f"https://www.enormous.com/section/{number}.html" for number in range(large_site)]
    rng.shuffle(urls)
    index: dict[str, list[object]] = {name: [] for name in ("url", "warc_filename", "offset", "length")}
    for folder in ("c4", INDEX.parent, Path(WARC).parent):
        (web / folder).mkdir(parents=True)
    for first in range(0, len(urls), PER_WARC):
        name = WARC.format(first // PER_WARC)
        with (web / name).open("wb") as warc, open_c4(web, first // PER_C4_FILE) as c4:
            for url in urls[first : first + PER_WARC]:
                lines = [" ".join(rng.choices(words, k=WORDS)).capitalize() + "." for _ in range(SENTENCES)]
                record = gzip.compress(response(url, lines), 1)
                for column, value in zip(index.values(), (url, name, warc.tell(), len(record)), strict=True):
                    column.append(value)
                warc.write(record)
                document = {"text": "\n".join(lines), "timestamp": STAMP, "url": url}
                c4.write(json.dumps(document).encode() + b"\n")
    write_index(web / INDEX, index)
    return len(urls)


def open_c4(web: Path, number: int) -> gzip.GzipFile:
    """Open a C4 file to add documents to it."""
    return gzip.GzipFile(web / f"c4/c4-train.{number:05d}.json.gz", "ab", compresslevel=1)


def response(url: str, lines: list[str]) -> bytes:
    """Return the WARC record of a page with these paragraphs and some images."""
    images = [f'<img src="/media/{abs(hash((url, n))):x}/photo-{n}.jpg" alt="{lines[n][:40]}">' for n in range(IMAGES)]
    body = "".join(f"<p>{line}</p>" for line in lines)
    page = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html><body>{body}{''.join(images)}</body></html>"
    head = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nWARC-Date: {STAMP}\r\n"
        f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(page.encode())}\r\n\r\n"
    )
    return f"{head}{page}\r\n\r\n".encode()


def write_index(path: Path, index: dict[str, list[object]]) -> None:
    """Write the columns of Common Crawl's columnar index that matter."""
    rows = len(index["url"])
    columns = {
        "url": index["url"],
        "fetch_time": pa.array([MOMENT] * rows, pa.timestamp("ms", "UTC")),
        "fetch_status": pa.array([200] * rows, pa.int16()),
        "warc_filename": index["warc_filename"],
        "warc_record_offset": pa.array(index["offset"], pa.int32()),
        "warc_record_length": pa.array(index["length"], pa.int32()),
    }
    pq.write_table(pa.table(columns), path)


def run(stage: str, *flags: object) -> float:
    """Run a stage and return the peak memory of all its processes together, in MB."""
    command = [sys.executable, "-m", "mmc4_pipeline.cli", stage, *map(str, flags)]
    process = psutil.Popen(command, stderr=subprocess.PIPE)
    peak = 0
    while process.poll() is None:
        peak = max(peak, resident(process))
        time.sleep(0.05)
    if process.returncode:
        sys.exit(process.stderr.read().decode())
    return peak / 1e6


def resident(process: psutil.Process) -> int:
    """Return the resident bytes of a process and its descendants."""
    total = 0
    for item in (process, *process.children(recursive=True)):
        try:
            total += item.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def shard_sizes(pages: Path) -> tuple[int, int]:
    """Return the number of shards and the documents of the largest."""
    notes = [json.loads(path.read_text()) for path in (pages / "done").iterdir()]
    return len(notes), max(note["counts"]["documents"]["in"] for note in notes)


if __name__ == "__main__":
    main()
