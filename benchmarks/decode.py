"""Decoding: this project's single pass compared with img2dataset's Resizer and imagehash, on the same bytes.

    python -m venv peer && peer/bin/pip install img2dataset imagehash
    python benchmarks/decode.py --peer peer/bin/python

The peer does what a user of img2dataset would do for the same result: `Resizer` (longest side 800, only if larger, JPEG
of quality 90), then `imagehash.phash` of its output. img2dataset's pins conflict with this project's, so it runs in a
separate interpreter. The two take turns, with one thread each; times are seconds of one core (CPU time). The pictures
are generated, with detail at every scale like photographs: 60% JPEGs of 1200 to 4000 pixels, 30% JPEGs of 400 to 800,
and the rest PNG and WebP of 400 to 1200.

The last line is JSON: medians of images per second and core; `ratio`, and `ratio_large`, `ratio_small` and
`ratio_other` for the three kinds; `ratio_skip_reencode` for a Resizer that keeps JPEGs that need no resizing, as this
project does (its default is to encode them again); and in how many bits the two hashes of a picture differ.
"""

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np

MAX_SIDE, QUALITY = 800, 90
KINDS = ("large", "small", "other")
MODES = ("encode", "skip_reencode")  # of the peer
Measured = tuple[int, int, int]  # stored width and height, hash


