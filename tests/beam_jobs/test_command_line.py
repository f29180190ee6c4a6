"""The command line of a job: our options, Beam's, and unknown ones."""

from math import inf

import pytest
from apache_beam.options.pipeline_options import DirectOptions, StandardOptions, WorkerOptions

from beam_jobs.command_line import OWN_OPTIONS, parse
from beam_jobs.options.common import output_folder
from beam_jobs.options.dataset import dataset_settings
from beam_jobs.options.images import fetch_settings
from beam_jobs.options.recipe import recipe_of
from beam_jobs.options.score import chosen_scorers
from beam_jobs.options.web import http_settings
from mmc4_pipeline.assignment import Assignment
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.formats.mmc4_jsonl import Mmc4Jsonl
from mmc4_pipeline.formats.openflamingo import OpenFlamingo


def parsed(*argv: str):  # noqa: ANN201 - Beam's options
    return parse(list(argv), "mmc4 build", "", OWN_OPTIONS)


def test_the_local_runner_is_pinned_unless_another_is_named() -> None:
    assert parsed().view_as(StandardOptions).runner == "FnApiRunner"
    assert parsed("--runner", "FlinkRunner").view_as(StandardOptions).runner == "FlinkRunner"


def test_beam_s_own_options_pass() -> None:
    options = parsed("--direct_num_workers", "3", "--temp_location=/tmp/x", "--experiments=a", "--experiments=b")
    assert options.view_as(DirectOptions).direct_num_workers == 3
    assert parsed("--max_num_workers", "9").view_as(WorkerOptions).max_num_workers == 9


@pytest.mark.parametrize(
    ("flag", "near"),
    [("--recpie", "--recipe"), ("--clip_modle=x", "--clip_model"), ("--direct_num_worker", "--direct_num_workers")],
)
def test_an_unknown_option_is_refused_with_the_nearest_known_one(flag: str, near: str) -> None:
    with pytest.raises(UserError, match=f"{flag.partition('=')[0]}: .*{near}\\?"):
        parsed(flag, "1")


def test_a_remote_runner_may_have_options_that_beam_s_sdk_does_not_know() -> None:
    parsed("--runner=FlinkRunner", "--flag_of_the_runner=1")


def test_options_reach_the_settings() -> None:
    options = parsed(
        *(
            "--output",
            "out",
            "--recipe",
            "mmc4-core",
            "--set",
            "filters.similarity.min=0.2",
            "--crawl",
            "CC-MAIN-2020-05",
        ),
        *("--set", "filters.nsfw=null", "--image_routes", "{url}", "http://archive.example/{timestamp}/{url}"),
        *("--fetch_user_agent", "mine/1 me@a.example", "--delay_per_host", "1.5", "--shard_seconds", "0"),
        *("--fetch_timeout", "3", "--clip_model", "ViT-B-32", "--clip_pretrained", "random"),
    )
    recipe, fetch, (scorer,) = recipe_of(options), fetch_settings(options), chosen_scorers(options)
    assert output_folder(options) == "out"
    assert (recipe.name, recipe.crawl) == ("mmc4-core", "CC-MAIN-2020-05")
    assert recipe.filters["similarity"].min == 0.2
    assert recipe.assignment.method == "hungarian"
    assert "nsfw" not in recipe.filters
    assert fetch.routes == ("{url}", "http://archive.example/{timestamp}/{url}")
    assert (fetch.timeout, fetch.delay_per_host, fetch.shard_seconds, fetch.robots_txt) == (3, 1.5, inf, True)
    assert not fetch.allow_private_hosts
    assert scorer.folder == "ViT-B-32_random"


def test_the_assignment_on_the_command_line_overrides_the_recipe_s() -> None:
    assert recipe_of(parsed("--assignment", "max")).to_json()["assignment"] == "max"
    assert recipe_of(parsed("--assignment", "hungarian", "--set", "assignment=max")).assignment == Assignment()


