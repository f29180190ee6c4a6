"""mmc4 plan: prints what each of the five stages will take."""

import argparse
import os
from dataclasses import astuple

from mmc4_pipeline.arguments import add_documents_format, add_recipe, command_parser
from mmc4_pipeline.documents.choosing import count_documents, document_files
from mmc4_pipeline.documents.fields import FORMATS, parse_fields
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.estimate.clip_speed import ON_GPU, gpus_here, measure_clip
from mmc4_pipeline.estimate.corpus import IMAGE_BYTES, Corpus
from mmc4_pipeline.estimate.crawl_size import CrawlSize, crawl_size
from mmc4_pipeline.estimate.estimate import ScoreSpeeds
from mmc4_pipeline.estimate.explain import assumptions, conclusions
from mmc4_pipeline.estimate.needs import Prices, Resources
from mmc4_pipeline.estimate.other_scorers import costs_of
from mmc4_pipeline.estimate.published import PublishedDataset, published_dataset
from mmc4_pipeline.estimate.table import stages_table
from mmc4_pipeline.estimate.web import CRAWL_DELAY_SHARE, LINKS_PER_DOCUMENT
from mmc4_pipeline.estimate.whole_run import estimate_run
from mmc4_pipeline.recipe import Recipe, load_recipe
from mmc4_pipeline.scorers.registry import beside_clip, known_scorers, parse_scorers
from mmc4_pipeline.storage import HttpSettings, Inputs
from mmc4_pipeline.terminal import Console

DESCRIPTION = """\
Estimate what each of the five stages will take: requests, bytes, disk, core and GPU hours, duration and money.

The estimate takes less than a minute. It measures how fast a core of this machine reads pages, decodes images and
computes CLIP ViT-L/14, on generated samples, and looks up the size of the crawl. Nothing is written. All other
assumptions are printed with the result; options change them. Scorers other than CLIP are counted if the recipe lists
them, or with --scorer; their cost on a GPU is unknown unless you give their speeds.

Examples:
  mmc4 plan --documents 356317
  mmc4 plan --documents 365000000 --workers 64 --gpus 8 --network 1000
  mmc4 plan --documents 356317 --gpus 0 --scorer blip_itm:k=3 blip2
  mmc4 plan --c4 'c4/en/*.json.gz' --cc_root https://data.commoncrawl.org
  mmc4 plan --limit 1000 \\
      --c4 hf://datasets/allenai/c4/en/c4-train.00000-of-01024.json.gz
  mmc4 plan --published 'mmc4-ff/*.jsonl.zip'
"""
PRICES = """\
Prices are in US dollars. The defaults are Amazon's list prices in us-east-1 as of June 2026, on demand: c5 machines
($0.34 an hour for 8 vCPUs), g5.xlarge ($1.006 an hour, with one A10G GPU), and S3 Standard ($0.023). Common Crawl's
bucket charges nothing for requests, nor for reading from within us-east-1.
"""
_MB = 10**6


def main(argv: list[str]) -> None:
    """Run from the command line."""
    arguments = _parser().parse_args(argv)
    recipe = load_recipe(arguments.recipe)
    resources = Resources(
        arguments.workers, arguments.network * _MB, arguments.requests_per_second, float(arguments.gpus)
    )
    prices = _prices(arguments)
    chosen = parse_scorers(arguments.scorer or beside_clip(recipe.score_names), {})
    scorers = costs_of(chosen, arguments.itm_pairs_per_second, arguments.captions_per_second, resources)
    inputs = Inputs(HttpSettings(requests_per_second=arguments.requests_per_second))
    corpus, source = _corpus(inputs, recipe, arguments)
    console = Console()
    with console.status("measuring this machine"):
        score = _score_speeds(arguments)
        delays = arguments.crawl_delay_percent / 100
        found = estimate_run(recipe, corpus, source, score, delays, resources, prices, scorers)
    console.print(assumptions(found.given), highlight=False)
    console.print(stages_table(found.locate, found.pages, found.later, found.unknown), highlight=False)
    console.print(conclusions(found.given, found.locate, found.pages, found.later), highlight=False)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("plan", DESCRIPTION, PRICES)
    parser.usage = "mmc4 plan (--documents N | --c4 FILES | --published FILES) [options]"
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--documents", type=int, metavar="N", help="number of documents")
    what.add_argument(
        "--c4",
        nargs="+",
        metavar="FILE",
        help="files of documents, or glob patterns in quotes, to count them in; the beginning of one file is read",
    )
    what.add_argument(
        "--published",
        nargs="+",
        metavar="FILE",
        help="files of a published interleaved dataset, or glob patterns in quotes, as for `mmc4 build`: nothing is "
        "located; documents, sentences and images are counted in the beginning of one file",
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="estimate a run with --limit N: of the first N documents"
    )
    add_documents_format(parser)
    add_recipe(parser)
    parser.add_argument("--crawl", metavar="NAME", help="crawl to read (default: the recipe's crawl)")
    parser.add_argument(
        "--scorer",
        nargs="+",
        metavar="NAME",
        help="scorers to count in addition to clip, one or more of "
        f"{', '.join(beside_clip(list(known_scorers())))}; settings follow a colon, for example blip_itm:k=10 "
        "(default: those that the recipe lists)",
    )
    parser.add_argument(
        "--cc_root",
        metavar="FOLDER",
        help="folder or URL of Common Crawl, to measure the size of the crawl (default: published figures, which are "
        "known for C4's crawl only)",
    )
    _add_numbers(
        parser.add_argument_group("what the whole run has"),
        ("workers", float(os.cpu_count() or 1), "N", "worker processes, with one core each"),
        ("gpus", float(gpus_here()), "N", "GPUs for scoring; without any, CLIP runs on the cores"),
        ("network", 100.0, "MB", "megabytes per second, each way"),
        ("requests_per_second", HttpSettings().requests_per_second, "N", "requests per second to Common Crawl"),
    )
    _add_numbers(
        parser.add_argument_group("assumptions"),
        (
            "images_per_document",
            None,
            "N",
            f"image links per document that pass the rules for URLs (default: {LINKS_PER_DOCUMENT:g}, or as counted)",
        ),
        ("image_kilobytes", IMAGE_BYTES / 1000, "KB", "size of an image, as received and as stored"),
        ("crawl_delay_percent", CRAWL_DELAY_SHARE * 100, "N", "percentage of the hosts that have a Crawl-delay"),
        ("score_images_per_second", None, "N", "images that CLIP scores on one GPU, or without GPUs on one core"),
        (
            "score_sentences_per_second",
            None,
            "N",
            "the same for sentences (default for both: 300 and 9000 on a GPU; measured on a core)",
        ),
        (
            "itm_pairs_per_second",
            None,
            "N",
            "pairs of image and sentence that blip_itm scores on one GPU or core (default: as seen on a core)",
        ),
        (
            "captions_per_second",
            None,
            "N",
            "the same for captions of blip2 (default: derived from that of blip_itm on a core)",
        ),
    )
    _add_numbers(
        parser.add_argument_group("prices"),
        ("core_hour_price", 0.0425, "DOLLARS", "price per core and hour"),
        ("gpu_hour_price", 1.006, "DOLLARS", "price per GPU and hour, with its machine"),
        ("gigabyte_price", 0.0, "DOLLARS", "price per gigabyte read from Common Crawl"),
        ("million_requests_price", 0.0, "DOLLARS", "price per million requests to Common Crawl"),
        ("stored_price", 0.023, "DOLLARS", "price per gigabyte stored for a month"),
    )
    return parser


