"""Run the score stage: images -> `scores/<model>/`, with CLIP similarities and the heads' probabilities.

It is the only stage that uses a GPU. PyTorch is imported inside functions, so that `--help` works without it.
"""

import logging
import time
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import PCollection

from beam_jobs.command_line import parse
from beam_jobs.metrics import begin_shard, finish_shard, timed
from beam_jobs.options.common import CommonOptions, output_folder
from beam_jobs.options.recipe import recipe_of
from beam_jobs.options.score import ScoreOptions, ScoreWorkersOptions, score_hints, scorer_settings
from beam_jobs.stage_runner import run_stage
from filters.base import ScoreFilter
from mmc4_pipeline import storage
from mmc4_pipeline.clip.extra import require_score_extra
from mmc4_pipeline.clip.features import write_features
from mmc4_pipeline.clip.settings import ScorerSettings
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models import catalogue
from mmc4_pipeline.models.clip_choice import file_sha256
from mmc4_pipeline.recipe import Recipe
from mmc4_pipeline.run_folders import stage_folder
from mmc4_pipeline.stage_folder import StageFolder, fingerprint
from schemas.image import Image
from schemas.manifest import Manifest, ScoreInput, ScorePlan, ShardNote
from schemas.page import Page
from schemas.reasons import Stage
from schemas.score import DocumentScores
from schemas.statistics import Counts

if TYPE_CHECKING:
    from mmc4_pipeline.clip.score import Scorer

DESCRIPTION = """\
Compute how similar each image is to each sentence of its page, and whether it shows NSFW content or faces.

Reads OUTPUT/pages/ and OUTPUT/images/. Writes OUTPUT/scores/MODEL/, one folder per CLIP model. It needs the weights of
the model and of the heads that the recipe uses; `mmc4 models fetch` stores them. This is the fourth stage of `mmc4
build`, and the only one that benefits from a GPU.

Example:
  mmc4 score --output out --device cuda
"""
OPTIONS = (CommonOptions, ScoreOptions, ScoreWorkersOptions)
_ONE_AT_A_TIME = Lock()  # the threads that a runner may have in a worker process share the model and its device

_log = logging.getLogger(__name__)


def run(options: PipelineOptions) -> Manifest[ScorePlan]:
    """Run the stage and return its manifest."""
    require_score_extra("mmc4 score")
    recipe, settings, output = recipe_of(options), scorer_settings(options), output_folder(options)
    require_models(recipe, settings)
    images = stage_folder(output, Stage.IMAGES)
    manifest = images.manifest()
    work = ScoreWork(
        pages=stage_folder(output, Stage.PAGES),
        images=images,
        folder=stage_folder(output, Stage.SCORE, settings.clip.name),
        shards=manifest.plan.shards,
        settings=settings,
        save_features=options.view_as(ScoreOptions).save_features,
        hints=score_hints(options),
    )
    plan = ScorePlan(
        shards=work.shards,
        clip=settings.clip.identity(),
        precision=settings.precision,
        save_features=work.save_features,
        heads={name: file_sha256(path) for name, path in settings.heads.items()},
        input=ScoreInput(images=fingerprint(manifest)),
    )
    resume = options.view_as(CommonOptions).resume
    return run_stage(work.folder, plan, options, work.build, resume=resume)


def require_models(recipe: Recipe, settings: ScorerSettings) -> None:
    """Raise UserError, before any page is read, unless all weights that the recipe needs are available."""
    from mmc4_pipeline.clip.heads import HEADS, load_head
    from mmc4_pipeline.clip.weights import feature_width, require_weights

    for key, item in recipe.of_kind(ScoreFilter).items():
        if item.needs in HEADS and item.needs not in settings.heads:
            raise UserError(
                f"recipe {recipe.name}: filters.{key} needs --{item.needs}_weights: {_remedy(item.needs)}, "
                f"or turn the filter off with --set filters.{key}=null"
            )
    require_weights(settings.clip)
    width = feature_width(settings.clip)
    for name, path in settings.heads.items():
        load_head(HEADS[name], path, width, settings.clip)


def _remedy(head: str) -> str:
    """Return how to get the weights of a head."""
    if head == "face":
        return "train a face head for your CLIP with `mmc4 train_faces`"
    made_for = " ".join(catalogue.CLIP_IDENTITY.values())
    return f"run `mmc4 models fetch` ({catalogue.NSFW.name}, for CLIP {made_for}), or pass a head for another CLIP"


@dataclass(frozen=True, kw_only=True)
class ScoreWork:
    """The stage's pipeline. Its elements are shards: each has thousands of images, so that batches are full."""

    pages: StageFolder
    images: StageFolder
    folder: StageFolder
    shards: int
    settings: ScorerSettings
    save_features: bool
    hints: dict[str, str]

    def build(self, pipeline: beam.Pipeline, todo: list[int]) -> PCollection[None]:
        """Wire the pipeline. After the reshuffle other machines, which have a GPU, may take over."""
        shards = pipeline | beam.Create(todo) | "Spread shards" >> beam.Reshuffle()
        scored: PCollection[None] = shards | "Score" >> ScoreShards(self).with_resource_hints(**self.hints)
        return scored

    @timed(Stage.SCORE, "score")
    def score(self, shard: int) -> None:
        """Score one shard: read its files, write its scores and its note."""
        begin_shard(self.folder, shard)
        pages = list(storage.read_records(self.pages.shard_file("pages", shard, self.shards), Page))
        images = list(storage.read_records(self.images.shard_file("images", shard, self.shards), Image))
        counts = Counts(seen=sum(image.reason is None for image in images))
        with storage.open_read(self.images.shard_file("images", shard, self.shards, "tar")) as tar, _ONE_AT_A_TIME:
            scorer = loaded_scorer(self.settings)
            started = time.monotonic()
            scored = scorer.score_shard(pages, images, tar)
            seconds = time.monotonic() - started
        counts.decide(score.reason for document in scored.documents for score in document.images)
        files = [storage.write_records(self._file("scores", shard), scored.documents, DocumentScores)]
        if self.save_features:
            files.append(write_features(self._file("features", shard), scored.features, scorer.width))
        note = ShardNote(shard=shard, files=files, counts={"links": counts}, computed_in=scorer.computed_in)
        finish_shard(self.folder, note)
        _log.info(
            "score: shard %d: %d images and %d sentences in %.1f s, %s",
            shard,
            counts.seen,
            scored.sentences,
            seconds,
            scorer.computed_in,
        )

    def _file(self, stem: str, shard: int) -> str:
        return self.folder.shard_file(stem, shard, self.shards)


class ScoreShards(beam.PTransform):
    """The steps that use the model: the only ones that need a GPU."""

    def __init__(self, work: ScoreWork) -> None:
        super().__init__()
        self._work = work

    def expand(self, shards: PCollection[int]) -> PCollection[None]:
        scored: PCollection[None] = shards | "Score shard" >> beam.Map(self._work.score)
        return scored


@lru_cache(maxsize=1)
def loaded_scorer(settings: ScorerSettings) -> "Scorer":
    """Load the model once per worker process, not once per shard."""
    require_score_extra("mmc4 score")  # the launching machine has it; a worker's image may lack it
    from mmc4_pipeline.clip.score import Scorer

    return Scorer(settings)


def main(argv: list[str], program: str = "mmc4 score") -> None:
    """Run from the command line."""
    run(parse(argv, program, DESCRIPTION, OPTIONS))


if __name__ == "__main__":
    from mmc4_pipeline.cli import run_job

    run_job("score")
