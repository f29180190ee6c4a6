"""What `mmc4 try` prints before it starts: sizes and times of the estimate, and their sums."""

import re

import pytest

from mmc4_pipeline.estimate import whole_run
from mmc4_pipeline.estimate.corpus import Corpus
from mmc4_pipeline.estimate.crawl_size import C4_CRAWL
from mmc4_pipeline.estimate.estimate import ScoreSpeeds, Speeds
from mmc4_pipeline.estimate.needs import Prices, Resources
from mmc4_pipeline.estimate.preview import preview
from mmc4_pipeline.estimate.whole_run import Estimate, estimate_run
from mmc4_pipeline.recipe import load_recipe

UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9}


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Estimate:
    monkeypatch.setattr(whole_run, "measure_speeds", lambda *_: Speeds(1e-3, 1e8, 1e8, 1e6, 200.0))
    resources, free = Resources(2, 10e6, 20), Prices(0, 0, 0, 0, 0)
    score = (ScoreSpeeds(0.5, 20.0), "measured")
    return estimate_run(load_recipe("mmc4"), Corpus(1000), C4_CRAWL, score, 0.05, resources, free)


def test_downloads_add_up_and_the_chosen_page_source_counts(found: Estimate) -> None:
    totals = {}
    for source in ("warc", "wat"):
        text = preview(found, {"weights of one model": 600_000_000, "and of another": 300_000_000}, source)
        sizes = [float(size) * UNITS[unit] for size, unit in re.findall(r"([\d.]+) ([kMG]B)  \w", text)]
        (total,) = re.findall(r"about ([\d.]+) ([kMG]B):", text)
        totals[source] = float(total[0]) * UNITS[total[1]]
        assert totals[source] == pytest.approx(sum(sizes), rel=0.05)  # each is rounded
        assert sizes[:2] == [600e6, 300e6]
    assert totals["wat"] > 100 * totals["warc"]


def test_fetching_weights_takes_time_until_they_are_there(found: Estimate) -> None:
    with_weights, without = preview(found, {"weights": 6_000_000_000}, "warc"), preview(found, {}, "warc")
    assert "weights 10 min" in with_weights
    assert "weights" not in without
    minutes = [float(re.findall(r"about ([\d.]+) min", text)[0]) for text in (with_weights, without)]
    assert minutes[0] - minutes[1] == pytest.approx(10, abs=1)
