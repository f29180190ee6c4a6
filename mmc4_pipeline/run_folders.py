"""The folders of a run, below its --output. This is the only place that has their names."""

from mmc4_pipeline import storage
from mmc4_pipeline.stage_folder import StageFolder
from schemas.reasons import Stage

_NAMES = {
    Stage.LOCATE: "locations",
    Stage.PAGES: "pages",
    Stage.IMAGES: "images",
    Stage.SCORE: "scores",
    Stage.CUT: "dataset",
}
NAMED = (Stage.SCORE, Stage.CUT)  # stages with a folder for each CLIP or recipe: "scores/ViT-L-14_openai"


def folder_name(stage: Stage, name: str = "") -> str:
    """Return the path of a stage's folder relative to the output; `name` is the name of the scores or dataset."""
    return f"{_NAMES[stage]}/{name}".rstrip("/")


def stage_folder(output: str, stage: Stage, name: str = "") -> StageFolder:
    """Return the folder of a stage; `name` is the name of the scores or dataset."""
    return StageFolder(storage.join(output, folder_name(stage, name)), stage)


def names_of(output: str, stage: Stage, file: str = "plan.json") -> list[str]:
    """Return the names of the scores or datasets whose folder has a file: the plan if begun, the manifest if done."""
    return [path.split("/")[-2] for path in storage.matches_below(output, f"{folder_name(stage)}/*/{file}")]


def output_of(dataset: StageFolder) -> str:
    """Return the output folder to which a dataset belongs, if the dataset has not been moved."""
    return storage.above(dataset.path, 2)
