"""Run the score stage: images -> `scores/NAME/`, a folder for each scorer.

It is the only stage that uses a GPU. PyTorch is imported inside functions, so that `--help` works without it.
"""

import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from threading import Lock

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import PCollection

from beam_jobs.command_line import parse
from beam_jobs.metrics import begin_shard, finish_shard, timed
from beam_jobs.options.common import CommonOptions, output_folder
from beam_jobs.options.recipe import recipe_of
from beam_jobs.options.score import ScoreOptions, ScoreWorkersOptions, chosen_scorers, machine_of, score_hints
from beam_jobs.stage_runner import run_stage
from filters.base import ScoreFilter
from mmc4_pipeline import storage
from mmc4_pipeline.clip.features import read_features
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.recipe import Recipe
from mmc4_pipeline.run_folders import stage_folder
from mmc4_pipeline.scorers.registry import name_of
from mmc4_pipeline.scoring.base import LoadedScorer, Machine, Scorer, ShardScores
from mmc4_pipeline.scoring.files import write_scores
from mmc4_pipeline.scoring.folders import FoundScores, find_scores
from mmc4_pipeline.scoring.picture import Picture
from mmc4_pipeline.scoring.shard import Document, Features, Shard, documents_of, places_of
from mmc4_pipeline.scoring.sharing import SharedPictures
from mmc4_pipeline.stage_folder import StageFolder, fingerprint
from mmc4_pipeline.tar import read_image
from schemas.image import Image
from schemas.manifest import Manifest, ScoreInput, ScorePlan, ShardNote
from schemas.page import Page
from schemas.reasons import Stage
from schemas.statistics import Counts

DESCRIPTION = """\
Score each image: how similar it is to each sentence of its page, whether it shows NSFW content or faces, and more.

Reads OUTPUT/pages/ and OUTPUT/images/. Writes OUTPUT/scores/NAME/, one folder for each scorer; without --scorer, CLIP
runs, and its folder is named after its model. It needs the weights of the models that the recipe uses; `mmc4 models
fetch` stores them. Scorers can be added later: those that have finished are not run again. This is the fourth stage of
`mmc4 build`, and the only one that benefits from a GPU.

Example:
  mmc4 score --output out --device cuda
"""
OPTIONS = (CommonOptions, ScoreOptions, ScoreWorkersOptions)
_ONE_AT_A_TIME = Lock()  # the threads that a runner may have in a worker process share the models and their device

_log = logging.getLogger(__name__)


def run(options: PipelineOptions) -> list[Manifest[ScorePlan]]:
    """Run the stage and return the manifest of each scorer. Scorers that read others' scores run after these."""
    recipe, scorers = recipe_of(options), chosen_scorers(options)
    require_models(recipe, scorers)
    made: list[Manifest[ScorePlan]] = []
    for group in _in_order(scorers):
        made += _run_together(group, options)
    return made


def _in_order(scorers: Sequence[Scorer]) -> Iterator[list[Scorer]]:
    """Yield groups of scorers: each reads the scores of earlier groups only. Raises UserError if that can't be."""
    remaining = list(scorers)
    while remaining:
        names = {name for scorer in remaining for name in (scorer.folder, name_of(scorer))}
        group = [scorer for scorer in remaining if names.isdisjoint(scorer.reads)]
        if not group:
            raise UserError(f"--scorer {name_of(remaining[0])}: these scorers read each other's scores")
        yield group
        remaining = [scorer for scorer in remaining if scorer not in group]


def _run_together(scorers: Sequence[Scorer], options: PipelineOptions) -> list[Manifest[ScorePlan]]:
    """Run scorers that share the decoding of images."""
    output = output_folder(options)
    images = stage_folder(output, Stage.IMAGES)
    manifest = images.manifest()
    work = ScoreWork(
        pages=stage_folder(output, Stage.PAGES),
        images=images,
        scorers=tuple(
            ScorerWork(item, stage_folder(output, Stage.SCORE, item.folder), tuple(find_scores(output, item.reads)))
            for item in scorers
        ),
        shards=manifest.plan.shards,
        machine=machine_of(options),
        hints=score_hints(options),
    )
    plans = [
        ScorePlan(
            shards=work.shards,
            scorer=name_of(item.scorer),
            input=ScoreInput(
                images=fingerprint(manifest), scores={other.name: other.fingerprint for other in item.reads}
            ),
            **item.scorer.plan(),
        )
        for item in work.scorers
    ]
    pairs = [(item.folder, plan) for item, plan in zip(work.scorers, plans, strict=True)]
    resume = options.view_as(CommonOptions).resume
    run_stage(*pairs[0], options, work.build, resume=resume, also=pairs[1:])
    return [folder.manifest(ScorePlan) for folder, _ in pairs]


def require_models(recipe: Recipe, scorers: Sequence[Scorer]) -> None:
    """Raise UserError, before any page is read, unless all packages and weights that are needed are available."""
    for scorer in scorers:
        scorer.check_packages()
    unscored = {column: remedy for scorer in scorers for column, remedy in scorer.unscored().items()}
    for key, item in recipe.of_kind(ScoreFilter).items():
        if item.column in unscored:
            raise UserError(
                f"recipe {recipe.name}: filters.{key} needs {unscored[item.column]}, "
                f"or turn the filter off with --set filters.{key}=null"
            )
    for scorer in scorers:
        scorer.check()


