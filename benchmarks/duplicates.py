"""Corpus-wide near copies among 1 and 2 million perceptual hashes: every planted pair must be found.

Needs only the project: `python benchmarks/duplicates.py`. Each run is a separate process, so that its peak memory can
be measured; the two sizes take turns. The corpus has planted pairs of hashes exactly at the distance from each other,
and equally many pairs that are one bit further apart. Any other hash that is reported must be near another one by
chance, which is checked for each of them.
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
import numpy as np
import numpy.typing as npt

from beam_jobs.near_copies import TooManyCopies

DISTANCE = 5
SIZES = (1_000_000, 2_000_000)
ROUNDS = 3
_SHARDS = 100
_PLANTED = 1000  # pairs at the distance, and pairs one bit beyond it

Hashes = npt.NDArray[np.uint64]


def corpus(size: int) -> tuple[Hashes, Hashes, Hashes]:
    """Return all hashes, shuffled, those planted near another one, and those planted just beyond the distance."""
    random = np.random.default_rng(size)
    hashes = random.integers(0, 2**64, size, dtype=np.uint64)
    centres = hashes[: 2 * _PLANTED]
    near = np.array([flipped(random, centre, DISTANCE) for centre in centres[:_PLANTED]], dtype=np.uint64)
    beyond = np.array([flipped(random, centre, DISTANCE + 1) for centre in centres[_PLANTED:]], dtype=np.uint64)
    hashes[2 * _PLANTED : 3 * _PLANTED] = near
    hashes[3 * _PLANTED : 4 * _PLANTED] = beyond
    return random.permutation(hashes), np.concatenate([centres[:_PLANTED], near]), beyond


def flipped(random: np.random.Generator, value: np.uint64, bits: int) -> int:
    """Return the hash with this many bits flipped."""
    return int(value) ^ sum(1 << int(bit) for bit in random.choice(64, size=bits, replace=False))


def run(size: int) -> dict[str, float]:
    """Find all hashes that have a copy, check them, and return the seconds and the process's peak memory."""
    hashes, near, beyond = corpus(size)
    shards = [piece.astype("<u8").tobytes() for piece in np.array_split(hashes, _SHARDS)]
    file = Path(tempfile.mkdtemp()) / "found"
    start, cpu = time.perf_counter(), time.process_time()
    pipeline = beam.Pipeline(runner="FnApiRunner")
    _ = pipeline | beam.Create(shards) | TooManyCopies(1, DISTANCE) | beam.Map(file.write_bytes)
    pipeline.run().wait_until_finish()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    reported = np.frombuffer(file.read_bytes(), dtype="<u8")
    missed = len(np.setdiff1d(near, reported))
    by_chance = np.setdiff1d(reported, near)
    wrong = sum(int((np.bitwise_count(hashes ^ one) <= DISTANCE).sum() < 2) for one in by_chance)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    counts = {"missed": missed, "wrong": wrong, "beyond": len(beyond), "by_chance": len(by_chance)}
    return {"seconds": seconds, "cpu_seconds": cpu, "peak_mb": peak, **counts}


def main() -> None:
    """Run both sizes in turn and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)  # a single run, in a process of its own
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(run(arguments.one)))
        return
    runs: dict[int, list[dict[str, float]]] = {size: [] for size in SIZES}
    for _ in range(arguments.rounds):
        for size in SIZES:
            command = [sys.executable, __file__, "--one", str(size)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            runs[size].append(json.loads(done.stdout.splitlines()[-1]))
            print(size, runs[size][-1], flush=True)
    small, large = (runs[size] for size in SIZES)
    seconds = [median(item["seconds"] for item in items) for items in (small, large)]
    result = {
        "seconds_1m": round(seconds[0], 2),
        "seconds_2m": round(seconds[1], 2),
        "ratio": round(seconds[1] / seconds[0], 2),
        "cpu_ratio": round(median(i["cpu_seconds"] for i in large) / median(i["cpu_seconds"] for i in small), 2),
        "peak_mb": round(max(item["peak_mb"] for item in large)),
        "missed": sum(item["missed"] for item in small + large),
        "wrong": sum(item["wrong"] for item in small + large),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
