"""`mmc4 plan`: its figures for a number of documents and for files of documents."""

import re

import pytest

from mmc4_pipeline.estimate.corpus import Corpus
from tests.end_to_end.running import Web, mmc4, refusal, succeeded

STAGES = ["locate", "pages", "images", "score", "cut"]
GIVEN = ["--score_images_per_second", "2", "--score_sentences_per_second", "40"]  # and so are not measured
UNITS = {
    "B": 1,
    "kB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "TB": 1e12,
    "": 1,
    "k": 1e3,
    "M": 1e6,
    "h": 1,
    "days": 24,
    "min": 1 / 60,
}
ROW = re.compile(
    r"(?P<stage>\w+)(?: (?P<way>warc|wat|warc_scan))? +(?P<requests>\S+) +(?P<read>\S+) +(?P<stored>\S+) +(?P<temp>\S+)"
    r" +(?P<core_hours>\S+) +(?P<gpu_hours>\S+) +(?P<time>[\d.]+ \w+) +(?P<limit>\w+) +\$(?P<cost>\S+)"
)


def rows(text: str) -> dict[str, dict[str, str]]:
    """Return the columns of each row, by stage or, below the total, by page source."""
    found = [match.groupdict() for line in text.splitlines() if (match := ROW.fullmatch(line.strip()))]
    return {row["way"] if row["stage"] == "or" else row["stage"]: row for row in found}


def number(text: str) -> float:
    """Return the value of a figure with its unit."""
    if text == "-":
        return 0.0
    match = re.fullmatch(r"([\d.,]+) ?([a-zA-Z]*)", text)
    assert match, text
    return float(match[1].replace(",", "")) * UNITS[match[2]]


def test_one_shard_of_c4_is_cheapest_by_range_and_this_machine_is_measured() -> None:
    out = succeeded(mmc4("plan", "--documents", "356317", "--workers", "2", "--gpus", "0")).stdout
    table = rows(out)
    assert list(table) == [*STAGES, "total", "wat", "warc_scan"]
    assert table["pages"]["way"] == "warc"
    assert "--page_source warc;" in out
    assert number(table["pages"]["read"]) == pytest.approx(356_317 * 25_000, rel=0.1)
    assert number(table["pages"]["time"]) == pytest.approx(356_317 / 20 / 3600, rel=0.1)
    assert number(table["locate"]["read"]) == pytest.approx(286e9, rel=0.05)
    assert table["score"]["limit"] == "cores"
    assert number(table["score"]["time"]) > number(table["images"]["time"])
    for column in ("read", "stored", "core_hours", "time", "cost"):
        stages = sum(number(table[stage][column]) for stage in STAGES)
        assert number(table["total"][column]) == pytest.approx(stages, rel=0.1, abs=0.05)  # each is rounded
    for stated in ("56,000 WARC files", "$0.0425 an hour", "$0 a GB", "$0 a million", "3.84 image links"):
        assert stated in " ".join(out.split())


def test_all_of_c4_is_cheapest_by_wat() -> None:
    arguments = ["--documents", "365000000", "--workers", "64", "--gpus", "8", "--network", "1000"]
    out = succeeded(mmc4("plan", *arguments)).stdout
    table = rows(out)
    assert "--page_source wat;" in out
    assert list(table) == [*STAGES, "total", "warc", "warc_scan"]
    assert table["score"]["limit"] == "GPUs"
    assert number(table["score"]["gpu_hours"]) > 100
    assert number(table["cut"]["stored"]) > 10e12


@pytest.mark.parametrize("recipe", ["mmc4-links", "page-text", "mmc4-page"])
def test_a_source_without_what_the_recipe_needs_is_not_suggested(recipe: str) -> None:
    out = succeeded(mmc4("plan", "--documents", "365000000", "--recipe", recipe, *GIVEN)).stdout
    assert {row["way"] for row in rows(out).values()} == {"warc", "warc_scan", None}


def test_documents_are_counted_and_a_crawl_is_measured(web: Web) -> None:
    root = str(web.folder / "commoncrawl")
    done = succeeded(mmc4("plan", "--c4", str(web.folder / "c4/*.json.gz"), "--cc_root", root, *GIVEN))
    out = " ".join(done.stdout.split())
    assert re.search(r"- 6\d documents .*CC-MAIN-2019-18.* \d+ pages in 3 WARC files .* \d+ kB ", out)


def test_given_speeds_prices_and_sizes_are_used() -> None:
    sizes = ["--image_kilobytes", "830", "--images_per_document", "7.68", "--core_hour_price", "4.25"]
    out = succeeded(mmc4("plan", "--documents", "356317", "--workers", "2", "--gpus", "0", *GIVEN, *sizes)).stdout
    table, corpus = rows(out), Corpus(356_317, 830_000, 7.68)
    hours = (corpus.scored / 2 + corpus.sentences / 40) / 3600
    assert number(table["score"]["core_hours"]) == pytest.approx(hours, rel=0.06)  # two digits
    assert number(table["score"]["cost"]) == pytest.approx(hours * 4.25, rel=0.06)
    assert number(table["score"]["read"]) == pytest.approx(corpus.scored * 830_000, rel=0.06)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--documents", "0"], "--documents"),
        (["--documents", "5", "--workers", "0"], "--workers"),
        (["--documents", "5", "--score_images_per_second", "0"], "--score_images_per_second"),
        (["--documents", "5", "--gigabyte_price", "-1"], "prices"),
        (["--documents", "5", "--crawl_delay_percent", "101"], "--crawl_delay_percent"),
        (["--documents", "5", "--crawl", "CC-MAIN-2031-01"], "--cc_root"),
        (["--c4", "nowhere/*.gz"], "nowhere/*.gz"),
    ],
)
def test_what_cannot_be_estimated_is_refused_in_one_line(arguments: list[str], complaint: str) -> None:
    assert complaint in refusal(mmc4("plan", *arguments))
