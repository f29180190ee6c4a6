"""Options of the images stage."""

import argparse
import sys
from math import inf
from typing import TYPE_CHECKING

from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.options.recipe import recipe_of
from beam_jobs.options.web import WebOptions, http_settings
from filters.base import DeclarationFilter
from filters.consent import Consent
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.images.fetching.robots import has_contact
from mmc4_pipeline.images.fetching.settings import FetchSettings
from mmc4_pipeline.images.from_img2dataset.engine import version_of
from mmc4_pipeline.images.from_img2dataset.shards import shard_files
from mmc4_pipeline.recipe import Recipe
from mmc4_pipeline.storage import Inputs

if TYPE_CHECKING:
    from mmc4_pipeline.images.faces import FaceDetector

SHARD_SECONDS = 7200.0
BACKLOG_SECONDS = 7200.0


class ImagesOptions(PipelineOptions):
    """How images are fetched."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("images: sources")
        _add_sources(group, FetchSettings())
        group = parser.add_argument_group("images: limits")
        _add_limits(group, FetchSettings())
        group.add_argument(
            "--ignore_robots_txt", action="store_true", help="also fetch images that a site's robots.txt forbids"
        )
        group.add_argument(
            "--allow_private_hosts",
            action="store_true",
            help="allow loopback and private addresses, and a user agent without contact; for replay servers and tests",
        )


def _add_sources(group: argparse._ArgumentGroup, default: FetchSettings) -> None:
    group.add_argument(
        "--image_routes",
        nargs="+",
        default=list(default.routes),
        metavar="TEMPLATE",
        help="URL templates that are tried in order, with {url} and {timestamp}, for example "
        "'https://archive.example/{timestamp}/{url}' (default: {url}, the live web)",
    )
    group.add_argument(
        "--images_from",
        nargs="+",
        default=[],
        metavar="TARS",
        help="take the images from shards that img2dataset made (output_format=webdataset) instead of the web: "
        "folders, glob patterns in quotes, or 'shards/{00000..00099}.tar', each with its .parquet file next to it; "
        "links that are not in them are dropped as not_fetched",
    )
    group.add_argument(
        "--fetch_engine",
        choices=["libcurl", "img2dataset"],
        default="libcurl",
        help="HTTP client for images; img2dataset ignores robots.txt (so --ignore_robots_txt is required) and has no "
        "per-host limits (default: libcurl)",
    )
    group.add_argument(
        "--img2dataset_python",
        default=sys.executable,
        metavar="FILE",
        help="Python interpreter of an environment with img2dataset (default: the one that runs mmc4)",
    )
    group.add_argument(
        "--face_detector_weights",
        metavar="FILE",
        help="weights of YuNet, for recipes that look for faces in every image (default: the file that `mmc4 models "
        "fetch` stored; without it, OpenCV's Haar cascade is used)",
    )


def _add_limits(group: argparse._ArgumentGroup, default: FetchSettings) -> None:
    group.add_argument(
        "--fetch_timeout",
        type=float,
        default=default.timeout,
        metavar="SECONDS",
        help=f"time limit per request (default: {default.timeout:g})",
    )
    group.add_argument(
        "--shard_seconds",
        type=float,
        default=SHARD_SECONDS,
        metavar="SECONDS",
        help="time limit per shard; images that remain then are fetched after all shards (see --backlog_seconds); "
        f"0 = no limit (default: {SHARD_SECONDS:g})",
    )
    group.add_argument(
        "--backlog_seconds",
        type=float,
        default=BACKLOG_SECONDS,
        metavar="SECONDS",
        help="time limit for the images that remained at the time limits of their shards; if some remain again, the "
        f"stage stops, and --resume continues with them; 0 = no limit (default: {BACKLOG_SECONDS:g})",
    )
    group.add_argument(
        "--accept_deferred",
        action="store_true",
        help="drop the images that remain after --backlog_seconds as deferred, instead of stopping",
    )
    group.add_argument(
        "--delay_per_host",
        type=float,
        default=default.delay_per_host,
        metavar="SECONDS",
        help="minimum delay between two requests to the same host; a Crawl-delay in robots.txt can increase it "
        f"(default: {default.delay_per_host:g})",
    )
    group.add_argument(
        "--max_open_per_host",
        type=int,
        default=default.max_open_per_host,
        metavar="N",
        help=f"maximum open requests per host (default: {default.max_open_per_host})",
    )
    group.add_argument(
        "--max_open_per_shared_host",
        type=int,
        default=default.max_open_per_shared_host,
        metavar="N",
        help="maximum open requests to a host that serves images to several sites (--max_open_per_host for each site, "
        f"up to this number), and to all hosts of a registered domain (default: {default.max_open_per_shared_host})",
    )
    group.add_argument(
        "--max_open_requests",
        type=int,
        default=default.max_open,
        metavar="N",
        help=f"maximum open requests per worker process (default: {default.max_open})",
    )
    group.add_argument(
        "--max_image_bytes",
        type=int,
        default=default.max_bytes,
        metavar="BYTES",
        help=f"maximum size of a response; larger ones are dropped (default: {default.max_bytes}, 20 MiB)",
    )


def fetch_settings(options: PipelineOptions) -> FetchSettings:
    """Return how images are fetched. Raises UserError."""
    images = options.view_as(ImagesOptions)
    user_agent = options.view_as(WebOptions).fetch_user_agent
    if not (has_contact(user_agent) or images.allow_private_hosts or images.images_from):
        raise UserError(
            f"--fetch_user_agent {user_agent!r}: has no contact address; add a URL or e-mail address, for example "
            "'my-dataset/1.0 (+https://example.org/contact)'"
        )
    recipe = recipe_of(options)
    _check_declarations(images, recipe)
    _check_sources(images, Inputs(http_settings(options)))
    _check_limits(images)
    return FetchSettings(
        routes=tuple(images.image_routes),
        user_agent=user_agent,
        timeout=images.fetch_timeout,
        max_bytes=images.max_image_bytes,
        max_open=images.max_open_requests,
        max_open_per_host=images.max_open_per_host,
        max_open_per_shared_host=images.max_open_per_shared_host,
        delay_per_host=images.delay_per_host,
        shard_seconds=images.shard_seconds or inf,
        backlog_seconds=images.backlog_seconds or inf,
        robots_txt=not images.ignore_robots_txt,
        host_files=tuple(sorted({item.host_file for item in _declarations(recipe).values() if item.host_file})),
        allow_private_hosts=images.allow_private_hosts,
    )


def _declarations(recipe: Recipe) -> dict[str, DeclarationFilter]:
    """Return the filters that decide by more than X-Robots-Tag."""
    found = recipe.of_kind(DeclarationFilter)
    return {key: item for key, item in found.items() if not isinstance(item, Consent)}


def _check_declarations(images: ImagesOptions, recipe: Recipe) -> None:
    """Raise UserError if the recipe needs declarations that the images come without."""
    keys = [f"filters.{key}" for key in _declarations(recipe)]
    if keys and (images.images_from or images.fetch_engine == "img2dataset"):
        raise UserError(
            f"{keys[0]}: images that img2dataset fetches come without what their servers declare; let mmc4 fetch them, "
            f"or set {', '.join(keys)} to null"
        )


def _check_sources(images: ImagesOptions, inputs: Inputs) -> None:
    """Raise UserError if images cannot come from the given sources."""
    for route in images.image_routes:
        try:
            route.format(url="", timestamp="")
        except (KeyError, ValueError, IndexError) as error:
            raise UserError(f"--image_routes {route}: only {{url}} and {{timestamp}} can be filled in") from error
        if "{url}" not in route:
            raise UserError(f"--image_routes {route}: must contain {{url}}")
    shard_files(inputs, images.images_from)
    if images.fetch_engine != "img2dataset":
        return
    if images.images_from:
        raise UserError("--images_from: nothing is fetched; leave out either --fetch_engine or --images_from")
    if not images.ignore_robots_txt:
        raise UserError(
            "--fetch_engine img2dataset: does not read robots.txt; if that is acceptable, add --ignore_robots_txt"
        )
    version_of(images.img2dataset_python)


def _check_limits(images: ImagesOptions) -> None:
    for flag in ("max_open_requests", "max_open_per_host", "max_open_per_shared_host"):
        if getattr(images, flag) < 1:
            raise UserError(f"--{flag} {getattr(images, flag)}: must be at least 1")
    for flag in ("delay_per_host", "shard_seconds", "backlog_seconds"):
        if not getattr(images, flag) >= 0:
            raise UserError(f"--{flag} {getattr(images, flag)}: must be 0 or more")


def face_detector(options: PipelineOptions) -> "FaceDetector | None":
    """Return the detector that looks for faces in every image; None if the recipe does not want that.

    Raises UserError.
    """
    from mmc4_pipeline.images.faces import find_detector

    settings = recipe_of(options).face_detector
    if not settings.every_image:
        return None
    return find_detector(settings, options.view_as(ImagesOptions).face_detector_weights)
