"""The command line in Beam's convention: a PipelineOptions subclass a group; other flags are Beam's or the runner's."""

import argparse
import difflib
import sys
from typing import get_args

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions, TestOptions

from beam_jobs.engines import LOCAL_RUNNER, check_engine, runs_here
from mmc4_pipeline.assignment import Assignment
from mmc4_pipeline.clip.settings import Precision
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.formats.registry import known_formats
from mmc4_pipeline.images.fetching.fetch import FetchSettings
from mmc4_pipeline.recipe import recipe_names
from mmc4_pipeline.storage.http.client import USER_AGENT, HttpSettings

DATAFLOW_RUNNER = "DataflowRunner"
SHARD_SECONDS = 7200.0
_LOCAL = (LOCAL_RUNNER, "PrismRunner")  # know no flags of their own
_SLIP = 0.8  # of difflib's ratio: --recpie and --recipe have 0.88


class CommonOptions(PipelineOptions):
    """What every stage takes."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("all stages")
        group.add_argument("--output", metavar="FOLDER", help="folder of the whole run; each stage has its own in it")
        names = ", ".join(recipe_names())
        group.add_argument(
            "--recipe", default="mmc4", metavar="NAME", help=f"one of {names}, or a YAML file (default: mmc4)"
        )
        group.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="override one value of the recipe, as in filters.similarity.min=0.2; may be repeated",
        )
        group.add_argument("--resume", action="store_true", help="continue after the last finished shard")


class WebOptions(PipelineOptions):
    """Manners towards servers: Common Crawl's and those of images."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("web")
        group.add_argument(
            "--fetch_user_agent",
            default=USER_AGENT,
            help="who asks, and why; must have a way to reach you in it, a web or e-mail address, where images are "
            "asked for on the live web",
        )
        default = HttpSettings().requests_per_second
        group.add_argument(
            "--cc_requests_per_second",
            type=float,
            default=default,
            metavar="N",
            help="requests to Common Crawl, or any host of --cc_root and --c4, from each worker process; divide what "
            f"you want to ask for in all by their number (default: {default:g})",
        )


class LocateOptions(PipelineOptions):
    """Documents and Common Crawl."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("locate")
        group.add_argument(
            "--c4",
            nargs="+",
            default=[],
            metavar="FILE",
            help="C4 files (JSON lines, plain, .gz or .zst; or .parquet), or glob patterns in quotes",
        )
        group.add_argument(
            "--c4_fields",
            nargs="+",
            default=[],
            metavar="NAME=COLUMN",
            help="what the files call text, url and timestamp, as in timestamp=date (default: those names)",
        )
        group.add_argument(
            "--cc_root", metavar="FOLDER", help="Common Crawl: the folder or URL that holds crawl-data/ and cc-index/"
        )
        group.add_argument("--crawl", metavar="NAME", help="crawl to look in (default: the recipe's)")


class PagesOptions(PipelineOptions):
    """Where page contents come from."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("pages")
        group.add_argument(
            "--page_source",
            choices=["warc", "wat", "warc_scan"],
            default="warc",
            help="single WARC records by offset, whole WAT files, or whole WARC files (default: warc)",
        )
        group.add_argument(
            "--documents_per_shard",
            type=int,
            default=2000,
            metavar="N",
            help="documents in a shard, the unit of work of the stages after this one (default: 2000)",
        )
        group.add_argument(
            "--warcs",
            nargs="+",
            default=[],
            metavar="FILE",
            help="make documents of all HTML pages of these WARC files or glob patterns in quotes, instead of C4's; "
            "needs a recipe with text_source: page",
        )


