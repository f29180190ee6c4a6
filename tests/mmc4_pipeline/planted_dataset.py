"""Small datasets, made by the pipeline's own code from planted pages, images and scores."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from msgspec.structs import replace

from mmc4_pipeline import storage
from mmc4_pipeline.dataset.cut import cut_shard, ledger_rows
from mmc4_pipeline.dataset.write_shards import write_indexes, write_shard
from mmc4_pipeline.formats.registry import parse_formats
from mmc4_pipeline.recipe import load_recipe
from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.url_filter import url_filter, urls_of
from schemas.columns import CLIP_COLUMNS
from schemas.image import Image
from schemas.ledger import ledger_record
from schemas.manifest import ShardNote
from schemas.page import ImageLink, Page
from schemas.reasons import Stage
from schemas.score import DocumentScores, ImageScore
from schemas.statistics import Counts
from tests.mmc4_pipeline.planted_plans import cut_plan
from tests.pages import new_page

SENTENCES = 5


def jpeg(number: int) -> bytes:
    """Return a small picture, different for each number."""
    coarse = np.random.default_rng(number).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    return bytes(cv2.imencode(".jpg", cv2.resize(coarse, (200, 160)))[1])


def page_of(number: int) -> tuple[Page, list[Image], DocumentScores]:
    """Return a page of four images. The third matches no sentence; the last was not stored as received."""
    key, site = hashlib.sha256(str(number).encode()).hexdigest()[:32], f"site{number}.example"
    links = [ImageLink(at, f"https://{site}/{at}.jpg", "", None, None) for at in range(4)]
    texts = [f"Sentence {at} of document {number}." for at in range(SENTENCES)]
    page = new_page(key, texts, links, url=f"https://{site}/", site=site)
    images, scores = [], []
    for link in links:
        at = link.position
        received = jpeg(10 * number + at) + b"trailer" * (at == 3)
        hashes = {"sha256": hashlib.sha256(received).hexdigest(), "byte_size": len(received)}
        size = {"width": 200, "height": 160, "phash": (0xFFF << (12 * at)) & (2**64 - 1)}
        images.append(Image(key, at, link.url, http_status=200, **hashes, **size))
        row = [0.1] * SENTENCES
        row[(3 * at + number) % SENTENCES] = 0.05 if at == 2 else 0.3 + at / 100
        scores.append(ImageScore(at, {"similarity": row, "nsfw": 0.01}))
    return page, images, DocumentScores(key, scores)


def write_dataset(
    path: Path,
    *,
    shards: int = 2,
    documents: int = 12,
    recipe: str = "mmc4",
    formats: Sequence[str] = ("openflamingo",),
    numbers: Sequence[int] | None = None,
) -> StageFolder:
    """Write a finished dataset of documents 0, 1, … in shards, as the cut stage does.

    With `numbers`, its shards have these numbers, in a dataset that would have all shards up to the last of them.
    """
    numbers = numbers or range(shards)
    items = list(parse_formats(formats).values())
    folder = StageFolder(str(path), Stage.CUT)
    folder.begin(cut_plan(shards, recipe=load_recipe(recipe).to_json(), formats=formats), resume=False)
    for shard in range(shards):
        own = range(shard, documents, shards)
        pages, images, scores = zip(*map(page_of, own), strict=True) if own else ((), (), ())
        every = [image for group in images for image in group]
        stored = {image.url: jpeg(10 * number + at) for number, group in zip(own, images, strict=True)
                  for at, image in enumerate(group)}  # fmt: skip
        cut = list(cut_shard(pages, every, scores, load_recipe(recipe)))
        kept = [document for document in cut if document.reason is None]
        number, every_shard = numbers[shard], numbers[-1] + 1
        files = write_shard(folder, items, number, every_shard, kept, lambda image, stored=stored: stored[image.url])
        rows = [row for document in cut for row in ledger_rows(document, files[0].name)]
        files.append(
            storage.write_records(folder.shard_file("ledger/ledger", shard, shards), rows, ledger_record(CLIP_COLUMNS))
        )
        counts = {"documents": Counts(len(pages)), "links": Counts(len(every))}
        counts["documents"].decide(document.reason for document in cut)
        counts["links"].decide(reason for document in cut for reason in document.cut_reasons())
        note = ShardNote(shard=shard, files=files, counts=counts, documents_in_shard={number: len(kept)})
        folder.finish_shard(replace(note, urls=url_filter(urls_of(pages))))
    folder.finish()
    write_indexes(folder, items)
    return folder
