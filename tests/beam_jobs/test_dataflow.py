"""Options of Dataflow: what follows from a stage is set, what the user set stays, what cannot be right is logged."""

import pytest
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions, WorkerOptions

from beam_jobs.command_line import OWN_OPTIONS, parse
from beam_jobs.dataflow import options_for
from beam_jobs.engines import worker_processes
from schemas.reasons import Stage

DATAFLOW = ("--runner", "DataflowRunner", "--sdk_container_image", "image")


def prepared(stage: Stage, *argv: str) -> PipelineOptions:
    given = parse(list(argv), "mmc4 build", "", OWN_OPTIONS)
    before = given.get_all_options()
    options = options_for(stage, given)
    assert given.get_all_options() == before  # other stages of a build run with them too
    return options


@pytest.mark.parametrize(
    ("words", "processes"),
    [
        ("", 1),
        ("--num_workers 20", 20),
        ("--num_workers 5 --max_num_workers 20", 20),
        ("--num_workers 20 --machine_type n1-standard-4", 80),
        ("--num_workers 3 --machine_type n2-custom-2-8192", 6),
        ("--num_workers 3 --machine_type custom-2-8192-ext", 6),
        ("--num_workers 3 --machine_type e2-medium", 3),
        ("--num_workers 20 --machine_type n1-standard-4 --experiments no_use_multiple_sdk_containers", 20),
    ],
)
def test_the_processes_are_counted_from_the_options(words: str, processes: int) -> None:
    options = parse([*DATAFLOW, *words.split()], "mmc4 build", "", OWN_OPTIONS)
    assert worker_processes(options) == processes


@pytest.mark.parametrize(
    ("stage", "words", "algorithm"),
    [
        (Stage.IMAGES, "--num_workers 20", "NONE"),
        (Stage.PAGES, "--num_workers 20", "NONE"),
        (Stage.IMAGES, "--num_workers 20 --autoscaling_algorithm THROUGHPUT_BASED", "THROUGHPUT_BASED"),
        (Stage.IMAGES, "--max_num_workers 20", None),
        (Stage.SCORE, "--num_workers 20", None),
    ],
)
def test_a_stage_that_waits_keeps_its_workers(stage: Stage, words: str, algorithm: str | None) -> None:
    options = prepared(stage, *DATAFLOW, *words.split())
    assert options.view_as(WorkerOptions).autoscaling_algorithm == algorithm


def test_disk_for_temporary_files_is_given_to_the_stage_that_needs_it() -> None:
    def disk(stage: Stage, words: str = "") -> int | None:
        return prepared(stage, *DATAFLOW, *words.split()).view_as(WorkerOptions).disk_size_gb  # type: ignore[no-any-return]

    small, large = disk(Stage.IMAGES), disk(Stage.IMAGES, "--machine_type n1-standard-4")
    assert small
    assert large == small + 30
    assert disk(Stage.IMAGES, "--disk_size_gb 7") == 7
    assert disk(Stage.LOCATE) is None


def test_beam_is_that_of_the_image() -> None:
    assert prepared(Stage.LOCATE, *DATAFLOW).view_as(SetupOptions).sdk_location == "container"
    assert prepared(Stage.LOCATE, *DATAFLOW, "--sdk_location", "x").view_as(SetupOptions).sdk_location == "x"


@pytest.mark.parametrize(
    ("stage", "words", "flags"),
    [
        (Stage.IMAGES, "", {"--num_workers"}),
        (Stage.IMAGES, "--num_workers 20", set()),
        (Stage.LOCATE, "", {"--cc_requests_per_second"}),
        (Stage.PAGES, "", {"--num_workers", "--cc_requests_per_second"}),
        (Stage.LOCATE, "--max_num_workers 20", set()),
        (Stage.SCORE, "", set()),
    ],
)
def test_a_missing_number_of_workers_is_logged(
    caplog: pytest.LogCaptureFixture, stage: Stage, words: str, flags: set[str]
) -> None:
    prepared(stage, *DATAFLOW, *words.split())
    assert len(caplog.records) == len(flags)
    assert all(any(flag in line for line in caplog.messages) for flag in flags)


def test_other_engines_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    options = prepared(Stage.IMAGES, "--num_workers", "20", "--sdk_container_image", "image")
    assert options.view_as(WorkerOptions).autoscaling_algorithm is None
    assert options.view_as(WorkerOptions).disk_size_gb is None
    assert options.view_as(SetupOptions).sdk_location == "default"
    assert caplog.records == []
