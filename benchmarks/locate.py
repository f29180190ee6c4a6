"""Benchmark the locate stage as users run it, on a generated index with known results.

    python benchmarks/locate.py [--folder DIR] [--files 200] [--documents 300000] [--workers 2]

Generates an index of `files` times 100,000 rows, laid out, sorted and compressed like Common Crawl's, and C4 files most
of whose documents are in it (in --folder, where a second run reuses them). Then runs `mmc4 locate` on half of the files
and on all of them, checks the outcome of every document, and compares the Bloom filter with Arrow's look-up in the
exact set of URLs, which every worker would have to hold in memory. The last line is JSON: seconds (elapsed and CPU),
peak memory of the process tree (MiB), rows shuffled per document, the ratio of the times for all rows and for half of
them, rows per second, and the core hours for a crawl's 2.5 billion rows.
"""

import argparse
import gzip
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmc4_pipeline.commoncrawl.wanted import BloomFilter, WantedUrls, false_positive_rate, hashes_of

CRAWL = "CC-MAIN-2019-18"
ROWS = 100_000  # per file, in one row group
TWICE = 50  # one of this many rows is a second capture of the URL before it, a day later
WARC_FILES = 56_000
C4_FILES = 8
START = 1_555_578_517  # 2019-04-18
INDEX = Path(f"cc-index/table/cc-main/warc/crawl={CRAWL}/subset=warc")
REAL_ROWS = 2_500_000_000  # of the crawl from which C4 was made


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--files", type=int, default=200, help="index files of 100,000 rows each (default: 200)")
    parser.add_argument("--documents", type=int, default=300_000)
    parser.add_argument("--workers", type=int, default=2, help="processes of the local runner (default: 2)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        started = time.perf_counter()
        generate(folder, arguments.files, arguments.documents)
        print(f"generated in {time.perf_counter() - started:.0f} s", flush=True)
        half = measure(folder, "half", arguments.workers, Path(temporary))
        whole = measure(folder, "whole", arguments.workers, Path(temporary))
        bloom, exact = look_ups(folder, arguments.files)
    # The time of the other half of the rows; the rest is starting up and reading the documents.
    core_seconds_per_row = (whole["cpu_seconds"] - half["cpu_seconds"]) / (whole["rows"] - half["rows"])
    result = {
        "rows": whole["rows"],
        "documents": whole["documents"],
        "workers": arguments.workers,
        "seconds": whole["seconds"],
        "seconds_half": half["seconds"],
        "time_ratio": round(whole["seconds"] / half["seconds"], 2),
        "cpu_seconds": whole["cpu_seconds"],
        "cpu_seconds_half": half["cpu_seconds"],
        "cpu_time_ratio": round(whole["cpu_seconds"] / half["cpu_seconds"], 2),
        "rows_per_s": round(whole["rows"] / whole["seconds"]),
        "peak_mb": whole["peak_mb"],
        "peak_mb_half": half["peak_mb"],
        "shuffled_per_document": round(whole["shuffled"] / whole["documents"], 4),
        "core_hours_for_the_crawl": round(core_seconds_per_row * REAL_ROWS / 3600, 2),
        "bloom_ns_per_row": round(bloom, 1),
        "is_in_ns_per_row": round(exact, 1),
        "is_in_ratio": round(exact / bloom, 2),
    }
    print(json.dumps(result))


def generate(folder: Path, files: int, documents: int) -> None:
    """Make index and documents unless they exist."""
    done = folder / f"generated-{files}-{documents}"
    if done.exists():
        return
    for name in ("whole", "half"):
        (folder / name / INDEX).mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor() as pool:
        list(pool.map(partial(write_index_file, folder), range(files)))
    write_documents(folder, files, documents)
    done.touch()


def captures(rows: np.ndarray) -> dict[str, Any]:
    """Return the index's values for these row numbers, from which everything is derived."""
    again = rows % TWICE == TWICE - 1
    pages = rows - again
    mixed = pages.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return {
        "site": text_of(pages // 40, 7),
        "path": join("/", text_of(pages % 40, 2), "/", text_of(mixed >> np.uint64(24)), "-an-article-on-it.html"),
        "time": START + (mixed >> np.uint64(45)).astype(np.int64) % 700_000 + again * 86_400,
        "warc": ((rows * 2_654_435_761) >> 7) % WARC_FILES,
        "offset": (rows * 40_503 % 900_000_000).astype(np.int32),
        "length": (5_000 + rows * 31 % 40_000).astype(np.int32),
    }


def text_of(numbers: np.ndarray, width: int = 0) -> pa.Array:
    """Return numbers as strings, padded with zeros."""
    return pc.utf8_lpad(pa.array(numbers).cast(pa.string()), width, padding="0")


def join(*parts: str | pa.Array) -> pa.Array:
    """Concatenate strings and columns of strings, row by row."""
    return pc.binary_join_element_wise(*parts, "")


@cache
def warc_names() -> pa.Array:
    """Return the names of the crawl's WARC files."""
    numbers = np.arange(WARC_FILES)
    segment, moment = text_of(1_555_578_517_558 + numbers // 560), text_of(20_190_418_101_243 + numbers // 560)
    name = join("/warc/CC-MAIN-", moment, "-20190426123243-", text_of(numbers % 560, 5), ".warc.gz")
    return join(f"crawl-data/{CRAWL}/segments/", segment, name)


def url_of(row: dict[str, Any]) -> pa.Array:
    """Return the rows' URLs."""
    return join("https://www.site", row["site"], ".example.com", row["path"])


def write_index_file(folder: Path, number: int) -> None:
    """Write one file of the index; every second one is also in the half."""
    row = captures(np.arange(number * ROWS, (number + 1) * ROWS))
    domain = join("site", row["site"], ".example.com")
    names = warc_names().take(pa.array(row["warc"]))

    def constant(value: str) -> pa.Array:
        return pa.repeat(pa.scalar(value), ROWS)

    table = pa.table(
        {
            "url_surtkey": join("com,example,site", row["site"], ")", row["path"]),
            "url": url_of(row),
            "url_host_name": join("www.", domain),
            "url_host_tld": constant("com"),
            "url_host_registered_domain": domain,
            "url_protocol": constant("https"),
            "url_path": row["path"],
            "fetch_time": pa.array(row["time"], pa.timestamp("s")).cast(pa.timestamp("ms")),
            "fetch_status": pa.array(np.full(ROWS, 200, np.int16)),
            "content_mime_type": constant("text/html"),
            "content_mime_detected": constant("text/html"),
            "content_charset": constant("UTF-8"),
            "content_languages": constant("eng"),
            "warc_filename": names,
            "warc_record_offset": row["offset"],
            "warc_record_length": row["length"],
            "warc_segment": pc.utf8_slice_codeunits(names, 36, 49),
        }
    )
    path = folder / "whole" / INDEX / f"part-{number:05d}.c000.gz.parquet"
    # Like Spark: gzip, and no Arrow schema in the footer.
    pq.write_table(table, path, compression="gzip", compression_level=1, store_schema=False)
    link = folder / "half" / INDEX / path.name
    if number % 2 == 0 and not link.exists():
        link.hardlink_to(path)


def write_documents(folder: Path, files: int, count: int) -> None:
    """Write the C4 files and the expected outcome of their documents.

    3 of 100 documents have another time than their capture, and 3 are of pages that were never crawled.
    """
    random = np.random.default_rng(4)
    rows = np.sort(random.choice(files * ROWS, count, replace=False))
    random.shuffle(rows)
    row, kind = captures(rows), np.arange(count) % 100
    late, missing = kind < 3, (kind >= 3) & (kind < 6)
    urls = pc.if_else(pa.array(missing), join(url_of(row), "?missing"), url_of(row))
    times = row["time"] + late * 3601
    truth = {
        "url": urls,
        "timestamp": pa.array(times, pa.timestamp("s", "UTC")),
        "file": rows // ROWS,
        "late": late,
        "missing": missing,
        "several": (rows % TWICE) >= TWICE - 2,
        "warc_filename": warc_names().take(pa.array(row["warc"])),
        "offset": row["offset"].astype(np.int64),
    }
    pq.write_table(pa.table(truth), folder / "truth.parquet")
    stamps = pc.strftime(truth["timestamp"], "%Y-%m-%dT%H:%M:%SZ")
    text = join('{"text":"A short text.\\nOf two lines, number ', text_of(rows), '.","timestamp":"')
    lines = join(text, stamps, '","url":"', urls, '"}\n')
    (folder / "c4").mkdir(exist_ok=True)
    for number, part in enumerate(np.array_split(np.arange(count), C4_FILES)):
        content = "".join(lines.take(pa.array(part)).to_pylist()).encode()
        path = folder / "c4" / f"c4-train.{number:05d}-of-{C4_FILES:05d}.json.gz"
        path.write_bytes(gzip.compress(content, 1, mtime=0))


def measure(folder: Path, name: str, workers: int, temporary: Path) -> dict[str, Any]:
    """Run the stage on half or all of the index, check its result, and return time and memory used."""
    output = Path(tempfile.mkdtemp(dir=temporary))
    options = {"c4": folder / "c4/*.json.gz", "cc_root": folder / name, "output": output, "direct_num_workers": workers}
    flags = [str(word) for option, value in options.items() for word in (f"--{option}", value)]
    started = time.perf_counter()
    process = psutil.Popen([sys.executable, "-m", "mmc4_pipeline.cli", "locate", *flags], stderr=subprocess.DEVNULL)
    peak, busy = 0, dict[int, float]()
    while process.poll() is None:
        peak = max(peak, resources_used(process, busy))
        time.sleep(0.1)
    seconds = time.perf_counter() - started
    if process.returncode:
        sys.exit(f"mmc4 locate {' '.join(flags)} failed")
    manifest = json.loads((output / "locations/manifest.json").read_text())
    notes = [json.loads(path.read_text()) for path in (output / "locations/done").iterdir()]
    check(folder, output / "locations", half=name == "half")
    result = {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(sum(busy.values()), 1),
        "peak_mb": peak >> 20,
        "rows": manifest["input"]["index_rows"],
        "documents": manifest["counts"]["documents"]["in"],
        "shuffled": sum(note["index_rows_shuffled"] for note in notes),
    }
    print(f"{name}: {result}", flush=True)
    return result


def resources_used(process: psutil.Process, busy: dict[int, float]) -> int:
    """Return the resident bytes of a process and its descendants, and note the CPU seconds of each.

    Memory that processes share counts for each of them.
    """
    total = 0
    for item in (process, *process.children(recursive=True)):
        try:
            times = item.cpu_times()
            total += item.memory_info().rss
        except psutil.NoSuchProcess:
            continue
        busy[item.pid] = times.user + times.system
    return total


def check(folder: Path, locations: Path, *, half: bool) -> None:
    """Compare the located documents, and the reasons for the others, with the planted ones."""
    truth = pq.read_table(folder / "truth.parquet")
    included = pc.equal(pc.bit_wise_and(truth["file"], 1), 0) if half else pa.array([True] * len(truth))
    hit = pc.and_(included, pc.invert(pc.or_(truth["late"], truth["missing"])))
    columns = ["url", "timestamp", "warc_filename", "offset", "several"]
    expected = sorted(map(tuple, (row.values() for row in truth.filter(hit).select(columns).to_pylist())))
    found = pa.concat_tables([pq.read_table(path) for path in locations.glob("locations-*.parquet")])
    columns[-1] = "could_have_url_duplicate"
    got = sorted(map(tuple, (row.values() for row in found.select(columns).to_pylist())))
    late = set(truth.filter(pc.and_(included, truth["late"]))["url"].to_pylist())
    rejects = pa.concat_tables([pq.read_table(path) for path in locations.glob("rejects-*.parquet")]).to_pylist()
    reported = {row["url"] for row in rejects if row["detail"].startswith("captured at other times only")}
    if got != expected or reported != late or len(got) + len(rejects) != len(truth):
        planted, met = (len(expected), len(late)), (len(got), len(reported))
        sys.exit(f"{locations}: located and met at other times: {met}, planted: {planted}, of {len(truth)}")


def look_ups(folder: Path, files: int) -> tuple[float, float]:
    """Return nanoseconds per row for the Bloom filter and for Arrow's look-up in the exact set, run alternately."""
    wanted = pq.read_table(folder / "truth.parquet", columns=["url"])["url"].combine_chunks()
    path = folder / "whole" / INDEX / "part-00000.c000.gz.parquet"
    urls = pq.read_table(path, columns=["url"], partitioning=None)["url"].combine_chunks()
    rate = false_positive_rate(len(wanted), files * ROWS, 0.05)
    bloom = WantedUrls({0: BloomFilter.of(hashes_of(wanted), rate)}, 1)
    turns = [
        (nanoseconds(partial(bloom.among, urls)), nanoseconds(lambda: pc.is_in(urls, value_set=wanted)))
        for _ in range(9)
    ]
    own, peer = (statistics.median(times) for times in zip(*turns, strict=True))
    return own, peer


def nanoseconds(work: Callable[[], object]) -> float:
    """Return how many nanoseconds something takes per row."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) / ROWS * 1e9


if __name__ == "__main__":
    main()
