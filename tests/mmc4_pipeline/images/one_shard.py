"""A single shard, fetched as the images stage fetches many."""

from collections.abc import Mapping

from filters.base import ContentFilter
from mmc4_pipeline.images.faces import FaceDetector
from mmc4_pipeline.images.fetch_shards import fetch_shards
from mmc4_pipeline.images.fetching.settings import FetchSettings
from mmc4_pipeline.images.process_shard import FetchedShard, ImageSource, ShardToFetch, fetch_from_source
from mmc4_pipeline.recipe import Recipe
from schemas.page import Page


def fetch_shard(
    pages: list[Page],
    recipe: Recipe,
    settings: FetchSettings,
    tar_path: str,
    *,
    detector: FaceDetector | None = None,
    source: ImageSource | None = None,
    content_filters: Mapping[str, ContentFilter] | None = None,
) -> FetchedShard:
    """Fetch the images of these pages and write those worth keeping to a tar."""
    shard = ShardToFetch(
        0, lambda: pages, recipe, tar_path, f"{tar_path}.parts", detector, content_filters=content_filters or {}
    )
    if source:
        return fetch_from_source(shard, source)
    fetched: list[FetchedShard] = []
    fetch_shards([shard], settings, lambda _, result: fetched.append(result))
    return fetched[0]
