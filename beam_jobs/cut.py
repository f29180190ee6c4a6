"""cut: scores + images -> `dataset/<recipe>/`: thresholds applied, images assigned, shards, ledger, report."""

from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.options import CommonOptions, CutOptions, output_folder, parse, recipe_of
from beam_jobs.running import FOLDERS, run_stage, stage_folder
from filters.kinds import ScoreFilter
from mmc4_pipeline import storage
from mmc4_pipeline.dataset.cut import cut_shard, ledger_rows
from mmc4_pipeline.dataset.formats import openflamingo
from mmc4_pipeline.dataset.stage_folder import StageFolder, fingerprint
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.images.store import read_image
from mmc4_pipeline.recipe import Recipe, loosened, parse_recipe
from mmc4_pipeline.report.page import write_report
from mmc4_pipeline.report.statistics import shard_statistics
from schemas.image import Image
from schemas.ledger import LedgerRow
from schemas.page import Page
from schemas.reasons import Stage
from schemas.score import DocumentScores
from schemas.statistics import Counts

OPTIONS = (CommonOptions, CutOptions)


def run(options: PipelineOptions, scores: str | None = None) -> dict[str, Any]:
    """Run the stage and give its manifest; `scores` names the scores to cut by where `build` has just made them."""
    recipe, output = recipe_of(options), output_folder(options)
    scores = scores or options.view_as(CutOptions).scores or _only_scores(output)
    scored = StageFolder(storage.join(output, "scores", scores), Stage.SCORE)
    manifests = {stage: stage_folder(output, stage).manifest() for stage in FOLDERS} | {Stage.SCORE: scored.manifest()}
    _refuse_what_was_not_scored(recipe, manifests, output)
    folder = StageFolder(storage.join(output, "dataset", recipe.name), Stage.CUT)
    plan = {
        "recipe": recipe.to_json(),
        "input": {"scores": scores, **{stage.value: fingerprint(manifest) for stage, manifest in manifests.items()}},
        "before": {stage.value: manifest["counts"] for stage, manifest in manifests.items()},
    }
    work = CutWork(output, scored, folder, manifests[Stage.SCORE]["shards"], recipe)
    manifest = run_stage(
        folder,
        plan,
        manifests[Stage.SCORE]["shards"],
        options,
        work.build,
        resume=options.view_as(CommonOptions).resume,
    )
    write_report(folder)
    return manifest


def _only_scores(output: str) -> str:
    names = [path.split("/")[-2] for path in storage.matches_below(output, "scores/*/manifest.json")]
    if len(names) == 1:
        return names[0]
    message = f"{output}: no finished scores; run `mmc4 score` first"
    if names:
        message = f"--scores: say which of {', '.join(names)} to cut by"
    raise UserError(message)


def _refuse_what_was_not_scored(recipe: Recipe, manifests: dict[Stage, dict[str, Any]], output: str) -> None:
    """Refuse a recipe that would need images, or probabilities, that the earlier stages did not keep."""
    images, pages = manifests[Stage.IMAGES]["recipe"], manifests[Stage.PAGES]["recipe"]
    earlier = {
        **manifests[Stage.LOCATE]["recipe"],
        "text_source": pages["text_source"],
        "links": pages["links"],
        "images": images["images"],
        "filters": {**pages["filters"], **images["filters"]},
        "assignment": recipe.assignment,
    }
    problems = loosened(parse_recipe(earlier, "of the earlier stages"), recipe)
    heads = manifests[Stage.SCORE]["heads"]
    problems += [
        f"filters.{key}: the scores have no {item.needs} probabilities; run `mmc4 score` with --{item.needs}_weights"
        for key, item in recipe.of_kind(ScoreFilter).items()
        if item.needs and item.needs not in heads
    ]
    if problems:
        message = f"recipe {recipe.name} asks for more than {output} holds: {'; '.join(problems)}"
        raise UserError(message)


class CutWork:
    """The wiring of the stage: shard i of the dataset comes from shard i of the images, in order."""

    def __init__(self, output: str, scores: StageFolder, folder: StageFolder, shards: int, recipe: Recipe) -> None:
        self._pages, self._images = stage_folder(output, Stage.PAGES), stage_folder(output, Stage.IMAGES)
        self._scores, self._folder, self._shards, self._recipe = scores, folder, shards, recipe

    def build(self, pipeline: beam.Pipeline, todo: list[int]) -> None:
        """Wire the pipeline."""
        _ = pipeline | beam.Create(todo) | "Spread shards" >> beam.Reshuffle() | "Cut" >> beam.Map(self._cut)

    def _cut(self, shard: int) -> None:
        pages = list(storage.read_records(self._pages.shard_file("pages", shard, self._shards), Page))
        images = list(storage.read_records(self._images.shard_file("images", shard, self._shards), Image))
        scores = list(storage.read_records(self._scores.shard_file("scores", shard, self._shards), DocumentScores))
        documents = list(cut_shard(pages, images, scores, self._recipe))
        name = f"shard-{shard:05d}.tar"
        with storage.open_read(self._images.shard_file("images", shard, self._shards, "tar")) as tar:
            shard_file = openflamingo.write_shard(
                self._folder.file(name), documents, lambda image: read_image(tar, image.offset or 0, image.length or 0)
            )
        rows = [row for document in documents for row in ledger_rows(document, name)]
        ledger = self._folder.shard_file("ledger/ledger", shard, self._shards)
        counts = {"documents": Counts(seen=len(pages)), "links": Counts(seen=_scored(scores))}
        counts["documents"].decide(document.reason for document in documents)
        counts["links"].decide(reason for document in documents for reason in document.cut_reasons())
        files = [shard_file, storage.write_records(ledger, rows, LedgerRow)]
        self._folder.finish_shard(shard, files, counts, statistics=shard_statistics(documents).to_json())


def _scored(scores: list[DocumentScores]) -> int:
    return sum(score.reason is None for document in scores for score in document.images)


def main(argv: list[str], program: str = "mmc4 cut") -> None:
    """Run from the command line."""
    run(parse(argv, program, __doc__ or "", OPTIONS))


if __name__ == "__main__":
    from mmc4_pipeline.cli import run_job

    run_job("cut")