class ImagesOptions(PipelineOptions):
    """How images are asked for."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        default = FetchSettings()
        group = parser.add_argument_group("images")
        group.add_argument(
            "--image_routes",
            nargs="+",
            default=list(default.routes),
            metavar="TEMPLATE",
            help="URL templates tried in order, with {url} and {timestamp} (default: the image's own URL)",
        )
        group.add_argument(
            "--fetch_engine",
            choices=["aiohttp", "img2dataset"],
            default="aiohttp",
            help="what asks for images; img2dataset asks for no robots.txt, so it needs --ignore_robots_txt, and has "
            "no limits for a host (default: aiohttp)",
        )
        group.add_argument(
            "--img2dataset_python",
            default=sys.executable,
            metavar="FILE",
            help="a Python that has img2dataset (default: the one that runs this)",
        )
        group.add_argument(
            "--images_from",
            nargs="+",
            default=[],
            metavar="TARS",
            help="take images, by their URL, from shards that img2dataset made (output_format=webdataset) and ask the "
            "web for nothing: folders, glob patterns in quotes, or 'shards/{00000..00099}.tar', each tar with its "
            ".parquet file beside it; links that are not in them are dropped as not_fetched",
        )
        group.add_argument(
            "--fetch_timeout",
            type=float,
            default=default.timeout,
            metavar="SECONDS",
            help="for one request (default: 30)",
        )
        group.add_argument(
            "--max_image_bytes",
            type=int,
            default=default.max_bytes,
            metavar="N",
            help="larger answers are dropped (default: 20 MiB)",
        )
        group.add_argument(
            "--max_open_requests",
            type=int,
            default=default.max_open,
            metavar="N",
            help="open at once in a worker (default: 1024)",
        )
        group.add_argument(
            "--max_open_per_host",
            type=int,
            default=default.max_open_per_host,
            metavar="N",
            help="open at once to a host (default: 4)",
        )
        group.add_argument(
            "--delay_per_host",
            type=float,
            default=default.delay_per_host,
            metavar="SECONDS",
            help="at least from one request to a host to the next; robots.txt may ask for more (default: 0.25)",
        )
        group.add_argument(
            "--shard_seconds",
            type=float,
            default=SHARD_SECONDS,
            metavar="SECONDS",
            help="for a shard; what slow and huge sites have left then gets a last pass of the same length, and what "
            "is left after that is dropped; 0 is no limit (default: 7200)",
        )
        group.add_argument(
            "--ignore_robots_txt", action="store_true", help="fetch what a site's robots.txt forbids, too"
        )
        group.add_argument(
            "--allow_private_hosts",
            action="store_true",
            help="allow loopback and private addresses, and a user agent without address; for replay servers and tests",
        )
        group.add_argument(
            "--face_detector_weights",
            metavar="FILE",
            help="YuNet's weights, where the recipe looks for faces (default: as `mmc4 models fetch` got them; "
            "without them OpenCV's cascade looks)",
        )


class ScoreOptions(PipelineOptions):
    """Which models score."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("score")
        group.add_argument(
            "--clip_model",
            default="ViT-L-14",
            metavar="NAME",
            help="open_clip model, or a config file (.json) (default: ViT-L-14)",
        )
        group.add_argument(
            "--clip_pretrained",
            default="openai",
            metavar="TAG",
            help="open_clip tag, weights file, or 'random' (default: openai)",
        )
        group.add_argument(
            "--nsfw_weights",
            metavar="FILE",
            help="NSFW head for this CLIP, in nsfw_torch.pt's format (default: that, as `mmc4 models fetch` got it)",
        )
        group.add_argument("--face_weights", metavar="FILE", help="face head for this CLIP")
        group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, … (default: auto)")
        group.add_argument(
            "--precision",
            choices=get_args(Precision),
            default="auto",
            help="numbers to compute in (default: auto, which is fp16 on CUDA; on a CPU fp32, with AMX bf16)",
        )
        group.add_argument(
            "--torch_compile",
            action="store_true",
            help="have torch.compile fuse the model for images: faster on CUDA, after a minute in each worker process",
        )
        group.add_argument(
            "--save_features",
            action="store_true",
            help="write the images' features beside their scores: 1.5 kB each for ViT-L-14",
        )


class ScoreWorkersOptions(PipelineOptions):
    """The machines that Dataflow gives to what holds the model, and to nothing else."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("score on Dataflow")
        group.add_argument(
            "--gpu_type", metavar="NAME", help="GPU of its workers, as in nvidia-tesla-t4 (default: none)"
        )
        group.add_argument("--gpu_count", type=int, metavar="N", help="GPUs of each of its workers (default: 1)")
        group.add_argument("--min_ram", metavar="SIZE", help="memory of each of its workers at least, as in 16GB")


class CutOptions(PipelineOptions):
    """What to cut."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("cut")
        group.add_argument(
            "--scores",
            metavar="NAME",
            help="scores to cut by, a folder below scores/ (default: the recipe's, or the only one)",
        )


