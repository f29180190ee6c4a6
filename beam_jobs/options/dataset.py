"""Options of the cut stage: the scores it reads and the dataset it writes."""

import argparse
from typing import get_args

from apache_beam.options.pipeline_options import PipelineOptions

from mmc4_pipeline.assignment import Method
from mmc4_pipeline.dataset.write_shards import DatasetSettings
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.formats.registry import known_formats, parse_formats


class CutOptions(PipelineOptions):
    """The scores that the dataset is cut by; `mmc4 build` takes those it has just computed."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("scores")
        group.add_argument(
            "--scores",
            nargs="+",
            metavar="NAME",
            help="names of folders in OUTPUT/scores/, or of their scorers (default: the recipe's scores, or CLIP's)",
        )


class DatasetOptions(PipelineOptions):
    """How the dataset is written."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("dataset")
        group.add_argument(
            "--formats",
            nargs="+",
            default=["openflamingo"],
            metavar="NAME",
            help=f"output formats, one or more of {', '.join(known_formats())}; settings follow a colon, for example "
            "mmc4_jsonl:compression=zip,similarity_matrix=false (default: openflamingo)",
        )
        group.add_argument(
            "--assignment",
            choices=get_args(Method),
            help="how images are assigned to sentences: hungarian (one per sentence, largest sum of similarities), max "
            "(each to its most similar sentence), page (each to the sentence that follows it on its page; not with "
            "--page_source wat) or published (as the publisher of --published did). Default: the recipe's assignment",
        )
        group.add_argument(
            "--shard_bytes",
            type=int,
            default=10**9,
            metavar="BYTES",
            help="approximate size of a dataset's shards, measured in the openflamingo format: each ends with the "
            "document that reaches it (default: 1000000000, 1 GB)",
        )


def dataset_settings(options: PipelineOptions) -> DatasetSettings:
    """Return the formats and the size of shards. Raises UserError."""
    dataset = options.view_as(DatasetOptions)
    if dataset.shard_bytes < 1:
        raise UserError(f"--shard_bytes {dataset.shard_bytes}: must be at least 1")
    return DatasetSettings(parse_formats(dataset.formats), dataset.shard_bytes)
