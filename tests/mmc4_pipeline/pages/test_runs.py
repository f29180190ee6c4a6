"""What was read comes back shard by shard, and each shard's part is in few pieces."""

from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.pages import runs
from mmc4_pipeline.pages.page_outcome import pack, pack_text, text_of
from mmc4_pipeline.pages.runs import outcomes_of, positions_of, read_slice, read_slices, slices, write_run
from mmc4_pipeline.pages.site_shards import divide, in_order, position, positions
from schemas.page import OutcomeKind, PageOutcome


def texts(number: int) -> list[PageOutcome]:
    urls = [f"https://site{page % 7}.example/{page}" for page in range(number)]
    return [pack_text(position(url), f"text of {url}", url) for url in urls]


@given(number=st.integers(0, 60), limit=st.integers(1, 20), at_once=st.integers(0, 2000))
def test_every_outcome_is_in_the_slices_of_its_shard(
    number: int, limit: int, at_once: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = str(tmp_path_factory.mktemp("runs") / "00003")
    outcomes = texts(number)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "_SORTED_AT_ONCE", at_once)
        write_run(path, outcomes)
    shards = divide(in_order([positions_of(path)], number), limit)
    found: dict[int, list[PageOutcome]] = defaultdict(list)
    for shard, place in slices(path, shards):
        found[shard] += outcomes_of(read_slice(path, place))
    half = [shard for shard in found if shard % 2]
    assert [shard for shard, _ in read_slices(path, shards, half)] == [
        shard for shard, _ in slices(path, shards) if shard in half
    ]
    assert [data for _, data in read_slices(path, shards, half)] == [
        read_slice(path, place) for shard, place in slices(path, shards) if shard in half
    ]
    expected: dict[int, list[PageOutcome]] = defaultdict(list)
    for outcome, shard in zip(outcomes, shards.of(positions(item.position for item in outcomes)).tolist(), strict=True):
        expected[shard].append(outcome)
    assert {shard: sorted(items, key=text_of) for shard, items in found.items()} == {
        shard: sorted(items, key=text_of) for shard, items in expected.items()
    }


def test_a_shard_has_one_slice_of_a_small_run(tmp_path: Path) -> None:
    path = str(tmp_path / "00000")
    write_run(path, texts(200))
    shards = divide(in_order([positions_of(path)], 200), 10)
    assert [shard for shard, _ in slices(path, shards)] == list(range(shards.shards))


def test_counts_are_not_documents(tmp_path: Path) -> None:
    path = str(tmp_path / "00000")
    counts = pack(position("https://a.example/"), OutcomeKind.COUNTS, {"lines": {"in": 0, "kept": 0, "dropped": {}}})
    write_run(path, [*texts(3), counts])
    assert positions_of(path).tobytes() == positions(sorted(item.position for item in texts(3))).tobytes()