class DatasetOptions(PipelineOptions):
    """How the dataset is written."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("dataset")
        group.add_argument(
            "--assignment", choices=get_args(Assignment), help="of images to sentences (default: the recipe's)"
        )
        group.add_argument(
            "--formats",
            nargs="+",
            default=["openflamingo"],
            metavar="NAME",
            help=f"some of {', '.join(known_formats())}; settings as in mmc4_jsonl:compression=zip,"
            "similarity_matrix=false (default: openflamingo)",
        )
        group.add_argument(
            "--shard_bytes",
            type=int,
            default=10**9,
            metavar="N",
            help="about how large a shard may get, in OpenFlamingo's format (default: 1 GB)",
        )


OWN_OPTIONS = (
    CommonOptions,
    WebOptions,
    LocateOptions,
    PagesOptions,
    ImagesOptions,
    ScoreOptions,
    ScoreWorkersOptions,
    CutOptions,
    DatasetOptions,
)


_DRY_RUN = "--dry_run"  # an option of Beam's, which wants a value


def parse(argv: list[str], program: str, description: str, own: tuple[type[PipelineOptions], ...]) -> PipelineOptions:
    """Read a job's command line.

    Raises UserError for an engine that does not answer, and for a flag that nobody knows, with the nearest known one.

    An engine elsewhere may know flags that this machine's Beam does not: there only those are refused that are a slip
    of the pen away from a known one. Beam would drop such a flag without a word.
    """
    parser = argparse.ArgumentParser(
        prog=program,
        description=description,
        epilog="All other flags are Apache Beam's own: --runner, --direct_num_workers, --temp_location, …",
        allow_abbrev=False,
    )
    for group in own:
        group._add_argparse_args(parser)  # type: ignore[arg-type]  # noqa: SLF001 - Beam's own way to build a parser of several classes
    parser.add_argument(_DRY_RUN, action="store_true", help="write the pipeline to OUTPUT/dry_run/, and run nothing")
    _, rest = parser.parse_known_args(argv)
    options = PipelineOptions([f"{_DRY_RUN}=True" if word == _DRY_RUN else word for word in argv])
    standard = options.view_as(StandardOptions)
    standard.runner = standard.runner or LOCAL_RUNNER
    _refuse_unknown(rest, parser, everything=standard.runner in _LOCAL)
    if not options.view_as(TestOptions).dry_run:
        check_engine(options)  # before hours go into looking at the input
    return options


def _refuse_unknown(rest: list[str], own: argparse.ArgumentParser, *, everything: bool) -> None:
    beam = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    for group in PipelineOptions.__subclasses__():
        if group not in OWN_OPTIONS:
            group._add_argparse_args(beam)  # type: ignore[arg-type]  # noqa: SLF001 - as above
    _, unknown = beam.parse_known_args(rest)
    known = [*own._option_string_actions, *beam._option_string_actions]  # noqa: SLF001 - argparse has no door to them
    for word in unknown:
        flag = word.partition("=")[0]
        near = difflib.get_close_matches(flag, known, n=1, cutoff=0.6 if everything else _SLIP)
        if near or everything:
            hint = f"; did you mean {near[0]}?" if near else "; see --help"
            message = f"{flag}: unknown argument{hint}"
            raise UserError(message)


def output_folder(options: PipelineOptions) -> str:
    """Give the folder of the run; raises UserError where none was given, or one that workers elsewhere can't find."""
    folder = options.view_as(CommonOptions).output
    message = "" if folder else "--output: say where the datasets go"
    if folder and "://" not in folder and not folder.startswith("/") and not runs_here(options):
        message = f"--output {folder}: give whole paths, of inputs too; workers elsewhere begin in another folder"
    if message:
        raise UserError(message)
    return str(folder)
