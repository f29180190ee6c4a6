"""`mmc4 plan`: the figures that people decide by, for a number of documents and for files of them."""

import re

import pytest

from tests.end_to_end.running import Web, mmc4, refusal, succeeded


def rows(text: str) -> dict[str, list[str]]:
    """Give the columns of each row."""
    found = (re.split(r"\s*│\s*", line.strip()) for line in text.splitlines() if "│" in line)
    return {source: columns for source, *columns in found}


def test_one_shard_of_c4_is_cheapest_by_range() -> None:
    out = succeeded(mmc4("plan", "--documents", "356317")).stdout
    table = rows(out)
    assert set(table) == {"index", "warc", "wat", "warc_scan"}
    assert all(len(columns) == 6 and columns[-1].startswith("$") for columns in table.values())
    assert "Cheapest: --page_source warc." in out
    for stated in ("56,000 WARC files", "$0.0425 an hour", "$0 a GB", "$0 a million"):
        assert stated in " ".join(out.split())


def test_all_of_c4_is_cheapest_by_wat() -> None:
    arguments = ["--documents", "365000000", "--cores", "64", "--network", "1000"]
    assert "Cheapest: --page_source wat." in succeeded(mmc4("plan", *arguments)).stdout


@pytest.mark.parametrize("recipe", ["mmc4-links", "page-text"])
def test_a_source_that_lacks_what_the_recipe_asks_for_is_not_proposed(recipe: str) -> None:
    out = succeeded(mmc4("plan", "--documents", "365000000", "--recipe", recipe)).stdout
    assert set(rows(out)) == {"index", "warc", "warc_scan"}


def test_documents_are_counted_and_a_crawl_is_measured(web: Web) -> None:
    root = str(web.folder / "commoncrawl")
    done = succeeded(mmc4("plan", "--c4", str(web.folder / "c4/*.json.gz"), "--cc_root", root))
    out = " ".join(done.stdout.split())
    assert re.search(r"^6\d documents in CC-MAIN-2019-18, which has \d+ pages in 3 WARC files of ", out)
    assert re.search(r" index of which at most \d+ kB is read ", out)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--documents", "0"], "must be above 0"),
        (["--documents", "5", "--cores", "0"], "must be above 0"),
        (["--documents", "5", "--gigabyte_price", "-1"], "at least 0"),
        (["--documents", "5", "--crawl", "CC-MAIN-2031-01"], "--cc_root"),
        (["--c4", "nowhere/*.gz"], "no such file"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_a_line(arguments: list[str], complaint: str) -> None:
    assert complaint in refusal(mmc4("plan", *arguments))
