"""The report page of a dataset that was really made, as a browser shows it."""

from pathlib import Path

import pytest

from tests.chromium import browsing, look
from tests.mmc4_pipeline.report.measuring import MEASURE, SIZES, assert_reads_well


@pytest.mark.engines("chromium")
def test_every_figure_is_drawn(built: Path) -> None:
    page = built / "dataset/miniweb/report.html"
    with browsing() as address:
        for size in SIZES:
            seen = look(address, page, size, MEASURE)
            assert_reads_well(seen, size, page)
            drawn = seen.result
            assert [figure["title"] for figure in drawn["histograms"] if figure["marks"] == 0] == []
            thresholds = [label for figure in drawn["histograms"] for label in figure["thresholds"]]
            assert thresholds == ["≥ 1", "≥ 0.15", "≥ 150", "≤ 0.1"]
            assert [published for _, published in drawn["rates"]] == ["27.7%", "41.7%", "5.64", "about 10%"]
            assert drawn["sites"] > 20
            assert drawn["pictures"] == len(drawn["heat_maps"]) == 12
            assert drawn["photos"] > 12
