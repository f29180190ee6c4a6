"""mmc4 plan: prints what locating and reading the pages will take, for each page source."""

import argparse
import os
from dataclasses import astuple

from rich.table import Table

from mmc4_pipeline.arguments import add_recipe, command_parser
from mmc4_pipeline.c4 import document_files, read_documents
from mmc4_pipeline.commoncrawl.by_range import MAX_GAP
from mmc4_pipeline.commoncrawl.by_wat import has_all_for
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.estimate.crawl_size import CrawlSize, crawl_size
from mmc4_pipeline.estimate.estimate import Needs, Prices, Resources, Speeds, estimate, index_needs
from mmc4_pipeline.estimate.speed import measure_speeds
from mmc4_pipeline.pages.page_reader import PageReader
from mmc4_pipeline.recipe import load_recipe
from mmc4_pipeline.storage import HttpSettings, Inputs
from mmc4_pipeline.terminal import Console

DESCRIPTION = """\
Estimate the requests, bytes, time and money that locating and reading the pages will take, and the cheapest way.

Pages can be read from three sources, see --page_source of `mmc4 pages`. The estimate takes a few seconds: it measures
how fast a core of this machine reads a generated sample, and looks up the size of the crawl. Nothing is written.
Fetching the images is not included.

Examples:
  mmc4 plan --documents 365000000 --cores 64 --network 1000
  mmc4 plan --c4 'c4/en/*.json.gz' --cc_root https://data.commoncrawl.org
"""
PRICES = """\
Prices are in US dollars. The default price per core hour is that of c5 machines on demand in us-east-1 ($0.34 for 8
vCPUs). Common Crawl's bucket charges nothing for requests, nor for reading from within us-east-1.
"""
_GB, _MB = 10**9, 10**6
_DAY = 24


def main(argv: list[str]) -> None:
    """Run from the command line."""
    arguments = _parser().parse_args(argv)
    recipe = load_recipe(arguments.recipe)
    resources = Resources(arguments.cores, arguments.network * _MB, arguments.requests_per_second)
    prices = Prices(arguments.core_hour_price, arguments.gigabyte_price, arguments.million_requests_price)
    refusal = "--documents, --cores, --network and --requests_per_second must be more than 0, and prices 0 or more"
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
    console.print(_assumptions(documents, crawl, speeds, resources, prices), highlight=False)
    console.print(_table(index_needs(crawl, speeds, resources, prices), possible))
    best = possible[0].source
    console.print(
        f"\nCheapest: --page_source {best}.{_caution(best)} mmc4 locate first reads the whole index, however few "
        "documents there are. Costs include idle cores."
    )


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("plan", DESCRIPTION, PRICES)
    parser.usage = "mmc4 plan (--documents N | --c4 FILE ...) [options]"
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--documents", type=int, metavar="N", help="number of documents")
    what.add_argument("--c4", nargs="+", metavar="FILE", help="C4 files, or glob patterns in quotes, to count them in")
    add_recipe(parser)
    parser.add_argument("--crawl", metavar="NAME", help="crawl to read (default: the recipe's crawl)")
    parser.add_argument(
        "--cc_root",
        metavar="FOLDER",
        help="folder or URL of Common Crawl, to measure the size of the crawl (default: published figures, which are "
        "known for C4's crawl only)",
    )
    cores, rate = float(os.cpu_count() or 1), HttpSettings().requests_per_second
    for name, default, metavar, text in (
        ("cores", cores, "N", f"cores of the whole run (default: {cores:g}, those of this machine)"),
        ("network", 100.0, "MB", "megabytes per second of the whole run (default: 100)"),
        ("requests_per_second", rate, "N", f"requests per second of the whole run (default: {rate:g})"),
        ("core_hour_price", 0.0425, "DOLLARS", "price per core and hour (default: 0.0425)"),
        ("gigabyte_price", 0.0, "DOLLARS", "price per gigabyte read (default: 0)"),
        ("million_requests_price", 0.0, "DOLLARS", "price per million requests (default: 0)"),
    ):
        parser.add_argument(f"--{name}", type=float, default=default, metavar=metavar, help=text)
    return parser


def _documents(inputs: Inputs, arguments: argparse.Namespace) -> int:
    """Return the number of documents. Only those of the first file are counted; the others go by their size."""
    if arguments.c4 is None:
        return int(arguments.documents)
    files = document_files(inputs, arguments.c4)
    sizes = [inputs.size(path) for path in files]
    first = sum(1 for _ in read_documents(inputs, files[0]))
    return round(first * sum(sizes) / sizes[0]) if sizes[0] else first


def _assumptions(documents: int, crawl: CrawlSize, speeds: Speeds, resources: Resources, prices: Prices) -> str:
    """Return what the figures follow from."""
    return (
        f"{documents:,} documents from {crawl.name}. The crawl has {crawl.pages:,} pages in {crawl.files:,} WARC files "
        f"({_bytes(crawl.warc_bytes)}), WAT files ({_bytes(crawl.wat_bytes)}) and an index of which at most "
        f"{_bytes(crawl.index_bytes)} are read (source: {crawl.source}).\n"
        f"A core of this machine reads {1 / speeds.range_seconds_per_page:,.0f} pages by range, "
        f"{_bytes(speeds.wat_bytes_per_second)} of WAT files, {_bytes(speeds.warc_bytes_per_second)} of WARC files or "
        f"{speeds.index_rows_per_second:,.0f} rows of the index per second.\n"
        f"Assumed are {resources.cores:g} cores (${prices.core_hour:g} an hour each), "
        f"{_bytes(resources.bytes_per_second)} per second (${prices.gigabyte:g} a GB) and "
        f"{resources.requests_per_second:g} requests per second (${prices.million_requests:g} a million).\n"
    )


def _table(index: Needs, sources: list[Needs]) -> Table:
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("source", no_wrap=True)
    for name in ("requests", "read", "core hours", "time", "limited by", "cost"):
        table.add_column(name, justify="right", no_wrap=True)
    for item in [index, *sources]:
        figures = (f"{item.requests:,}", _bytes(item.bytes), f"{item.core_hours:,.1f}", _time(item.hours))
        table.add_row(item.source, *figures, item.limit, f"${item.dollars:,.2f}", end_section=item is index)
    return table


def _caution(source: str) -> str:
    return " WAT files hold only the src of images, and no text." if source == "wat" else ""


def _bytes(number: float) -> str:
    for size, unit in ((10**12, "TB"), (_GB, "GB"), (_MB, "MB")):
        if number >= size:
            return f"{number / size:,.1f} {unit}"
    return f"{number / 1000:,.0f} kB"


def _time(hours: float) -> str:
    if hours >= 2 * _DAY:
        return f"{hours / _DAY:,.1f} days"
    return f"{hours:,.1f} h" if hours >= 1 else f"{hours * 60:,.1f} min"
