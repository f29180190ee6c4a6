"""Compare the writing of shards with OpenFlamingo's converter, on the same documents and images.

    python benchmarks/shard_writing.py

The peer has the steps of open_flamingo/scripts/convert_mmc4_to_wds.py: it reads MMC4's zip line by line, opens each
image file with PIL, converts it, encodes it as JPEG again and as base64, and writes with webdataset's ShardWriter. Ours
copies the bytes that the images stage has encoded. They run in turns, and times are CPU seconds. `ratio` compares the
writing alone. `ratio_with_cut` compares everything that the cut stage does with a shard (reading Parquet, filters and
assignment, all twice, then shard and ledger) with the same peer, which makes no decisions. `formats` is the writing
alone in each format, with the files that describe its shards; formats of links write no images. The last line is JSON:
medians in images per second and core, ratios (medians of the turns), and the microseconds of an assignment of 10 images
to 25 sentences.
"""

import argparse
import base64
import json
import statistics
import tempfile
import time
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import webdataset
from PIL import Image as Picture

from mmc4_pipeline import storage
from mmc4_pipeline.assignment import assign
from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.dataset.cut import cut_shard, ledger_rows
from mmc4_pipeline.dataset.shard_numbers import kept_size, numbered
from mmc4_pipeline.dataset.write_shards import write_shard
from mmc4_pipeline.formats.base import FinishedShard
from mmc4_pipeline.formats.mmc4_jsonl import Mmc4Jsonl
from mmc4_pipeline.formats.openflamingo import OpenFlamingo
from mmc4_pipeline.formats.registry import known_formats, parse_formats
from mmc4_pipeline.naming import document_key, image_name
from mmc4_pipeline.recipe import load_recipe
from mmc4_pipeline.scoring.files import read_scores, write_scores
from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.tar import add_file, open_tar, read_image
from schemas.columns import CLIP_COLUMNS
from schemas.image import Image
from schemas.ledger import ledger_record
from schemas.page import ImageLink, Page
from schemas.reasons import Stage
from schemas.score import DocumentScores, ImageScore

MOMENT = datetime(2019, 4, 25, tzinfo=UTC)
RECIPE = load_recipe("mmc4", ("filters.document_duplicates=null", "filters.corpus_duplicates=null"))  # random hashes
RECORDS: dict[str, type[Any]] = {"pages": Page, "images": Image}
SHARD_BYTES = 10**9
SENTENCES = 25
WIDTH, HEIGHT, QUALITY = 800, 600, 90


def main() -> None:
    """Measure, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--images", type=int, default=4, help="number of images per document")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        bytes_of_images = generate(Path(folder), arguments.documents, arguments.images)
        ours, peer = Ours(Path(folder)), Peer(Path(folder))
        formats = {name: ours.writing(name) for name in known_formats()}
        turns, of_formats = [], []
        for _ in range(arguments.repeats):
            turns.append((seconds(ours.write), seconds(ours.cut_and_write), seconds(peer.convert)))
            of_formats.append({name: seconds(write) for name, write in formats.items()})
        if ours.places() != peer.places():
            raise AssertionError("the two have not written the same documents")
    images = arguments.documents * arguments.images
    result = {
        "images": images,
        "kb_per_image": round(bytes_of_images / images / 1000),
        "images_per_s": round(statistics.median(images / own for own, _, _ in turns)),
        "images_per_s_with_cut": round(statistics.median(images / whole for _, whole, _ in turns)),
        "images_per_s_openflamingo": round(statistics.median(images / other for _, _, other in turns)),
        "formats": {
            name: round(statistics.median(images / turn[name] for turn in of_formats)) for name in known_formats()
        },
        "ratio": round(statistics.median(other / own for own, _, other in turns), 1),
        "ratio_with_cut": round(statistics.median(other / whole for _, whole, other in turns), 1),
        "assignment_10x25_us": round(assignment_seconds() * 1e6, 1),
    }
    print(json.dumps(result))


def seconds(work: Callable[[], object]) -> float:
    """Return the CPU time of some work, which does not depend on the other load of the machine."""
    started = time.process_time()
    work()
    return time.process_time() - started


def assignment_seconds() -> float:
    """Return the median time of an assignment of 10 images to 25 sentences."""
    matrices = np.random.default_rng(0).uniform(0.05, 0.35, (1000, 10, 25)).astype(np.float32)
    return statistics.median(seconds(lambda: [assign(matrix) for matrix in matrices]) for _ in range(9)) / len(matrices)


def generate(folder: Path, documents: int, images: int) -> int:
    """Write a scored shard, the input of the cut stage, and its images as files. Return the images' total bytes."""
    random = np.random.default_rng(0)
    pages, rows, scores = [], [], []
    (folder / "files/0").mkdir(parents=True)
    with storage.write_atomically(f"{folder}/images.tar") as writer, open_tar(writer) as tar:
        for number in range(documents):
            url = f"https://site-{number % 7}.example/page/{number}"
            key = document_key(url, MOMENT)
            links = [ImageLink(at, f"{url}/{at}.jpg", "An image.", None, None) for at in range(images)]
            texts = [f"Sentence {at} of document {number} says a thing or two about it." for at in range(SENTENCES)]
            pages.append(Page(key, url, "example", MOMENT, False, texts, links))  # noqa: FBT003
            for link in links:
                jpeg = picture(random)
                (folder / "files/0" / image_name(link.url)).write_bytes(jpeg)
                image = Image(key, link.position, link.url, width=WIDTH, height=HEIGHT, length=len(jpeg))
                rows.append(replace(image, offset=add_file(tar, image_name(link.url), jpeg)))
            similarity = random.uniform(0.16, 0.35, (images, SENTENCES)).astype(np.float32)
            scores.append(
                DocumentScores(
                    key,
                    [ImageScore(at, {"similarity": row.tolist(), "nsfw": 0.0}) for at, row in enumerate(similarity)],
                )
            )
    made: tuple[list[Any], ...] = (pages, rows)
    for (name, record), records in zip(RECORDS.items(), made, strict=True):
        storage.write_records(f"{folder}/{name}.parquet", records, record)
    write_scores(f"{folder}/scores.parquet", scores, CLIP_COLUMNS)
    return sum(row.length or 0 for row in rows)


