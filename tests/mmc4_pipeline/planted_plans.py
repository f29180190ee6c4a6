"""Plans of stages that were never run, for tests that need a stage's folder."""

from collections.abc import Mapping, Sequence

from mmc4_pipeline.recipe import load_recipe
from schemas.manifest import (
    CutInput,
    CutOptions,
    CutPlan,
    ImagesInput,
    ImagesPlan,
    Json,
    PagesInput,
    PagesPlan,
)
from schemas.reasons import Stage
from schemas.statistics import Counts


def pages_plan(shards: int) -> PagesPlan:
    """Return the plan of a pages stage."""
    recipe = load_recipe("mmc4").part(Stage.PAGES)
    return PagesPlan(shards=shards, recipe=recipe, options={"page_source": "warc"}, input=PagesInput(locations="0"))


def images_plan(shards: int) -> ImagesPlan:
    """Return the plan of an images stage."""
    recipe = load_recipe("mmc4").part(Stage.IMAGES)
    return ImagesPlan(shards=shards, recipe=recipe, options={}, input=ImagesInput(pages="0"))


def cut_plan(
    shards: int,
    *,
    recipe: Json | None = None,
    before: Mapping[Stage, dict[str, Counts]] | None = None,
    images: str | None = None,
    formats: Sequence[str] = ("openflamingo",),
) -> CutPlan:
    """Return the plan of a dataset; `images` is the fingerprint of its images stage."""
    return CutPlan(
        shards=shards,
        name="planted",
        recipe=recipe or load_recipe("mmc4").to_json(),
        options=CutOptions(formats=[{"name": name} for name in formats], shard_bytes=1 << 30),
        input=CutInput(scores="clip", images=images),
        before=dict(before or {}),
    )