def _add_numbers(group: argparse._ActionsContainer, *options: tuple[str, float | None, str, str]) -> None:
    for name, default, metavar, text in options:
        shown = text if default is None else f"{text} (default: {default:g})"
        group.add_argument(f"--{name}", type=float, default=default, metavar=metavar, help=shown)


def _prices(arguments: argparse.Namespace) -> Prices:
    """Return the prices. Raises UserError if a number is not possible."""
    positive = ("workers", "network", "requests_per_second", "image_kilobytes")
    optional = (
        "images_per_document",
        "score_images_per_second",
        "score_sentences_per_second",
        "itm_pairs_per_second",
        "captions_per_second",
    )
    for name in (*positive, *optional):
        value = getattr(arguments, name)
        if (name in positive or value is not None) and value <= 0:
            raise UserError(f"--{name} must be more than 0")
    prices = Prices(
        arguments.core_hour_price,
        arguments.gpu_hour_price,
        arguments.gigabyte_price,
        arguments.million_requests_price,
        arguments.stored_price,
    )
    if min(*astuple(prices), arguments.gpus, arguments.crawl_delay_percent) < 0 or arguments.crawl_delay_percent > 100:
        raise UserError("prices and --gpus must be 0 or more, and --crawl_delay_percent must be 0 to 100")
    return prices


def _score_speeds(arguments: argparse.Namespace) -> tuple[ScoreSpeeds, str]:
    """Return CLIP's speeds on one GPU or one core, and their source. Measures only what was not given."""
    images, sentences = arguments.score_images_per_second, arguments.score_sentences_per_second
    if images and sentences:
        return ScoreSpeeds(images, sentences), "given"
    if arguments.gpus:
        found, source = ON_GPU, "assumed: a GPU like an RTX 3090 or A10G"
    else:
        found, source = measure_clip()
    return ScoreSpeeds(images or found.images_per_second, sentences or found.sentences_per_second), source


def _corpus(
    inputs: Inputs, recipe: Recipe, arguments: argparse.Namespace
) -> tuple[Corpus, CrawlSize | PublishedDataset]:
    """Return the documents and where they come from. Raises UserError if there are none."""
    image_bytes, links = arguments.image_kilobytes * 1000, arguments.images_per_document
    if arguments.limit is not None and arguments.limit < 1:
        raise UserError("--limit must be at least 1")
    if arguments.published:
        if arguments.crawl or arguments.cc_root:
            raise UserError("--crawl and --cc_root: nothing is read from a crawl with --published; leave them out")
        found = published_dataset(inputs, arguments.published, recipe, arguments.limit)
        return found.corpus(image_bytes, links), found
    documents = _documents(inputs, arguments)
    crawl = crawl_size(inputs, arguments.crawl or recipe.crawl, arguments.cc_root)
    return Corpus(documents, image_bytes, links or LINKS_PER_DOCUMENT), crawl


def _documents(inputs: Inputs, arguments: argparse.Namespace) -> int:
    """Return the number of documents of a crawl. Raises UserError if there are none."""
    if arguments.c4 is None:
        if arguments.documents <= 0:
            raise UserError("--documents must be more than 0")
        return int(min(arguments.documents, arguments.limit or arguments.documents))
    names = parse_fields(arguments.c4_fields, FORMATS[arguments.documents_format])
    return count_documents(inputs, document_files(inputs, arguments.c4), names, arguments.limit)