def picture(random: np.random.Generator) -> bytes:
    """Return a JPEG of about 100 KB: soft shapes with grain."""
    soft = cv2.resize(
        random.integers(0, 255, (12, 16, 3), dtype=np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC
    )
    grain = cv2.resize(random.normal(0, 14, (HEIGHT // 2, WIDTH // 2, 3)), (WIDTH, HEIGHT))
    pixels = np.clip(soft + grain, 0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1])


class Ours:
    """The cut stage's work on one shard."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._dataset = StageFolder(f"{folder}/ours", Stage.CUT)
        self._documents = self._cut()
        write_shard(StageFolder(f"{folder}/zip", Stage.CUT), [Mmc4Jsonl("zip")], 0, 1, self._documents, lambda _: b"")

    def write(self) -> None:
        """Write the documents that were cut before."""
        self._write(self._documents)

    def writing(self, name: str) -> Callable[[], None]:
        """Return a function that writes the documents that were cut before in one format."""
        (item,) = parse_formats([name]).values()
        dataset = StageFolder(f"{self._folder}/formats", Stage.CUT)

        def write() -> None:
            with storage.open_read(f"{self._folder}/images.tar") as tar:

                def read(image: Image) -> bytes:
                    return read_image(tar, image.offset or 0, image.length or 0)

                (file,) = write_shard(dataset, [item], 0, 1, self._documents, read)
            for _, content in item.index_files(dataset.path, [FinishedShard(file, len(self._documents))]):
                content.read()

        write()  # imports what the format needs
        return write

    def cut_and_write(self) -> None:
        """Cut once to count, cut again, and write the shard and the ledger."""
        kept_size(self._cut(), SHARD_BYTES)
        documents = self._cut()
        self._write(documents)
        rows = (row for document in documents for row in ledger_rows(document, "shard-00000.tar"))
        storage.write_records(self._dataset.file("ledger.parquet"), rows, ledger_record(CLIP_COLUMNS))

    def _cut(self) -> list[CutDocument]:
        pages, images = (
            list(storage.read_records(f"{self._folder}/{name}.parquet", record)) for name, record in RECORDS.items()
        )
        scores = list(read_scores(f"{self._folder}/scores.parquet", CLIP_COLUMNS))
        return list(cut_shard(pages, images, scores, RECIPE))

    def _write(self, documents: list[CutDocument]) -> None:
        with storage.open_read(f"{self._folder}/images.tar") as tar:

            def read(image: Image) -> bytes:
                return read_image(tar, image.offset or 0, image.length or 0)

            for number, part in groupby(numbered(documents, 0, SHARD_BYTES), key=lambda pair: pair[0]):
                write_shard(self._dataset, [OpenFlamingo()], number, 1, (document for _, document in part), read)

    def places(self) -> list[tuple[str, int]]:
        """Return URL and sentence of each written image."""
        return places(self._dataset.path)


class Peer:
    """The work of OpenFlamingo's converter, with its own libraries and settings."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def convert(self) -> None:
        """Convert one zip of documents and a folder of image files."""
        output = self._folder / "peer"
        output.mkdir(exist_ok=True)
        with (
            webdataset.ShardWriter(f"{output}/%09d.tar", verbose=0) as sink,
            zipfile.ZipFile(self._folder / "zip/mmc4_jsonl/shard-00000.jsonl.zip") as archive,
            archive.open(archive.namelist()[0]) as lines,
        ):
            for line in lines:
                sample = json.loads(line)
                for info in sample["image_info"]:
                    image = Picture.open(self._folder / "files/0" / info["image_name"]).convert("RGB")
                    buffer = BytesIO()
                    image.save(buffer, format="JPEG")
                    info["image_base64"] = base64.b64encode(buffer.getvalue()).decode("ascii")
                sink.write({"__key__": uuid.uuid4().hex, "json": sample})

    def places(self) -> list[tuple[str, int]]:
        """Return URL and sentence of each written image."""
        return places(f"{self._folder}/peer")


def places(folder: str) -> list[tuple[str, int]]:
    """Return URL and sentence of each image in a folder of shards, read with plain webdataset."""
    shards = sorted(map(str, Path(folder).glob("*.tar")))
    return [
        (info["raw_url"], info["matched_text_index"])
        for sample in webdataset.WebDataset(shards, shardshuffle=False).decode()
        for info in sample["json"]["image_info"]
    ]


if __name__ == "__main__":
    main()
