"""The stages before the cut: their manifests, and what a recipe needs that they did not keep."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from mmc4_pipeline.dataset.column_names import column_problems
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.recipe import Recipe, loosened, parse_recipe
from mmc4_pipeline.run_folders import stage_folder
from mmc4_pipeline.scoring.folders import FoundScores
from schemas.manifest import ImagesPlan, LocatePlan, Manifest, PagesPlan, Plan, ScorePlan
from schemas.reasons import Stage


@dataclass(frozen=True, slots=True)
class EarlierStages:
    """The manifests of the stages before the cut. With --warcs and --published there was nothing to locate."""

    locate: Manifest[LocatePlan] | None
    pages: Manifest[PagesPlan]
    images: Manifest[ImagesPlan]
    score: Manifest[ScorePlan]

    @classmethod
    def read(cls, output: str, scored: FoundScores) -> Self:
        """Read the manifests; raises UserError if one of the stages is not finished."""
        pages = stage_folder(output, Stage.PAGES).manifest(PagesPlan)
        located = pages.plan.input.locations is not None
        return cls(
            locate=stage_folder(output, Stage.LOCATE).manifest(LocatePlan) if located else None,
            pages=pages,
            images=stage_folder(output, Stage.IMAGES).manifest(ImagesPlan),
            score=scored.folder.manifest(ScorePlan),
        )

    def all(self) -> dict[Stage, Manifest[Plan]]:
        """Return the manifests by stage, in the stages' order."""
        every = {Stage.PAGES: self.pages, Stage.IMAGES: self.images, Stage.SCORE: self.score}
        return {**({Stage.LOCATE: self.locate} if self.locate else {}), **every}


def refuse_what_was_not_kept(recipe: Recipe, stages: EarlierStages, scored: Sequence[FoundScores], output: str) -> None:
    """Raise UserError if the recipe needs images or probabilities that the earlier stages did not keep."""
    images, pages = stages.images.plan.recipe, stages.pages.plan.recipe
    earlier = {
        **(stages.locate.plan.recipe if stages.locate else recipe.part(Stage.LOCATE)),
        # A published dataset has its own texts, whatever a recipe says of those of crawled pages.
        "text_source": recipe.text_source if stages.pages.plan.input.published else pages["text_source"],
        "links": pages["links"],
        "images": images["images"],
        "filters": {**pages["filters"], **images["filters"]},
        "assignment": recipe.assignment.to_json(),
    }
    problems = loosened(parse_recipe(earlier, "of the earlier stages"), recipe)
    problems += column_problems(recipe, scored)
    layout = stages.pages.plan.input.layout
    if not stages.pages.plan.places:
        remedy = f"{layout} has none" if layout else "run it again with --page_source warc or warc_scan"
        problems += [
            f"{key}: needs the places of images in their pages, which the pages stage did not find; {remedy}"
            for key in recipe.needing_places
        ]
    if recipe.assignment.method == "published" and not layout:
        problems.append("assignment: published, but the documents were not read with --published")
    if recipe.face_detector.every_image and not stages.images.plan.face_detector:
        problems.append("face_detector.every_image: true, but the images stage ran without a face detector")
    if problems:
        raise UserError(f"recipe {recipe.name} needs more than {output} has: {'; '.join(problems)}")
