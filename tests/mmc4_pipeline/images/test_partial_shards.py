"""Answers of a shard that is not written yet are stored from time to time and found again."""

import hashlib
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmc4_pipeline import storage
from mmc4_pipeline.images import partial_shards
from mmc4_pipeline.images.fetch_shards import fetch_shards
from mmc4_pipeline.images.fetching.settings import FetchSettings
from mmc4_pipeline.images.partial_shards import ImageResult, stored_urls
from mmc4_pipeline.images.process_shard import FetchedShard, ShardToFetch
from mmc4_pipeline.recipe import load_recipe
from schemas.page import Page
from schemas.reasons import Reason
from tests.mmc4_pipeline.images.one_shard import fetch_shard
from tests.mmc4_pipeline.images.site import Site, jpeg, page

PATIENCE = 60  # seconds


def fetch(pages: list[Page], tar: Path) -> FetchedShard:
    fast = FetchSettings(allow_private_hosts=True, delay_per_host=0.0, timeout=PATIENCE)
    return fetch_shard(pages, load_recipe("mmc4"), fast, str(tar))


def save_often_and_fetch(pages: list[Page], tar: Path) -> None:
    partial_shards.SAVE_SECONDS = 0.05
    fetch(pages, tar)


def show(site: Site, photo: Callable[..., np.ndarray], count: int) -> list[Page]:
    """Let a site have pictures and return pages with them, with a missing one and with one that is too small."""
    site.files = {f"/{number}.jpg": (jpeg(photo(number)), {}) for number in range(count)}
    site.files["/small.jpg"] = (jpeg(photo(count, 100, 80)), {})
    names = [f"/{number}.jpg" for number in range(count)] + ["/missing.jpg", "/small.jpg", "/last.jpg"]
    return [page(f"k{at}", *(site.address + name for name in names[at : at + 3])) for at in range(0, len(names), 3)]


def parts(tar: Path) -> list[Path]:
    return sorted(Path(f"{tar}.parts").glob("part-*.parquet"))


def test_a_killed_worker_loses_only_what_was_not_stored(
    site: Site, tmp_path: Path, photo: Callable[..., np.ndarray]
) -> None:
    pages, tar, whole = show(site, photo, 12), tmp_path / "images.tar", tmp_path / "whole.tar"
    site.files["/last.jpg"] = (jpeg(photo(99)), {})
    uninterrupted = fetch(pages, whole)
    wanted = {link.url for each in pages for link in each.links}
    site.requested.clear()
    site.slow["/last.jpg"] = PATIENCE
    worker = multiprocessing.get_context("spawn").Process(target=save_often_and_fetch, args=(pages, tar))
    worker.start()
    deadline = time.monotonic() + PATIENCE
    while stored_urls(f"{tar}.parts") != {url for url in wanted if "/last" not in url}:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    worker.kill()
    worker.join()
    assert not tar.exists()
    site.slow.clear()
    resumed = fetch(pages, tar)
    assert tar.read_bytes() == whole.read_bytes()
    assert resumed.images == uninterrupted.images
    assert {path: count for path, count in site.requested.items() if count > 1} == {"/last.jpg": 2}


def test_many_bytes_are_stored_early_and_in_small_parts(
    site: Site, tmp_path: Path, photo: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    pages, tar = show(site, photo, 20), tmp_path / "images.tar"
    fetch(pages, tmp_path / "whole.tar")
    monkeypatch.setattr(partial_shards, "SAVE_BYTES", 1)
    monkeypatch.setattr(partial_shards, "PART_BYTES", 1)
    result = fetch(pages, tar)
    jpegs = [sum(row.jpeg is not None for row in storage.read_records(str(part), ImageResult)) for part in parts(tar)]
    assert sum(jpegs) > 10
    assert max(jpegs) == 1
    assert tar.read_bytes() == (tmp_path / "whole.tar").read_bytes()
    stored = stored_urls(f"{tar}.parts")
    site.requested.clear()
    assert fetch(pages, tar).images == result.images
    assert {site.address + path for path in site.requested} == {row.url for row in result.images} - stored


def test_what_a_broken_write_left_is_not_read(
    site: Site, tmp_path: Path, photo: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial_shards, "SAVE_BYTES", 1)
    pages, tar = show(site, photo, 3), tmp_path / "images.tar"
    before = fetch(pages, tar)
    written = parts(tar)
    for part in written:
        part.with_name(part.name + ".tmp-0123456789ab").write_bytes(part.read_bytes()[:-100])
        part.unlink()
    site.requested.clear()
    assert fetch(pages, tar).images == before.images
    assert written
    assert len(site.requested) == 6


def test_a_shard_whose_time_is_over_is_not_written_and_continues_later(
    site: Site, tmp_path: Path, photo: Callable[..., np.ndarray]
) -> None:
    pages, tar = show(site, photo, 6), tmp_path / "images.tar"
    site.slow = {"/0.jpg": 2.5}  # the time limit comes before its response
    settings = FetchSettings(
        allow_private_hosts=True, delay_per_host=0.0, timeout=PATIENCE, max_open_per_host=1, shard_seconds=2.0
    )
    shard = ShardToFetch(3, lambda: pages, load_recipe("mmc4"), str(tar), f"{tar}.parts")
    finished: list[FetchedShard] = []
    assert fetch_shards([shard], settings, lambda _, done: finished.append(done)) == [3]
    assert (finished, tar.exists()) == ([], False)
    assert fetch_shards([shard], replace(settings, shard_seconds=PATIENCE), lambda _, done: finished.append(done)) == []
    assert [row.reason for row in finished[0].images] == [None] * 6 + [Reason.HTTP_ERROR, None, Reason.HTTP_ERROR]
    assert set(site.requested.values()) == {1}


def test_two_results_of_a_url_do_not_mix(site: Site, tmp_path: Path, photo: Callable[..., np.ndarray]) -> None:
    """Workers that fetch the same shard may get different results; row and JPEG are of one of them."""
    pages, tar = [page("k", site.address + "/a.jpg")], tmp_path / "images.tar"
    results = []
    for number in (1, 2):
        site.files = {"/a.jpg": (jpeg(photo(number)), {})}
        batch = partial_shards.Batch()
        results.append(fetch(pages, tmp_path / f"{number}.tar").images[0])
        batch.add(f"{tar}.parts", results[-1], site.files["/a.jpg"][0])
        batch.save()
    (row,) = fetch(pages, tar).images
    start = row.offset or 0
    stored = tar.read_bytes()[start : start + (row.length or 0)]
    assert row.sha256 in {result.sha256 for result in results}
    assert hashlib.sha256(stored).hexdigest() == row.sha256
