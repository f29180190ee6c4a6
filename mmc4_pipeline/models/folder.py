"""Find fetched weights on this machine, and identify files of weights."""

import os
from pathlib import Path

from platformdirs import user_cache_path

from filters.base import ScoreFilter
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models import catalogue
from mmc4_pipeline.models.catalogue import PublishedFile, Weights
from mmc4_pipeline.models.clip_choice import RANDOM, ClipChoice, file_sha256
from mmc4_pipeline.recipe import Recipe

ENVIRONMENT = "MMC4_MODELS"


def models_folder() -> Path:
    """Return the folder of fetched weights: MMC4_MODELS in the environment, or one in the user's cache."""
    folder = os.environ.get(ENVIRONMENT)
    return Path(folder) if folder else user_cache_path("mmc4-pipeline") / "models"


def fetched(file: PublishedFile) -> str | None:
    """Return the path of a published file if it was fetched. Its content is checked when it is loaded."""
    path = models_folder() / file.name
    return str(path) if path.is_file() else None


def require_content(file: PublishedFile, path: str) -> None:
    """Raise UserError unless a file has the published content."""
    _require_sha256(file, path, file_sha256(path))


def _require_sha256(file: PublishedFile, path: str, found: str) -> None:
    if file.sha256 and found != file.sha256:
        raise UserError(
            f"{path}: its sha256 is {found}, but that of the published {file.name} is {file.sha256}; "
            "remove it and run `mmc4 models fetch`, or rename it if it is your own"
        )


def identify(path: str) -> PublishedFile | None:
    """Return which published file this is, or None for a file of the user's own.

    Raises UserError if a file with a published name has other content.
    """
    found = file_sha256(path)
    for file in catalogue.published_files():
        if file.name == Path(path).name:
            _require_sha256(file, path, found)
    return next((file for file in catalogue.published_files() if file.sha256 == found), None)


def clip_weights(clip: ClipChoice) -> str | None:
    """Return the file with a CLIP's weights: the user's or the fetched one. None if they are random or open_clip's."""
    if clip.is_file:
        return clip.pretrained
    published = published_clip(clip)
    if isinstance(published, PublishedFile):
        return fetched(published)
    files = [models_folder() / published.name / name for name in published.weights] if published else []
    return next((str(file) for file in files if file.is_file()), None)


def published_clip(clip: ClipChoice) -> Weights | None:
    """Return what is published of a CLIP that was chosen by name; None for a file, or if there is nothing."""
    identity = {} if clip.is_file else clip.identity()
    return next((weights for weights, known in catalogue.published_clips() if known == identity), None)


def default_nsfw_weights(recipe: Recipe, clip: ClipChoice) -> str | None:
    """Return the fetched NSFW head if the recipe needs one and the CLIP is that of the head, or has random weights."""
    needed = any(item.column == "nsfw" for item in recipe.of_kind(ScoreFilter).values())
    path = fetched(catalogue.NSFW) if needed else None
    own = (catalogue.CLIP_IDENTITY, {**catalogue.CLIP_IDENTITY, "weights": RANDOM})
    return path if path and clip.identity() in own else None