@dataclass(frozen=True, slots=True)
class ScorerWork:
    """A scorer, the folder that it writes, and the scores that it reads."""

    scorer: Scorer
    folder: StageFolder
    reads: tuple[FoundScores, ...]


@dataclass(frozen=True, kw_only=True)
class ScoreWork:
    """The stage's pipeline. Its elements are shards: each has thousands of images, so that batches are full."""

    pages: StageFolder
    images: StageFolder
    scorers: tuple[ScorerWork, ...]
    shards: int
    machine: Machine
    hints: dict[str, str]

    def build(self, pipeline: beam.Pipeline, todo: list[int]) -> PCollection[None]:
        """Wire the pipeline. After the reshuffle other machines, which have a GPU, may take over."""
        shards = pipeline | beam.Create(todo) | "Spread shards" >> beam.Reshuffle()
        scored: PCollection[None] = shards | "Score" >> ScoreShards(self).with_resource_hints(**self.hints)
        return scored

    @timed(Stage.SCORE, "score")
    def score(self, shard: int) -> None:
        """Score one shard by each scorer that has not finished it: write its scores and its note."""
        todo = [item for item in self.scorers if not storage.exists(item.folder.note_file(shard))]
        if not todo:
            return
        begin_shard(todo[0].folder, shard)
        pages = list(storage.read_records(self.pages.shard_file("pages", shard, self.shards), Page))
        images = list(storage.read_records(self.images.shard_file("images", shard, self.shards), Image))
        kept = sum(image.reason is None for image in images)
        with _ONE_AT_A_TIME:
            loaded = loaded_scorers([item.scorer for item in self.scorers], self.machine)
            found = self._scores(shard, documents_of(pages, images), todo, [loaded[item.scorer] for item in todo])
        for item, (scored, seconds) in zip(todo, found, strict=True):
            counts = Counts(seen=kept)
            counts.decide(score.reason for document in scored.documents for score in document.images)
            columns = item.scorer.columns
            file = write_scores(item.folder.shard_file("scores", shard, self.shards), scored.documents, columns)
            note = ShardNote(
                shard=shard, files=[file, *scored.files], counts={"links": counts}, computed_in=scored.computed_in
            )
            if item is todo[0]:
                finish_shard(item.folder, note)
            else:
                item.folder.finish_shard(note)  # a runner's metrics count each image once
            _log.info(
                "score: shard %d: %d images %s in %.1f s, %s",
                shard,
                kept,
                scored.summary,
                seconds,
                scored.computed_in or item.scorer.folder,
            )

    def _scores(
        self, shard: int, documents: list[Document], todo: Sequence["ScorerWork"], loaded: Sequence[LoadedScorer]
    ) -> list[tuple[ShardScores, float]]:
        """Return the scores of each scorer, and its seconds. Several scorers compute in threads of their own."""
        source = self._pictures(shard, documents)
        pictures = SharedPictures(source, len(todo))

        def score(number: int) -> tuple[ShardScores, float]:
            started = time.monotonic()
            try:
                read = partial(pictures.read, number)
                scored = loaded[number].score_shard(self._shard(shard, documents, todo[number], read))
            finally:
                pictures.leave(number)
            return scored, time.monotonic() - started

        with closing(source):
            if len(todo) == 1:
                return [score(0)]
            with ThreadPoolExecutor(len(todo), "scorer") as pool:
                return list(pool.map(score, range(len(todo))))

    def _shard(
        self, shard: int, documents: list[Document], item: "ScorerWork", read: Callable[[], Iterator[Picture]]
    ) -> Shard:
        others = dict(zip(item.scorer.reads, item.reads, strict=True))

        def features(name: str) -> Features:
            path = others[name].folder.shard_file("features", shard, self.shards)
            return {(found.key, found.position): found.values for found in read_features(path)}

        return Shard(
            documents,
            read,
            path_of=lambda stem: item.folder.shard_file(stem, shard, self.shards),
            scores=lambda name: {document.key: document for document in others[name].read(shard)},
            features=features,
        )

    def _pictures(self, shard: int, documents: list[Document]) -> Generator[Picture]:
        with storage.open_read(self.images.shard_file("images", shard, self.shards, "tar")) as tar:
            for place in places_of(documents):
                yield Picture(read_image(tar, *place))


class ScoreShards(beam.PTransform):
    """The steps that use the models: the only ones that need a GPU."""

    def __init__(self, work: ScoreWork) -> None:
        super().__init__()
        self._work = work

    def expand(self, shards: PCollection[int]) -> PCollection[None]:
        scored: PCollection[None] = shards | "Score shard" >> beam.Map(self._work.score)
        return scored


_loaded: dict[tuple[Scorer, Machine], LoadedScorer] = {}


def loaded_scorers(scorers: Sequence[Scorer], machine: Machine) -> dict[Scorer, LoadedScorer]:
    """Load each scorer once per worker process, not once per shard. Those of an earlier pipeline are forgotten."""
    wanted = [(scorer, machine) for scorer in scorers]
    for key in _loaded.keys() - set(wanted):
        del _loaded[key]
    for key in wanted:
        if key not in _loaded:
            _loaded[key] = key[0].load(machine)
    return {scorer: _loaded[scorer, machine] for scorer in scorers}


def main(argv: list[str], program: str = "mmc4 score") -> None:
    """Run from the command line."""
    run(parse(argv, program, DESCRIPTION, OPTIONS))


if __name__ == "__main__":
    from mmc4_pipeline.cli import run_job

    run_job("score")
