"""The command line: ours, Beam's, and what is neither."""

import pytest
from apache_beam.options.pipeline_options import DirectOptions, StandardOptions, WorkerOptions

from beam_jobs.options import OWN_OPTIONS, fetch_settings, output_folder, parse, recipe_of, scorer_settings
from mmc4_pipeline.errors import UserError


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
def test_a_flag_that_nobody_knows_is_refused_with_the_nearest(flag: str, near: str) -> None:
    with pytest.raises(UserError, match=f"unknown argument; did you mean {near}\\?"):
        parsed(flag, "1")


def test_a_remote_runner_may_know_flags_that_beam_s_sdk_does_not() -> None:
    parsed("--runner=PortableRunner", "--flag_of_the_runner=1")


def test_what_is_said_reaches_the_settings() -> None:
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
        *("--fetch_timeout", "3", "--clip_model", "ViT-B-32", "--clip_pretrained", "random"),
    )
    recipe, fetch, scorer = recipe_of(options), fetch_settings(options), scorer_settings(options)
    assert output_folder(options) == "out"
    assert (recipe.name, recipe.crawl) == ("mmc4-core", "CC-MAIN-2020-05")
    assert recipe.filters["similarity"].min == 0.2
    assert "nsfw" not in recipe.filters
    assert fetch.routes == ("{url}", "http://archive.example/{timestamp}/{url}")
    assert fetch.timeout == 3
    assert not fetch.allow_private_hosts
    assert scorer.clip.name == "ViT-B-32_random"
