"""mmc4 plan: says what locating and reading the pages will take, by each page source, and which to choose."""

import argparse
import os
from dataclasses import astuple

from rich.console import Console
from rich.table import Table

from mmc4_pipeline.c4 import document_files, read_documents
from mmc4_pipeline.commoncrawl.by_range import MAX_GAP
from mmc4_pipeline.commoncrawl.by_wat import has_all_for
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.estimate.crawl_size import CrawlSize, crawl_size
from mmc4_pipeline.estimate.estimate import Needs, Prices, Resources, Speeds, estimate, index_needs
from mmc4_pipeline.estimate.speed import measure_speeds
from mmc4_pipeline.pages.page_reader import PageReader
from mmc4_pipeline.recipe import load_recipe, recipe_names
from mmc4_pipeline.storage import HttpSettings, Inputs

_GB, _MB = 10**9, 10**6
_DAY = 24


def main(argv: list[str]) -> None:
    """Run from the command line."""
    arguments = _parser().parse_args(argv)
    recipe = load_recipe(arguments.recipe)
    resources = Resources(arguments.cores, arguments.network * _MB, arguments.requests_per_second)
    prices = Prices(arguments.core_hour_price, arguments.gigabyte_price, arguments.million_requests_price)
    refusal = "--documents, --cores, --network and --requests_per_second must be above 0, prices at least 0"
    if min(astuple(resources)) <= 0 or min(astuple(prices)) < 0:
        raise UserError(refusal)
    inputs = Inputs(HttpSettings(requests_per_second=arguments.requests_per_second))
    reader, documents = PageReader(recipe.links, recipe.text_source), _documents(inputs, arguments)
    if documents <= 0:
        raise UserError(refusal)
    crawl = crawl_size(inputs, arguments.crawl or recipe.crawl, arguments.cc_root)
    console = Console()
    with console.status("measuring this machine"):
        speeds = measure_speeds(reader)
    needs = estimate(documents, crawl, speeds, resources, prices, MAX_GAP)
    possible = [item for item in needs if item.source != "wat" or has_all_for(reader)]
    console.print(_given(documents, crawl, speeds, resources, prices), highlight=False)
    console.print(_table(index_needs(crawl, speeds, resources, prices), possible))
    best = possible[0].source
    console.print(
        f"\nCheapest: --page_source {best}.{_caution(best)} Before, mmc4 locate reads all of the index, however "
        "few the documents. The cost counts the cores for as long as it lasts."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mmc4 plan",
        description="Says what locating and reading the pages will take, by each page source, and which to choose.",
        epilog="Prices are US dollars. A core hour is c5's on demand in us-east-1 ($0.34 for 8 vCPUs); Common Crawl's "
        "bucket asks nothing for requests, nor for reading from within us-east-1.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--documents", type=int, metavar="N", help="how many documents")
    what.add_argument("--c4", nargs="+", metavar="FILE", help="C4 files, or glob patterns in quotes, to count them in")
    parser.add_argument("--crawl", metavar="NAME", help="crawl (default: the recipe's)")
    parser.add_argument("--cc_root", metavar="FOLDER", help="Common Crawl: folder or URL, to measure the crawl's size")
    parser.add_argument(
        "--recipe", default="mmc4", metavar="NAME", help=f"one of {', '.join(recipe_names())}, or a YAML file"
    )
    polite = HttpSettings().requests_per_second
    for name, default, text in (
        ("cores", float(os.cpu_count() or 1), "of the whole run (default: those here)"),
        ("network", 100.0, "megabytes a second in all (default: 100)"),
        ("requests_per_second", polite, f"to Common Crawl in all (default: {polite:g}, as of one worker)"),
        ("core_hour_price", 0.0425, "(default: 0.0425)"),
        ("gigabyte_price", 0.0, "of a gigabyte read (default: 0)"),
        ("million_requests_price", 0.0, "(default: 0)"),
    ):
        parser.add_argument(f"--{name}", type=float, default=default, metavar="N", help=text)
    return parser


def _documents(inputs: Inputs, arguments: argparse.Namespace) -> int:
    """Give the number of documents; of several files only the first is counted, the others go by their size."""
    if arguments.c4 is None:
        return int(arguments.documents)
    files = document_files(inputs, arguments.c4)
    sizes = [inputs.size(path) for path in files]
    first = sum(1 for _ in read_documents(inputs, files[0]))
    return round(first * sum(sizes) / sizes[0]) if sizes[0] else first


def _given(documents: int, crawl: CrawlSize, speeds: Speeds, resources: Resources, prices: Prices) -> str:
    """Say what the figures follow from."""
    return (
        f"{documents:,} documents in {crawl.name}, which has {crawl.pages:,} pages in {crawl.files:,} WARC files of "
        f"{_bytes(crawl.warc_bytes)}, WAT files of {_bytes(crawl.wat_bytes)} and an index of which at most "
        f"{_bytes(crawl.index_bytes)} is read ({crawl.source}).\n"
        f"One core here reads {1 / speeds.range_seconds_per_page:,.0f} pages a second by range, or "
        f"{_bytes(speeds.wat_bytes_per_second)} of WAT or {_bytes(speeds.warc_bytes_per_second)} of WARC files, or "
        f"{speeds.index_rows_per_second:,.0f} rows of the index.\n"
        f"Given are {resources.cores:g} cores (${prices.core_hour:g} an hour each), "
        f"{_bytes(resources.bytes_per_second)} a second (${prices.gigabyte:g} a GB) and "
        f"{resources.requests_per_second:g} requests a second (${prices.million_requests:g} a million).\n"
    )


def _table(index: Needs, sources: list[Needs]) -> Table:
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("source", no_wrap=True)
    for name in ("requests", "read", "core hours", "lasts", "limited by", "cost"):
        table.add_column(name, justify="right", no_wrap=True)
    for item in [index, *sources]:
        figures = (f"{item.requests:,}", _bytes(item.bytes), f"{item.core_hours:,.1f}", _time(item.hours))
        table.add_row(item.source, *figures, item.limit, f"${item.dollars:,.2f}", end_section=item is index)
    return table


def _caution(source: str) -> str:
    return " WAT files hold the src of images and nothing else of the page." if source == "wat" else ""


def _bytes(number: float) -> str:
    for size, unit in ((10**12, "TB"), (_GB, "GB"), (_MB, "MB")):
        if number >= size:
            return f"{number / size:,.1f} {unit}"
    return f"{number / 1000:,.0f} kB"


def _time(hours: float) -> str:
    if hours >= 2 * _DAY:
        return f"{hours / _DAY:,.1f} days"
    return f"{hours:,.1f} h" if hours >= 1 else f"{hours * 60:,.1f} min"