def main() -> None:
    """Measure and print, or run as the peer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", default=sys.executable, help="a Python that has img2dataset and imagehash")
    parser.add_argument("--images", type=int, default=80)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--be_the_peer", metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    if arguments.be_the_peer:
        serve(Path(arguments.be_the_peer))
        return
    if subprocess.run([arguments.peer, "-c", "import img2dataset, imagehash"], check=False).returncode:
        parser.error(
            f"--peer {arguments.peer}: has no img2dataset and imagehash; run python -m venv peer && "
            "peer/bin/pip install img2dataset imagehash"
        )
    with tempfile.TemporaryDirectory() as folder:
        sizes = generate(Path(folder), arguments.images)
        print(json.dumps(compare(Path(folder), arguments.peer, arguments.repeats) | sizes))


def compare(folder: Path, peer_python: str, repeats: int) -> dict[str, object]:
    """Let the two take turns on each kind of picture and return the figures."""
    ours = work_of_ours()
    own: dict[str, list[float]] = {kind: [] for kind in KINDS}
    peers: dict[tuple[str, str], list[float]] = {(kind, mode): [] for kind in KINDS for mode in MODES}
    apart: list[int] = []
    with peer_process(peer_python, folder) as run_peer:
        for _ in range(repeats):
            for kind in KINDS:
                seconds, mine = timed(ours, bodies_of(folder, kind))
                own[kind].append(seconds)
                for mode in MODES:
                    seconds, theirs = run_peer(kind, mode)
                    peers[kind, mode].append(seconds)
                    apart += bits_apart(mine, theirs)
    counts = {kind: len(bodies_of(folder, kind)) for kind in KINDS}

    def of_all(times: Callable[[str], list[float]]) -> list[float]:
        return [sum(turn) for turn in zip(*(times(kind) for kind in KINDS), strict=True)]

    def ratio(theirs: list[float], mine: list[float]) -> float:
        return round(statistics.median(peer / ours for peer, ours in zip(theirs, mine, strict=True)), 2)

    whole = of_all(own.__getitem__)
    encoding, skipping = (of_all({kind: peers[kind, mode] for kind in KINDS}.__getitem__) for mode in MODES)
    return {
        "images": sum(counts.values()),
        "images_per_s": round(sum(counts.values()) / statistics.median(whole), 1),
        "images_per_s_img2dataset": round(sum(counts.values()) / statistics.median(encoding), 1),
        "ratio": ratio(encoding, whole),
        **{f"ratio_{kind}": ratio(peers[kind, "encode"], own[kind]) for kind in KINDS},
        "ratio_skip_reencode": ratio(skipping, whole),
        "bits_apart_median": statistics.median(apart),
        "bits_apart_max": max(apart),
    }


def work_of_ours() -> Callable[[bytes], Measured]:
    """Return this project's way: one call. It is imported here because the peer's interpreter does not have it."""
    from mmc4_pipeline.images.decoding.decode import Decoded, decode
    from mmc4_pipeline.recipe import ImageSettings

    settings = ImageSettings(MAX_SIDE, QUALITY)

    def work(body: bytes) -> Measured:
        result = decode(body, settings)
        if not isinstance(result, Decoded):
            message = f"a generated picture was refused: {result}"
            raise TypeError(message)
        height, width = result.pixels.shape[:2]
        return width, height, result.phash

    return work


def work_of_peer(mode: str) -> Callable[[bytes], Measured]:
    """Return the way of img2dataset and imagehash."""
    imagehash = importlib.import_module("imagehash")
    picture = importlib.import_module("PIL.Image")
    resizer = importlib.import_module("img2dataset.resizer").Resizer(
        image_size=MAX_SIDE,
        resize_mode="keep_ratio_largest",
        resize_only_if_bigger=True,
        encode_quality=QUALITY,
        encode_format="jpg",
        skip_reencode=mode == "skip_reencode",
    )

    def work(body: bytes) -> Measured:
        jpeg, width, height, _, _, error = resizer(BytesIO(body))
        if error is not None:
            raise ValueError(error)
        return width, height, int(str(imagehash.phash(picture.open(BytesIO(jpeg)))), 16)

    return work


def timed(work: Callable[[bytes], Measured], bodies: list[bytes]) -> tuple[float, list[Measured]]:
    """Return the CPU seconds of some work, and its results."""
    started = time.process_time()
    results = [work(body) for body in bodies]
    return time.process_time() - started, results


def bits_apart(mine: list[Measured], theirs: list[Measured]) -> Iterator[int]:
    """Yield the distance of the two hashes of each picture; raises AssertionError if their sizes differ."""
    for own, other in zip(mine, theirs, strict=True):
        if abs(own[0] - other[0]) > 1 or abs(own[1] - other[1]) > 1:
            message = f"the two have not made the same pictures: {own[:2]} and {other[:2]}"
            raise AssertionError(message)
        yield (own[2] ^ other[2]).bit_count()


@contextmanager
def peer_process(python: str, folder: Path) -> Iterator[Callable[[str, str], tuple[float, list[Measured]]]]:
    """Run the peer's interpreter; it takes one turn for each line that it reads."""
    with subprocess.Popen(
        [python, __file__, "--be_the_peer", str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def run_peer(kind: str, mode: str) -> tuple[float, list[Measured]]:
            if process.stdin is None or process.stdout is None:
                raise AssertionError
            print(kind, mode, file=process.stdin, flush=True)
            seconds, results = json.loads(process.stdout.readline())
            return seconds, [(width, height, phash) for width, height, phash in results]

        yield run_peer


def serve(folder: Path) -> None:
    """Run as the peer: take a turn for each line read, and print its time and results as a line of JSON."""
    works = {mode: work_of_peer(mode) for mode in MODES}
    for line in sys.stdin:
        kind, mode = line.split()
        print(json.dumps(timed(works[mode], bodies_of(folder, kind))), flush=True)


def bodies_of(folder: Path, kind: str) -> list[bytes]:
    """Read the pictures of a kind."""
    return [path.read_bytes() for path in sorted((folder / kind).iterdir())]


def generate(folder: Path, count: int) -> dict[str, object]:
    """Write the pictures of each kind to a folder; return their average size."""
    random = np.random.default_rng(0)
    shares = {"large": round(0.6 * count), "small": round(0.3 * count)}
    shares["other"] = count - sum(shares.values())
    spans = {"large": (1200, 4000), "small": (400, 800), "other": (400, 1200)}
    pixels = size = 0
    for kind, share in shares.items():
        (folder / kind).mkdir()
        for number in range(share):
            longest = int(random.integers(*spans[kind], endpoint=True))
            width, height = (longest, longest * 3 // 4) if number % 3 else (longest * 2 // 3, longest)
            quality = int(random.integers(75, 93))
            ending, options = ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality]
            if kind == "other":
                ending, options = (".png", []) if number % 2 else (".webp", [cv2.IMWRITE_WEBP_QUALITY, quality])
            body = cv2.imencode(ending, photograph(random, width, height), options)[1].tobytes()
            (folder / kind / f"{number:04}{ending}").write_bytes(body)
            pixels, size = pixels + width * height, size + len(body)
    return {"megapixels_an_image": round(pixels / count / 1e6, 2), "kb_an_image": round(size / count / 1000)}


def photograph(random: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Return a BGR picture like a photograph: detail at every scale, weaker at finer ones, and a little noise."""
    picture = np.zeros((height, width, 3), np.float32)
    cells, weight = 4, 0.5
    while cells < max(width, height):
        layer = random.integers(0, 256, (max(2, cells * height // width), cells, 3)).astype(np.float32)
        picture += weight * cv2.resize(layer, (width, height), interpolation=cv2.INTER_LINEAR)
        cells, weight = cells * 2, weight * 0.5
    noise = random.normal(0, 2, (height, width, 1)).astype(np.float32)
    clipped: np.ndarray = np.clip(picture + noise, 0, 255).astype(np.uint8)
    return clipped


if __name__ == "__main__":
    main()
