"""Options of HTTP requests, to Common Crawl and to the hosts of images."""

import argparse

from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.engines import worker_processes
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.storage.http.client import USER_AGENT, HttpSettings


class WebOptions(PipelineOptions):
    """How servers are asked, those of Common Crawl and those of images."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("HTTP requests")
        group.add_argument(
            "--fetch_user_agent",
            default=USER_AGENT,
            metavar="TEXT",
            help="User-Agent header; must contain a URL or e-mail address when images are fetched from the live web "
            f"(default: {USER_AGENT})",
        )
        default = HttpSettings().requests_per_second
        group.add_argument(
            "--cc_requests_per_second",
            type=float,
            default=default,
            metavar="N",
            help="maximum requests per second of the whole run to each host of the input, such as Common Crawl's; each "
            f"of the worker processes that the runner's options name gets an equal part (default: {default:g})",
        )


def http_settings(options: PipelineOptions) -> HttpSettings:
    """Return how each worker process requests Common Crawl's and other remote files. Raises UserError."""
    web = options.view_as(WebOptions)
    if not web.cc_requests_per_second > 0:
        raise UserError(f"--cc_requests_per_second {web.cc_requests_per_second}: must be more than 0")
    return HttpSettings(web.fetch_user_agent, web.cc_requests_per_second / worker_processes(options))
