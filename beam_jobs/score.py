"""score: images -> `scores/<model>/`: CLIP similarities and the heads' probabilities. The only stage for a GPU.

PyTorch is imported where it is used: `--help` and the launching machine of a remote run do without it.
"""

from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import PCollection

from beam_jobs.command_line import parse
from beam_jobs.metrics import begin_shard, finish_shard, timed
from beam_jobs.options.common import CommonOptions, output_folder
from beam_jobs.options.recipe import recipe_of
from beam_jobs.options.score import ScoreOptions, ScoreWorkersOptions, score_hints, scorer_settings
from beam_jobs.stage_runner import run_stage, stage_folder
from filters.base import ScoreFilter
from mmc4_pipeline import storage
from mmc4_pipeline.clip.extra import require_score_extra
from mmc4_pipeline.clip.features import write_features
from mmc4_pipeline.clip.settings import ScorerSettings
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models import catalogue
from mmc4_pipeline.models.clip_choice import file_sha256
from mmc4_pipeline.recipe import Recipe
from mmc4_pipeline.stage_folder import StageFolder, fingerprint
from schemas.image import Image
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
_ONE_AT_A_TIME = Lock()  # a runner may have several threads in a worker process: they share the model and its device


def run(options: PipelineOptions) -> dict[str, Any]:
    """Run the stage and return its manifest."""
    require_score_extra("mmc4 score")
    recipe, settings, output = recipe_of(options), scorer_settings(options), output_folder(options)
    require_models(recipe, settings)
    images = stage_folder(output, Stage.IMAGES)
    manifest = images.manifest()
    folder = StageFolder(storage.join(output, "scores", settings.clip.name), Stage.SCORE)
    heads = {"nsfw": settings.nsfw_weights, "face": settings.face_weights}
    save_features = options.view_as(ScoreOptions).save_features
    plan = {
        "clip": settings.clip.identity(),
        "precision": settings.precision,
        "save_features": save_features,
        "heads": {name: file_sha256(path) for name, path in heads.items() if path},
        "input": {"images": fingerprint(manifest)},
    }
    work = ScoreWork(
        stage_folder(output, Stage.PAGES),
        images,
        folder,
        manifest["shards"],
        settings,
        save_features=save_features,
        hints=score_hints(options),
    )
    resume = options.view_as(CommonOptions).resume
    return run_stage(folder, plan, manifest["shards"], options, work.build, resume=resume)


def require_models(recipe: Recipe, settings: ScorerSettings) -> None:
    """Make sure, before any page is read, that all weights that the recipe needs can be had; raises UserError."""
    from mmc4_pipeline.clip.heads import FaceHead, NsfwHead, load_head
    from mmc4_pipeline.clip.model import feature_width, require_weights

    weights = {
        "nsfw": ("--nsfw_weights", settings.nsfw_weights, _nsfw_remedy()),
        "face": ("--face_weights", settings.face_weights, "train a face head for your CLIP with `mmc4 train_faces`"),
    }
    for key, item in recipe.of_kind(ScoreFilter).items():
        flag, path, remedy = weights.get(item.needs or "", ("", "none needed", ""))
        if not path:
            message = (
                f"recipe {recipe.name}: filters.{key} needs {flag}: {remedy}, "
                f"or turn the filter off with --set filters.{key}=null"
            )
            raise UserError(message)
    require_weights(settings.clip)
    width = feature_width(settings.clip)
    for head, file in ((NsfwHead, settings.nsfw_weights), (FaceHead, settings.face_weights)):
        if file:
            load_head(head, file, width, settings.clip)


def _nsfw_remedy() -> str:
    made_for = " ".join(catalogue.CLIP_IDENTITY.values())
    return (
        f"run `mmc4 models fetch` ({catalogue.NSFW.name}, for CLIP {made_for}), for another CLIP give a head of its own"
    )


class ScoreWork:
    """The wiring of the stage. A shard is the element: thousands of images, so that batches are always full."""

    def __init__(
        self,
        pages: StageFolder,
        images: StageFolder,
        folder: StageFolder,
        shards: int,
        settings: ScorerSettings,
        *,
        save_features: bool,
        hints: dict[str, str],
    ) -> None:
        self._pages, self._images, self._folder, self._shards = pages, images, folder, shards
        self._settings, self._save_features, self._hints = settings, save_features, hints

    def build(self, pipeline: beam.Pipeline, todo: list[int]) -> None:
        """Wire the pipeline. The shuffle before it is where other machines, with a GPU, may take over."""
        shards = pipeline | beam.Create(todo) | "Spread shards" >> beam.Reshuffle()
        _ = shards | "Score" >> ScoreShards(self).with_resource_hints(**self._hints)

    @timed(Stage.SCORE, "score")
    def score(self, shard: int) -> None:
        """Score one shard, from its files to its note."""
        begin_shard(self._folder, shard)
        pages = list(storage.read_records(self._pages.shard_file("pages", shard, self._shards), Page))
        images = list(storage.read_records(self._images.shard_file("images", shard, self._shards), Image))
        counts = Counts(seen=sum(image.reason is None for image in images))
        with (
            storage.open_read(self._images.shard_file("images", shard, self._shards, "tar")) as tar,
            _ONE_AT_A_TIME,
        ):
            scorer = loaded_scorer(self._settings)
            scored = scorer.score_shard(pages, images, tar)
        counts.decide(score.reason for document in scored.documents for score in document.images)
        files = [storage.write_records(self._file("scores", shard), scored.documents, DocumentScores)]
        if self._save_features:
            files.append(write_features(self._file("features", shard), scored.features, scorer.width))
        finish_shard(self._folder, shard, files, {"links": counts}, computed_in=scorer.computed_in)

    def _file(self, stem: str, shard: int) -> str:
        return self._folder.shard_file(stem, shard, self._shards)


class ScoreShards(beam.PTransform):
    """What holds the model: all that a runner has to give a GPU to."""

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