def test_formats_and_shard_size_reach_the_settings() -> None:
    assert dataset_settings(parsed()).formats == {"openflamingo": OpenFlamingo()}
    chosen = dataset_settings(parsed("--formats", "mmc4_jsonl:compression=zip", "openflamingo", "--shard_bytes", "5"))
    assert chosen.formats == {"mmc4_jsonl": Mmc4Jsonl("zip"), "openflamingo": OpenFlamingo()}
    assert chosen.named_in_ledger(2, 3) == "mmc4_jsonl/shard-00002.jsonl.zip"
    plan = chosen.plan()
    assert plan.shard_bytes == 5
    assert plan.formats == [
        {"name": "mmc4_jsonl", "compression": "zip", "similarity_matrix": True},
        {"name": "openflamingo"},
    ]


def test_shards_of_zero_bytes_and_unknown_formats_are_refused() -> None:
    with pytest.raises(UserError, match=r"--shard_bytes 0: .*1"):
        dataset_settings(parsed("--shard_bytes", "0"))
    with pytest.raises(UserError, match="--formats tfrecord: "):
        dataset_settings(parsed("--formats", "tfrecord"))


def test_images_and_common_crawl_are_requested_with_the_same_user_agent() -> None:
    options = parsed("--fetch_user_agent", "mine/1 (+https://a.example)", "--cc_requests_per_second", "0.5")
    assert fetch_settings(options).user_agent == http_settings(options).user_agent == "mine/1 (+https://a.example)"
    assert http_settings(options).requests_per_second == 0.5
    private = parsed("--allow_private_hosts")
    assert fetch_settings(private).user_agent == http_settings(private).user_agent


def test_the_live_web_requires_a_contact_in_the_user_agent() -> None:
    for agent in ([], ["--fetch_user_agent", "mine/1"]):
        with pytest.raises(UserError, match=r"--fetch_user_agent .*https://"):
            fetch_settings(parsed(*agent))


def test_robots_txt_can_be_ignored() -> None:
    assert not fetch_settings(parsed("--allow_private_hosts", "--ignore_robots_txt")).robots_txt


@pytest.mark.parametrize(
    ("flag", "value"),
    [("max_open_requests", "0"), ("max_open_per_host", "0"), ("delay_per_host", "-1.0"), ("shard_seconds", "nan")],
)
def test_impossible_limits_are_refused(flag: str, value: str) -> None:
    with pytest.raises(UserError, match=f"--{flag} {value}: "):
        fetch_settings(parsed("--allow_private_hosts", f"--{flag}={value}"))


@pytest.mark.parametrize(
    ("runner", "processes"),
    [
        ([], 1),
        (["--direct_num_workers", "4"], 4),
        (["--runner", "FlinkRunner", "--parallelism", "16", "--sdk_worker_parallelism", "2"], 32),
        (["--runner", "DataflowRunner", "--max_num_workers", "5"], 5),
    ],
)
def test_the_processes_of_a_run_share_one_rate(runner: list[str], processes: int) -> None:
    options = parsed(*runner, "--cc_requests_per_second", "40")
    assert http_settings(options).requests_per_second == 40 / processes


@pytest.mark.parametrize("number", ["0", "-1", "nan"])
def test_an_impossible_number_of_requests_is_refused(number: str) -> None:
    with pytest.raises(UserError, match=r"--cc_requests_per_second .*: .*0"):
        http_settings(parsed(f"--cc_requests_per_second={number}"))


@pytest.mark.parametrize("runner", ["FlinkRunner", "DataflowRunner"])
def test_a_misspelt_option_is_refused_on_every_runner(runner: str) -> None:
    with pytest.raises(UserError, match=r"--recpie: .*--recipe\?"):
        parsed("--runner", runner, "--recpie", "mmc4-core")


def test_prism_has_no_options_of_its_own() -> None:
    with pytest.raises(UserError, match="--flag_of_the_runner: "):
        parsed("--runner=PrismRunner", "--flag_of_the_runner=1")
