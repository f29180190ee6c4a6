"""The requests to an object store: one per note, many at once, and none that removes an object that is replaced."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.object_store import ObjectStore, running
from mmc4_pipeline import storage
from mmc4_pipeline.stage_folder import StageFolder
from schemas.manifest import ShardNote, WrittenFile
from schemas.reasons import Stage
from schemas.statistics import Counts
from tests.mmc4_pipeline.planted_plans import pages_plan

SHARDS = 100


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[ObjectStore, str]]:
    store = ObjectStore(0.005)
    with running(store) as url:
        yield store, url


@pytest.fixture
def stage(served: tuple[ObjectStore, str], tmp_path: Path) -> StageFolder:
    """Return a stage in the store whose shards are written, but which is not finished."""
    store, url = served
    local = StageFolder(str(tmp_path / "pages"), Stage.PAGES)
    local.begin(pages_plan(SHARDS), resume=False)
    for shard in range(SHARDS):
        files = [WrittenFile(f"pages-{shard}", shard, "0")]
        local.finish_shard(ShardNote(shard=shard, files=files, counts={"links": Counts(shard, shard)}))
    store.objects.clear()
    store.load(tmp_path)
    store.forget_requests()
    return StageFolder(f"{url}/pages", Stage.PAGES)


def test_finishing_reads_each_note_once_and_many_at_a_time(stage: StageFolder, served: tuple[ObjectStore, str]) -> None:
    store, _ = served
    manifest = stage.finish()
    assert manifest.counts["links"] == Counts(SHARDS * (SHARDS - 1) // 2, SHARDS * (SHARDS - 1) // 2)
    assert [file.bytes for file in manifest.files] == list(range(SHARDS))
    notes = [key for method, key in store.requests if method in ("GET", "HEAD") and "/done/0" in key]
    assert len(notes) == len(set(notes)) == SHARDS
    assert len(store.requests) < SHARDS + 10
    assert 8 < store.most_open <= 32


def test_readers_of_a_finished_stage_read_no_single_note(stage: StageFolder, served: tuple[ObjectStore, str]) -> None:
    store, _ = served
    notes = [stage.note(shard) for shard in range(SHARDS)]
    stage.finish()
    store.forget_requests()
    assert list(stage.notes()) == notes
    assert not any("/done/" in key for _, key in store.requests)


def test_unfinished_shards_are_counted_with_one_request_each(
    stage: StageFolder, served: tuple[ObjectStore, str]
) -> None:
    store, _ = served
    assert stage.counts(range(10))["links"].seen == 45
    assert store.by_method() == {"GET": 10}
    assert len(storage.modified_below(stage.path, "done/*.json")) == SHARDS
    assert store.by_method()["HEAD"] < 3


def test_an_object_that_is_replaced_is_there_all_the_time(served: tuple[ObjectStore, str]) -> None:
    store, url = served
    for name in ("new", "old"):
        storage.write_bytes(f"{url}/{name}", name.encode())
    store.forget_requests()
    storage.rename(f"{url}/new", f"{url}/old")
    assert store.objects["old"] == b"new"
    assert "new" not in store.objects
    assert store.keys("DELETE") == {"new"}


@given(st.lists(st.integers()), st.integers(1, 5))
def test_concurrent_results_are_in_order_and_few_are_in_memory(items: list[int], at_once: int) -> None:
    lock, begun, taken = threading.Lock(), 0, 0

    def double(item: int) -> int:
        nonlocal begun
        with lock:
            begun += 1
            assert begun - taken <= 2 * at_once + 1
        return 2 * item

    results = []
    for result in storage.concurrently(double, items, at_once):
        taken += 1
        results.append(result)
    assert results == [2 * item for item in items]


def test_an_error_of_a_concurrent_call_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        list(storage.concurrently(lambda item: 1 // item, [2, 1, 0, 3]))
