"""Options of the locate stage."""

import argparse

from apache_beam.options.pipeline_options import PipelineOptions

from mmc4_pipeline.arguments import add_documents_format


class LocateOptions(PipelineOptions):
    """Where the documents and Common Crawl are."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("documents and Common Crawl")
        group.add_argument(
            "--c4",
            nargs="+",
            default=[],
            metavar="FILE",
            help="C4 files, or glob patterns in quotes: JSON lines (plain, .gz or .zst) or .parquet; also "
            "hf://datasets/allenai/c4/en/FILE, s3:// and others",
        )
        group.add_argument(
            "--cc_root",
            metavar="FOLDER",
            help="folder or URL of Common Crawl, the one that contains crawl-data/ and cc-index/, for example "
            "https://data.commoncrawl.org",
        )
        group.add_argument(
            "--crawl", metavar="NAME", help="crawl that the documents come from (default: the recipe's crawl)"
        )
        group.add_argument(
            "--index",
            choices=("auto", "columnar", "cdx"),
            default="auto",
            help="index of the crawl: columnar is read completely (286 GB), in cdx each document is looked up (about "
            "0.3 MB each until most blocks are read); auto takes the one of which fewer bytes are read (default: auto)",
        )
        add_documents_format(group)


class ChoiceOptions(PipelineOptions):
    """Which of the documents are used, of --c4 or --published."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("choice of documents")
        group.add_argument(
            "--limit", type=int, metavar="N", help="use only the first N documents, and read only what they need"
        )
        group.add_argument(
            "--sample",
            type=int,
            metavar="N",
            help="use N documents of --c4 chosen by a hash of URL and time: the same ones in every run; all files are "
            "read",
        )
