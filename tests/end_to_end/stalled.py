"""Builds of a miniature web in which some images never respond: what tests of engines run."""

from pathlib import Path

from tests.end_to_end.running import TWO_SCORERS, Web
from tests.engines import flink

COPIES = "filters.corpus_copies={max_copies: 10, max_distance: 5}"


def stalled_build(web: Web, output: Path) -> list[str]:
    """Return the arguments of a build with both kinds of corpus filters, in more shards than any engine has workers."""
    return [*web.build_arguments(output, documents_per_shard="8", set=COPIES), *TWO_SCORERS]


def on_cluster(cluster: flink.Cluster) -> list[str]:
    """Return the arguments of a job with two workers."""
    return [*cluster.arguments(), "--parallelism", "2"]
