"""The images job over several shards: images with too many copies in the whole corpus are dropped everywhere."""

import hashlib
import threading
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from beam_jobs.fetch_images import FetchImages
from mmc4_pipeline import storage
from mmc4_pipeline.images import partial_shards
from mmc4_pipeline.images.decoding.phash import phash
from mmc4_pipeline.images.fetching.settings import FetchSettings
from mmc4_pipeline.images.partial_shards import stored_urls
from mmc4_pipeline.loaded_filters import LoadedFilters
from mmc4_pipeline.recipe import load_recipe
from mmc4_pipeline.stage_folder import StageFolder
from schemas.image import Image
from schemas.manifest import ShardNote
from schemas.page import ImageLink, Page
from schemas.reasons import Reason, Stage
from schemas.statistics import Counts
from tests.end_to_end.running import mmc4, succeeded
from tests.mmc4_pipeline.file_server import INPUTS, Handler, serving
from tests.mmc4_pipeline.planted_plans import pages_plan
from tests.pages import new_page

SHARDS, PAGES = 3, 21


def picture(seed: int) -> np.ndarray:
    """Return a picture of coarse noise; no two are alike."""
    noise = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return cv2.resize(noise, (240, 200), interpolation=cv2.INTER_CUBIC)


def common_picture() -> np.ndarray:
    """Return a picture whose hash is beyond Beam's signed integers, like that of every second picture."""
    return next(pixels for seed in range(1000, 1100) if phash(pixels := picture(seed)) >= 2**63)


def write_pages(folder: StageFolder, address: str) -> None:
    """Write pages that have one picture of their own and one that all pages have, each under its own URL."""
    folder.begin(pages_plan(SHARDS), resume=False)
    for shard in range(SHARDS):
        pages = [
            new_page(
                f"{number:032x}",
                links=[
                    ImageLink(position, f"{address}/{kind}-{number}.jpg", "", None, None)
                    for position, kind in enumerate(("own", "common"))
                ],
                site=f"{number}.example",
            )
            for number in range(shard, PAGES, SHARDS)
        ]
        file = storage.write_records(folder.shard_file("pages", shard, SHARDS), pages, Page)
        links = Counts(seen=2 * len(pages), kept=2 * len(pages))
        counts = {"documents": Counts(len(pages), len(pages)), "links": links}
        folder.finish_shard(ShardNote(shard=shard, files=[file], counts=counts))
    folder.finish()


@pytest.mark.parametrize(
    ("rule", "dropped"),
    [
        ("corpus_duplicates={sample: 60, max_in_sample: 10, max_distance: 5}", True),
        ("corpus_duplicates={sample: 60, max_in_sample: 20, max_distance: 5}", False),
        ("corpus_copies={max_copies: 20, max_distance: 5}", True),
        ("corpus_copies={max_copies: 21, max_distance: 5}", False),
    ],
)
def test_images_with_too_many_copies_are_dropped_everywhere(tmp_path: Path, rule: str, dropped: bool) -> None:
    common = cv2.imencode(".jpg", common_picture())[1].tobytes()
    files = {f"/common-{number}.jpg": common for number in range(PAGES)}
    files |= {f"/own-{number}.jpg": cv2.imencode(".jpg", picture(number))[1].tobytes() for number in range(PAGES)}
    with serving(files) as server:
        write_pages(StageFolder(str(tmp_path / "pages"), Stage.PAGES), server.address)
        without = ("--set", "filters.corpus_duplicates=null", "--set", f"filters.{rule}")
        fetch = ("--allow_private_hosts", "--delay_per_host", "0")
        succeeded(mmc4("images", "--output", str(tmp_path), *fetch, *without))
    images = [
        image
        for path in sorted((tmp_path / "images").glob("images-*.parquet"))
        for image in storage.read_records(str(path), Image)
    ]
    assert Counter((image.url.split("/")[-1].split("-")[0], image.reason) for image in images) == {
        ("own", None): PAGES,
        ("common", Reason.CORPUS_DUPLICATE if dropped else None): PAGES,
    }


@pytest.mark.parametrize("stored", [False, True])
def test_a_late_worker_changes_nothing_in_a_finished_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, stored: bool
) -> None:
    """A worker that was believed lost is still waiting for an image when another one fetches the same shard.

    If the lost worker has stored results, the other one uses and then removes them.
    """
    monkeypatch.setattr(partial_shards, "SAVE_SECONDS", 0.05 if stored else 600.0)
    early, late = (cv2.imencode(".jpg", picture(seed))[1].tobytes() for seed in (1, 2))
    waiting, finished = threading.Event(), threading.Event()

    def delayed(handler: Handler, _: bytes) -> None:
        waiting.set()
        finished.wait(60)
        handler.answer(200, late, {})

    with serving({f"/{kind}-{number}.jpg": early for kind in ("own", "common") for number in range(PAGES)}) as server:
        pages = StageFolder(str(tmp_path / "pages"), Stage.PAGES)
        write_pages(pages, server.address)
        folder = StageFolder(str(tmp_path / "images"), Stage.IMAGES)
        settings = FetchSettings(timeout=90, delay_per_host=0, robots_txt=False, allow_private_hosts=True)
        work = FetchImages(
            pages=pages,
            folder=folder,
            shards=SHARDS,
            recipe=load_recipe("mmc4"),
            settings=settings,
            lists=LoadedFilters.read({}, INPUTS),
        )
        server.ways.append(delayed)
        lost = threading.Thread(target=work.fetch, args=(0, 1))
        lost.start()
        assert waiting.wait(60)
        while len(stored_urls(folder.file("partial/00000"))) < (2 * PAGES // SHARDS - 1) * stored:
            assert lost.is_alive()
        work.fetch(0, 1)
        assert not stored or len(server.requests) == 2 * PAGES // SHARDS + 1  # the delayed one again
        before = {path.name: path.read_bytes() for path in (tmp_path / "images").glob("*.*")}
        finished.set()
        lost.join()
    assert {path.name: path.read_bytes() for path in (tmp_path / "images").glob("*.*")} == before
    assert not (tmp_path / "images/partial/00000").exists()
    (tar,) = storage.read_json(folder.file("fetched/00000.json"))
    assert hashlib.sha256(before[tar["name"]]).hexdigest() == tar["sha256"]
    assert early in before[tar["name"]]
    assert late not in before[tar["name"]]
