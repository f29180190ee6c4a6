"""The last step of a stage's pipeline finishes the stage, without the program that started it."""

import signal
from collections.abc import Callable
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.pvalue import PCollection
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from beam_jobs.command_line import parse
from beam_jobs.options.common import CommonOptions
from beam_jobs.stage_runner import run_before, with_last_step
from mmc4_pipeline import storage
from mmc4_pipeline.progress import Notes
from mmc4_pipeline.stage_folder import StageFolder
from schemas.manifest import ShardNote
from schemas.reasons import Stage
from schemas.statistics import Counts
from tests.mmc4_pipeline.planted_plans import pages_plan

SHARDS = 5


@pytest.fixture
def folder(tmp_path: Path) -> StageFolder:
    folder = StageFolder(str(tmp_path / "pages"), Stage.PAGES)
    folder.begin(pages_plan(SHARDS), resume=False)
    return folder


def write(folder: StageFolder, shard: int, broken: int | None) -> None:
    if shard == broken:
        raise ValueError(f"shard {shard} cannot be written")
    folder.finish_shard(ShardNote(shard=shard, files=[], counts={"links": Counts(shard, shard)}))


def describe(folder: StageFolder) -> None:
    storage.write_json(folder.file("after.json"), folder.manifest().counts["links"].kept)


def run_pipeline(folder: StageFolder, todo: list[int], broken: int | None = None) -> None:
    """Run a stage's pipeline and nothing else."""

    def build(pipeline: beam.Pipeline, todo: list[int]) -> PCollection[None]:
        return pipeline | beam.Create(todo) | beam.Map(lambda shard: write(folder, shard, broken))

    pipeline = beam.Pipeline(runner=FnApiRunner())
    with_last_step(build, folder, describe)(pipeline, todo)
    pipeline.run().wait_until_finish()


def test_the_manifest_and_what_follows_from_it_are_written_by_the_pipeline(folder: StageFolder) -> None:
    run_pipeline(folder, list(range(SHARDS)))
    assert folder.manifest().counts == {"links": Counts(10, 10)}
    assert storage.read_json(folder.file("after.json")) == 10


def test_a_resumed_pipeline_counts_the_shards_of_the_first_run_too(folder: StageFolder) -> None:
    write(folder, 3, None)
    run_pipeline(folder, [0, 1, 2, 4])
    assert folder.manifest().counts == {"links": Counts(10, 10)}


def test_a_shard_that_fails_leaves_no_manifest(folder: StageFolder) -> None:
    with pytest.raises(Exception, match="shard 2"):
        run_pipeline(folder, list(range(SHARDS)), broken=2)
    assert not storage.exists(folder.file("manifest.json"))
    assert not storage.exists(folder.file("after.json"))


def test_ctrl_c_in_a_step_is_not_an_error_of_the_step(tmp_path: Path) -> None:
    """The local runner runs most steps in the thread that receives it."""

    def build(pipeline: beam.Pipeline) -> PCollection[None]:
        return pipeline | beam.Create([0]) | beam.Map(lambda _: signal.raise_signal(signal.SIGINT))

    folder = StageFolder(str(tmp_path / "pages"), Stage.PAGES)
    options = parse(["--output", str(tmp_path)], "mmc4 pages", "", (CommonOptions,))
    with pytest.raises(KeyboardInterrupt):
        run_before(folder, pages_plan(SHARDS), options, build, resume=False, progress=Notes("done", 0, "shards"))


@pytest.mark.parametrize("again", [StageFolder.finish, lambda folder: run_pipeline(folder, [0])])
def test_finishing_again_gives_the_same_bytes(folder: StageFolder, again: Callable[[StageFolder], object]) -> None:
    run_pipeline(folder, list(range(SHARDS)))
    names = ("manifest.json", "notes.parquet")
    before = [storage.read_bytes(folder.file(name)) for name in names]
    again(folder)
    assert [storage.read_bytes(folder.file(name)) for name in names] == before
