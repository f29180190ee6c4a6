"""Parses a job's command line: our options, then those of Beam and its runners. Unknown options are refused."""

import argparse
import difflib

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions, TestOptions

from beam_jobs.engines import LOCAL_RUNNER, check_engine
from beam_jobs.options.common import CommonOptions
from beam_jobs.options.dataset import CutOptions, DatasetOptions
from beam_jobs.options.images import ImagesOptions
from beam_jobs.options.locate import ChoiceOptions, LocateOptions
from beam_jobs.options.pages import PagesOptions
from beam_jobs.options.score import ScoreOptions, ScoreWorkersOptions
from beam_jobs.options.web import WebOptions
from mmc4_pipeline.arguments import HelpFormatter
from mmc4_pipeline.errors import UserError

# In the order of `mmc4 build --help`. Beam knows a group's options as soon as its class is imported.
OWN_OPTIONS = (
    CommonOptions,
    LocateOptions,
    ChoiceOptions,
    PagesOptions,
    WebOptions,
    ImagesOptions,
    ScoreOptions,
    ScoreWorkersOptions,
    CutOptions,
    DatasetOptions,
)
_NO_OWN_OPTIONS = (LOCAL_RUNNER, "PrismRunner")  # runners that accept no options unknown to this machine's Beam
_TYPO = 0.8  # ratio of difflib from which an option counts as misspelt: --recpie and --recipe have 0.88
_DRY_RUN = "--dry_run"  # an option of Beam's, which expects a value
_BEAM = """\
All other options are passed on to Apache Beam. The most useful ones:
  --direct_num_workers N    worker processes on this machine (default: 1)
  --runner NAME             engine: PrismRunner, FlinkRunner, PortableRunner or
                            DataflowRunner (default: this machine, without one)
  --flink_master HOST:PORT  Flink cluster, for --runner FlinkRunner
"""


def parse(argv: list[str], program: str, description: str, own: tuple[type[PipelineOptions], ...]) -> PipelineOptions:
    """Parse a job's command line; `own` are the groups of options that the job has.

    Raises UserError for an engine that does not respond, and for an unknown option, with the nearest known one.

    A remote engine may accept options that this machine's Beam does not know. There only probable misspellings are
    refused, because Beam would ignore them silently.
    """
    parser = argparse.ArgumentParser(
        prog=program,
        usage=f"{program} --output FOLDER [options] [Apache Beam's options]",
        description=description,
        epilog=_BEAM,
        formatter_class=HelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    _add(own, parser)
    other = parser.add_argument_group("other options")
    other.add_argument(_DRY_RUN, action="store_true", help="write the pipeline to OUTPUT/dry_run/ and run nothing")
    other.add_argument("-h", "--help", action="help", help="show this help and exit")
    _, rest = parser.parse_known_args(argv)
    options = PipelineOptions([f"{_DRY_RUN}=True" if word == _DRY_RUN else word for word in argv])
    standard = options.view_as(StandardOptions)
    standard.runner = standard.runner or LOCAL_RUNNER
    _refuse_unknown(rest, parser, everything=standard.runner in _NO_OWN_OPTIONS)
    if not options.view_as(TestOptions).dry_run:
        check_engine(options)  # before hours are spent on reading the input
    return options


def own_options() -> dict[str, argparse.Action]:
    """Return our options of all stages, by name."""
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    _add(OWN_OPTIONS, parser)
    return {action.dest: action for action in parser._actions}  # noqa: SLF001 - argparse has no public way


def _add(groups: tuple[type[PipelineOptions], ...], parser: argparse.ArgumentParser) -> None:
    for group in groups:
        group._add_argparse_args(parser)  # type: ignore[arg-type]  # noqa: SLF001 - Beam's own way to combine groups


def _refuse_unknown(rest: list[str], own: argparse.ArgumentParser, *, everything: bool) -> None:
    beam = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    _add(tuple(group for group in PipelineOptions.__subclasses__() if group not in OWN_OPTIONS), beam)
    _, unknown = beam.parse_known_args(rest)
    known = [*own._option_string_actions, *beam._option_string_actions]  # noqa: SLF001 - argparse has no public way
    for word in unknown:
        flag = word.partition("=")[0]
        near = difflib.get_close_matches(flag, known, n=1, cutoff=0.6 if everything else _TYPO)
        if near or everything:
            hint = f"; did you mean {near[0]}?" if near else "; see --help"
            raise UserError(f"{flag}: unknown option{hint}")
