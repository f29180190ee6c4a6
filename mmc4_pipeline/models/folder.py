"""Where fetched weights lie on this machine, and which of them a run takes."""

import os
from pathlib import Path

from platformdirs import user_cache_path

from filters.base import ScoreFilter
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models import catalogue
from mmc4_pipeline.models.catalogue import PublishedFile
from mmc4_pipeline.models.clip_choice import RANDOM, ClipChoice, file_sha256
from mmc4_pipeline.recipe import Recipe

ENVIRONMENT = "MMC4_MODELS"


def models_folder() -> Path:
    """Give the folder of fetched weights: what MMC4_MODELS in the environment says, or one in the user's cache."""
    said = os.environ.get(ENVIRONMENT)
    return Path(said) if said else user_cache_path("mmc4-pipeline") / "models"


def fetched(file: PublishedFile) -> str | None:
    """Give the path of a published file if it is there; its content is checked where it is loaded."""
    path = models_folder() / file.name
    return str(path) if path.is_file() else None


def require_content(file: PublishedFile, path: str) -> None:
    """Make sure that a file has the published content; raises UserError."""
    _require_sha256(file, path, file_sha256(path))


def _require_sha256(file: PublishedFile, path: str, found: str) -> None:
    if found != file.sha256:
        message = (
            f"{path}: its sha256 is {found}, that of the published {file.name} is {file.sha256}; "
            "remove it and run `mmc4 models fetch`, or give it another name if it is your own"
        )
        raise UserError(message)


def identify(path: str) -> PublishedFile | None:
    """Give which published file this is, None for one of the user's own.

    Raises UserError for other content under a published name.
    """
    found = file_sha256(path)
    for file in catalogue.published_files():
        if file.name == Path(path).name:
            _require_sha256(file, path, found)
    return next((file for file in catalogue.published_files() if file.sha256 == found), None)


def clip_weights(clip: ClipChoice) -> str | None:
    """Give the file to load a CLIP's weights from: the user's, or the fetched one. None: random, or by open_clip."""
    if clip.is_file:
        return clip.pretrained
    return fetched(catalogue.CLIP) if clip.identity() == catalogue.CLIP_IDENTITY else None


def default_nsfw_weights(recipe: Recipe, clip: ClipChoice) -> str | None:
    """Give the fetched NSFW head where the recipe needs one and this is the CLIP it was made for (or a random one)."""
    wanted = any(item.needs == "nsfw" for item in recipe.of_kind(ScoreFilter).values())
    path = fetched(catalogue.NSFW) if wanted else None
    own = (catalogue.CLIP_IDENTITY, {**catalogue.CLIP_IDENTITY, "weights": RANDOM})
    return path if path and clip.identity() in own else None
