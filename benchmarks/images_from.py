"""Benchmark the join of --images_from on generated image shards and page shards.

    python benchmarks/images_from.py [--shards 100 200 400 800] [--rows 1000] [--pages 40] [--rounds 3]

Writes the indexes of `shards` image shards with `rows` rows each, all of which some page shard wants. Then joins them
as the images stage does, up to the point at which a page shard knows its images. No image is read. With the most image
shards the join is repeated for a quarter and for four times as many page shards. Every page shard must find all of its
images. Each run is a process of its own. The last line is JSON: seconds for each number of image shards and of page
shards, rows per second, and peak memory (MiB).
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import apache_beam as beam

from beam_jobs.prefetched_images import FindImages
from mmc4_pipeline import storage
from mmc4_pipeline.images.from_img2dataset.join import unpack_found
from mmc4_pipeline.images.from_img2dataset.prefetched import PrefetchedImages
from mmc4_pipeline.storage import HttpSettings, Inputs
from schemas.prefetched_image import PrefetchedImage


def url(number: int) -> str:
    """Return the URL of an image; neighbours are on other hosts."""
    return f"https://host-{number % 997}.example/images/2019/05/photograph-{number}.jpg"


def write_indexes(folder: Path, shards: int, rows: int) -> None:
    """Write the index of each image shard, as the stage does when it has read the shard."""
    for shard in range(shards):
        path = folder / f"{shard:06d}.parquet"
        numbers = range(shard * rows, (shard + 1) * rows)
        images = [PrefetchedImage(url(number), number, 20_000, 640, 480, f"{number:064x}") for number in numbers]
        if not path.exists():
            storage.write_records(str(path), images, PrefetchedImage)


def run(folder: Path, image_shards: int, page_shards: int, rows: int) -> dict[str, float]:
    """Join once; page shard i wants every `page_shards`-th image, so its images are in all image shards."""
    images = PrefetchedImages(Inputs(HttpSettings()), ("",) * image_shards, str(folder), 1 << 20)
    total = image_shards * rows

    def wanted(shard: int) -> set[str]:
        return {url(number) for number in range(shard, total, page_shards)}

    found = Path(tempfile.mkdtemp()) / "found"
    start, cpu = time.perf_counter(), time.process_time()
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        _ = (
            pipeline
            | FindImages(images, page_shards, range(page_shards), wanted)
            | beam.MapTuple(lambda _, blocks: len(unpack_found(blocks)))
            | beam.CombineGlobally(sum)
            | beam.Map(lambda count: found.write_text(str(count)))
        )
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    if int(found.read_text()) != total:
        raise AssertionError(f"{found.read_text()} of {total} images found")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "cpu_seconds": cpu, "peak_mb": peak}


def main() -> None:
    """Run all sizes in turn and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, nargs="+", default=[100, 200, 400, 800])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--pages", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)  # a single run, in a process of its own
    arguments = parser.parse_args()
    if arguments.one:
        folder, image_shards, page_shards = arguments.one
        print(json.dumps(run(Path(folder), int(image_shards), int(page_shards), arguments.rows)))
        return
    most = max(arguments.shards)
    sizes = [(count, arguments.pages) for count in arguments.shards]
    sizes += [(most, arguments.pages // 4), (most, arguments.pages * 4)]
    with tempfile.TemporaryDirectory() as folder:
        write_indexes(Path(folder), most, arguments.rows)
        runs: dict[tuple[int, int], list[dict[str, float]]] = {size: [] for size in sizes}
        for _ in range(arguments.rounds):
            for size in sizes:
                one = ["--one", folder, *map(str, size), "--rows", str(arguments.rows)]
                done = subprocess.run([sys.executable, __file__, *one], capture_output=True, text=True, check=True)
                runs[size].append(json.loads(done.stdout.splitlines()[-1]))
                print(*size, runs[size][-1], flush=True)
    seconds = {size: round(median(item["seconds"] for item in items), 2) for size, items in runs.items()}
    cpu = {size: round(median(item["cpu_seconds"] for item in items), 2) for size, items in runs.items()}
    result = {
        "seconds_by_image_shards": {count: seconds[count, arguments.pages] for count in arguments.shards},
        "cpu_seconds_by_image_shards": {count: cpu[count, arguments.pages] for count in arguments.shards},
        "cpu_seconds_by_page_shards": {pages: cpu[most, pages] for _, pages in sorted(sizes[-3:], key=lambda s: s[1])},
        "rows_per_cpu_second": round(most * arguments.rows / cpu[most, arguments.pages]),
        "peak_mb": round(max(item["peak_mb"] for item in runs[most, arguments.pages])),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
