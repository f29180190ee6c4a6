"""A dataset of more than 10,000 shards is in folders: every reader finds its files, and one pattern names them all.

Few of its shards are there.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from braceexpand import braceexpand
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.commands import card, takedown
from mmc4_pipeline.dataset.files import files_of, shards_of
from mmc4_pipeline.formats.openflamingo import OpenFlamingo
from mmc4_pipeline.formats.registry import known_formats
from mmc4_pipeline.publish.brace_pattern import brace_pattern
from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.training import ShardedDocuments
from mmc4_pipeline.verify.dataset import verify
from schemas.manifest import CutPlan

NUMBERS = (0, 9_999, 10_000, 100_000)
NAMES = ["00/shard-000000.tar", "00/shard-009999.tar", "01/shard-010000.tar", "10/shard-100000.tar"]


@pytest.fixture
def dataset(make_dataset: Callable[..., StageFolder]) -> StageFolder:
    return make_dataset(shards=4, numbers=NUMBERS, formats=["openflamingo", "mmc4_jsonl", "obelics"])


def hashes(folder: StageFolder) -> dict[str, str]:
    return {file.name: file.sha256 for file in files_of(folder.manifest(CutPlan))}


def test_verify_and_training_find_them(dataset: StageFolder) -> None:
    assert verify(dataset).problems == []
    shards = shards_of(dataset.manifest(CutPlan))
    assert len(shards) == 12
    assert [shard.file.name for shard in shards if isinstance(shard.format, OpenFlamingo)] == NAMES
    assert {shard.in_ledger for shard in shards} == set(NAMES)
    samples = list(ShardedDocuments(dataset.path))
    assert (len(samples), {sample["__url__"] for sample in samples}) == (12, {dataset.file(name) for name in NAMES})


@pytest.mark.parametrize("name", ["00/shard-000007.tar", "shard-000007.tar", "mmc4_jsonl/01/shard-010001.jsonl.gz"])
def test_verify_names_a_shard_that_no_manifest_lists(dataset: StageFolder, name: str) -> None:
    source = next(file for file in hashes(dataset) if file.endswith(name[-4:]))
    shutil.copy(dataset.file(source), dataset.file(name))
    (problem,) = verify(dataset).problems
    assert f"{dataset.file(name)}: " in problem


def test_a_takedown_changes_the_one_shard_that_has_the_image(dataset: StageFolder, tmp_path: Path) -> None:
    before = hashes(dataset)
    (tmp_path / "list.txt").write_text("https://site3.example/1.jpg\n")  # of document 3, in the last shard
    takedown.main([dataset.path, "--list", str(tmp_path / "list.txt")])
    changed = {name for name, sha256 in hashes(dataset).items() if before[name] != sha256}
    assert changed == {
        NAMES[3],
        "mmc4_jsonl/10/shard-100000.jsonl.gz",
        "obelics/10/shard-100000.parquet",
        "ledger/ledger-00003-of-00004.parquet",
    }
    assert verify(dataset).problems == []


def test_the_card_s_patterns_name_them(dataset: StageFolder) -> None:
    card.main([dataset.path, "--url", "https://example.org/mmc4"])
    text = Path(dataset.file("README.md")).read_text()
    named = [config["data_files"][0]["path"] for config in yaml.safe_load(text.split("---\n")[1])["configs"]]
    for pattern in [*named, *re.findall(r"`(\S*\*\S*)`", text)]:
        assert len(list(Path(dataset.path).glob(pattern))) == 4
    (braces,) = re.findall("```text\n(.*?)\n```", text, re.DOTALL)
    listed = [shard.file.name for shard in shards_of(dataset.manifest(CutPlan))]
    assert sorted(name for line in braces.split("\n") for name in braceexpand(line)) == sorted(listed)


@pytest.mark.parametrize(
    ("shards", "pattern"),
    [
        (1, "shard-00000.tar"),
        (124, "shard-{00000..00123}.tar"),
        (10_000, "shard-{00000..09999}.tar"),
        (10_001, "{0/shard-{00000..09999},1/shard-10000}.tar"),
        (12_345, "{0/shard-{00000..09999},1/shard-{10000..12344}}.tar"),
        (20_000, "{0/shard-{00000..09999},1/shard-{10000..19999}}.tar"),
    ],
)
def test_a_brace_pattern_names_all_shards(shards: int, pattern: str) -> None:
    names = [OpenFlamingo().file_name(number, shards) for number in range(shards)]
    assert brace_pattern(OpenFlamingo(), names) == pattern
    assert list(braceexpand(pattern)) == names


@given(st.sampled_from(sorted(known_formats())), st.sampled_from([1_000, 30_000, 300_000]), st.data())
def test_a_brace_pattern_names_exactly_the_files_that_exist(choice: str, shards: int, data: st.DataObject) -> None:
    item = known_formats()[choice]()
    first = st.integers(0, shards - 1)
    runs = data.draw(st.lists(st.tuples(first, st.integers(1, 5)), min_size=1, max_size=5))
    numbers = {number for start, length in runs for number in range(start, min(start + length, shards))}
    names = [item.file_name(number, shards) for number in sorted(numbers)]
    assert list(braceexpand(brace_pattern(item, names))) == names
