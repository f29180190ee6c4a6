"""Options of the pages stage."""

import argparse

from apache_beam.options.pipeline_options import PipelineOptions


class PagesOptions(PipelineOptions):
    """Where the contents of pages come from."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("pages")
        group.add_argument(
            "--page_source",
            choices=["warc", "wat", "warc_scan"],
            default="warc",
            help="how pages are read: single WARC records by byte range (warc), whole WAT files (wat) or whole WARC "
            "files (warc_scan); `mmc4 plan` estimates which is cheapest (default: warc)",
        )
        group.add_argument(
            "--warcs",
            nargs="+",
            default=[],
            metavar="FILE",
            help="WARC files (.warc, .warc.gz, .warc.zst), or glob patterns in quotes: every HTML page in them becomes "
            "a document, instead of those of --c4; requires a recipe with text_source: page, such as page-text",
        )
        group.add_argument(
            "--published",
            nargs="+",
            default=[],
            metavar="FILE",
            help="files of a published interleaved dataset, or glob patterns in quotes: MMC4 (JSON lines, plain, .gz, "
            ".zst or .zip), OBELICS, OmniCorpus or MINT-1T HTML (.parquet); their documents take the place of those of "
            "--c4, and only the images are fetched",
        )
        group.add_argument(
            "--documents_per_shard",
            type=int,
            default=2000,
            metavar="N",
            help="documents per shard, the unit of work of this stage and all later ones (default: 2000)",
        )
