import io
from collections import Counter

from rich.console import Console

from mmc4_pipeline.report.figures.funnel_bars import funnel_bars
from mmc4_pipeline.report.funnel import FunnelRow, funnel, print_funnel
from schemas.manifest import CutPlan, Manifest
from schemas.reasons import Stage
from schemas.statistics import Counts


def test_funnel_has_a_row_for_each_stage_and_thing_most_frequent_reasons_first(
    manifest: Manifest[CutPlan],
) -> None:
    assert funnel(manifest) == [
        FunnelRow("locate", "documents", 9, 8, [("not_located", 1)]),
        FunnelRow("pages", "documents", 8, 8, []),
        FunnelRow("pages", "links", 100, 60, [("url_extension", 30), ("url_token", 10)]),
        FunnelRow("images", "links", 60, 20, [("http_error", 20), ("corrupt", 10), ("too_small", 10)]),
        FunnelRow("score", "links", 20, 20, []),
        FunnelRow("cut", "documents", 8, 5, [("document", 3)]),
        FunnelRow("cut", "links", 20, 12, [("low_similarity", 6), ("document", 2)]),
    ]


def test_printed_funnel_fits_80_columns_and_names_every_count(manifest: Manifest[CutPlan]) -> None:
    stream = io.StringIO()
    print_funnel(manifest, Console(file=stream, width=80))
    text = stream.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    for expected in ("9 → 8", "100 → 60", "http_error=20", "document=3", "low_similarity=6", "9 → 5", "100 → 12"):
        assert expected in text


def test_printed_funnel_of_a_whole_crawl_still_fits(manifest: Manifest[CutPlan]) -> None:
    stream = io.StringIO()
    links = Counts(4_000_000_000, 1_370_000_000, Counter(url_extension=2_630_000_000))
    manifest.plan.before[Stage.PAGES] = {"links": links}
    print_funnel(manifest, Console(file=stream, width=80))
    assert "4,000.0M → 1,370.0M" in stream.getvalue()
    assert "url_extension=2,630.0M" in stream.getvalue()


def test_each_bar_of_a_reason_ends_where_the_one_before_starts(manifest: Manifest[CutPlan]) -> None:
    bars = funnel_bars(funnel(manifest), "links")
    assert [(bar.label, bar.count) for bar in bars if not bar.is_drop] == [
        ("all", 100),
        ("after pages", 60),
        ("after images", 20),
        ("kept", 12),
    ]
    end = 100.0
    for bar in bars:
        if bar.is_drop:
            assert bar.start + bar.width == end
            end = bar.start
    assert end == 12
