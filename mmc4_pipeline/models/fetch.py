"""Fetches published weights: goes on where it was cut off, checks the sha256, and only then gives the file its name."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from filelock import FileLock, Timeout

from filters.base import ScoreFilter
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models import catalogue
from mmc4_pipeline.models.catalogue import PublishedFile
from mmc4_pipeline.models.clip_choice import file_sha256
from mmc4_pipeline.models.folder import require_content
from mmc4_pipeline.recipe import Recipe
from mmc4_pipeline.storage import Inputs

_BLOCK = 1 << 16

Say = Callable[[str], None]
Show = Callable[[int, int], None]  # bytes that are there, bytes in all


def needed_by(recipe: Recipe) -> list[PublishedFile]:
    """Give the published files that a recipe needs.

    No head for faces is published; the detector is what one is trained with, and what finds boxes.
    """
    needs = {item.needs for item in recipe.of_kind(ScoreFilter).values()}
    heads = {"nsfw": catalogue.NSFW, "face": catalogue.FACE_DETECTOR}
    if recipe.face_detector.every_image:
        needs.add("face")
    if recipe.face_detector.model == "cascade":
        del heads["face"]
    return [catalogue.CLIP, *(file for need, file in heads.items() if need in needs)]


def fetch(file: PublishedFile, folder: Path, inputs: Inputs, say: Say, show: Show) -> None:
    """Have a published file in a folder, and say where it came from; two at once wait for each other.

    What was fetched stays in a `.part` file until it is all there. Raises UserError with one line that says what to do.
    """
    path = folder / file.name
    try:
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with _alone(path, say):
                if not path.exists():
                    _download(file, path, inputs, show)
                    say(f"{path}: {path.stat().st_size / 1e6:,.1f} MB from {file.url}, {_about(file)}")
                    return
        require_content(file, str(path))
    except OSError as error:
        message = f"{error.filename or path}: {error.strerror or error}; see to it, or choose another --models_folder"
        raise UserError(message) from error
    say(f"{path}: is there, {_about(file)}")


def _about(file: PublishedFile) -> str:
    return f"sha256 as published: {file.what}, licence {file.licence}"


def _alone(path: Path, say: Say) -> AbstractContextManager[object]:
    """Hold the file's lock while the body runs. A process that is killed gives it back, too."""
    lock = FileLock(f"{path}.lock")
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        say(f"{path}: waiting for another process that fetches it")
        return lock.acquire()


def _download(file: PublishedFile, path: Path, inputs: Inputs, show: Show) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        _continue(file.url, part, inputs, show)
    except UserError as error:
        why = re.split(r"; |: not allowed", str(error))[0]  # what follows is advice for those who run a stage
        message = (
            f"{file.name}: cannot be fetched ({why}). Run this again, or get {file.url} (sha256 {file.sha256}) "
            f"on another machine and put it at {path}"
        )
        raise UserError(message) from error
    found = file_sha256(str(part))
    if found != file.sha256:
        part.unlink()
        message = (
            f"{file.name}: what came from {file.url} has the sha256 {found}, not {file.sha256}, and was removed. "
            f"Run this again; if it stays so, get the file elsewhere and put it at {path}"
        )
        raise UserError(message)
    part.replace(path)


def _continue(url: str, part: Path, inputs: Inputs, show: Show) -> None:
    """Read on from where the `.part` file ends."""
    total = inputs.size(url)
    with part.open("ab") as out, inputs.open_stream(url) as stream:
        done = stream.seek(out.tell())
        show(done, total)
        while block := stream.read(_BLOCK):
            out.write(block)
            done += len(block)
            show(done, total)
