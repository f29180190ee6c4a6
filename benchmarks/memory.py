"""Measure the memory of the images stage on the local runner, for a miniature web and one ten times as large.

    python benchmarks/memory.py

The figure is the peak resident memory of the process that runs the stage. All shards have the same size, so that the
two differ only by memory that grows with the number of documents. `idle` is a process that only imports the job. They
run in turns; the last line is JSON with medians in MB.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from mmc4_pipeline.miniweb.generate import generate
from mmc4_pipeline.miniweb.serve import serving

MINIWEB = Path(__file__).parents[1] / "mmc4_pipeline" / "miniweb"
TIMES = 10
PRINT_PEAK = "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')))"
STAGE = "import sys; from mmc4_pipeline.cli import run_job; run_job(sys.argv[1], sys.argv[2:])"


def main() -> None:
    """Measure, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=150, help="number of pages of the smaller web")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    sizes = {"small": arguments.pages, "large": TIMES * arguments.pages}
    found: dict[str, list[float]] = {name: [] for name in ("idle", *sizes)}
    with tempfile.TemporaryDirectory() as folder:
        for name, pages in sizes.items():
            generate(Path(folder, name), pages=pages)
        for repeat in range(arguments.repeats):
            found["idle"].append(peak("import beam_jobs.images"))
            for name in sizes:
                found[name].append(images_stage(Path(folder, name), Path(folder, f"{name}-{repeat}")))
    medians = {name: statistics.median(values) for name, values in found.items()}
    result = {
        "pages": sizes,
        "mb": {name: round(value, 1) for name, value in medians.items()},
        "ratio": round(medians["large"] / medians["small"], 3),
    }
    print(json.dumps(result))


def images_stage(web: Path, output: Path) -> float:
    """Return the peak memory of the images stage for a web, in MB."""
    common = ("--output", str(output), "--recipe", str(MINIWEB / "miniweb.yaml"))
    peak(STAGE, "locate", *common, "--c4", str(web / "c4/*.json.gz"), "--cc_root", str(web / "commoncrawl"))
    peak(STAGE, "pages", *common, "--documents_per_shard", "30")
    with serving(web) as address:
        fetch = ("--image_routes", f"{address}/{{url}}", "--fetch_timeout", "2", "--max_open_per_host", "32")
        return peak(STAGE, "images", *common, *fetch, "--allow_private_hosts")


def peak(program: str, *arguments: str) -> float:
    """Run Python in a separate process and return its peak resident memory in MB (Linux).

    The process reads its own figure. The kernel's figure for an ended process includes the process that started it.
    """
    command = [sys.executable, "-c", f"{program}; {PRINT_PEAK}", *arguments]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return int(printed.split()[-2]) / 1000


if __name__ == "__main__":
    main()
