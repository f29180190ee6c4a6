"""`mmc4 plan`: its figures for a number of documents and for files of documents."""

import re

import pytest

from tests.end_to_end.running import Web, mmc4, refusal, succeeded


def rows(text: str) -> dict[str, list[str]]:
    """Return the columns of each row, by page source."""
    found = (re.split(r"\s*│\s*", line.strip()) for line in text.splitlines() if "│" in line)
    return {source: columns for source, *columns in found}


def test_one_shard_of_c4_is_cheapest_by_range() -> None:
    out = succeeded(mmc4("plan", "--documents", "356317")).stdout
    table = rows(out)
    assert set(table) == {"index", "warc", "wat", "warc_scan"}
    assert all(len(columns) == 6 and columns[-1].startswith("$") for columns in table.values())
    assert "--page_source warc." in out
    for stated in ("56,000 WARC files", "$0.0425 an hour", "$0 a GB", "$0 a million"):
        assert stated in " ".join(out.split())


def test_all_of_c4_is_cheapest_by_wat() -> None:
    arguments = ["--documents", "365000000", "--cores", "64", "--network", "1000"]
    assert "--page_source wat." in succeeded(mmc4("plan", *arguments)).stdout


@pytest.mark.parametrize("recipe", ["mmc4-links", "page-text"])
def test_a_source_without_what_the_recipe_needs_is_not_suggested(recipe: str) -> None:
    out = succeeded(mmc4("plan", "--documents", "365000000", "--recipe", recipe)).stdout
    assert set(rows(out)) == {"index", "warc", "warc_scan"}


def test_documents_are_counted_and_a_crawl_is_measured(web: Web) -> None:
    root = str(web.folder / "commoncrawl")
    done = succeeded(mmc4("plan", "--c4", str(web.folder / "c4/*.json.gz"), "--cc_root", root))
    out = " ".join(done.stdout.split())
    assert re.search(r"^6\d documents .*CC-MAIN-2019-18.* \d+ pages in 3 WARC files .* \d+ kB ", out)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--documents", "0"], "--documents, "),
        (["--documents", "5", "--cores", "0"], "--documents, "),
        (["--documents", "5", "--gigabyte_price", "-1"], "prices"),
        (["--documents", "5", "--crawl", "CC-MAIN-2031-01"], "--cc_root"),
        (["--c4", "nowhere/*.gz"], "nowhere/*.gz"),
    ],
)
def test_what_cannot_be_estimated_is_refused_in_one_line(arguments: list[str], complaint: str) -> None:
    assert complaint in refusal(mmc4("plan", *arguments))
