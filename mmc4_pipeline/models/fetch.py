"""Fetch published weights: resume interrupted downloads, and check a known sha256 before the file gets its name."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from filelock import FileLock, Timeout

from filters.base import ScoreFilter
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models import catalogue
from mmc4_pipeline.models.catalogue import PublishedFile, Weights
from mmc4_pipeline.models.clip_choice import file_sha256
from mmc4_pipeline.models.folder import require_content
from mmc4_pipeline.recipe import Recipe
from mmc4_pipeline.storage import Inputs
from schemas.manifest import CLIP

_BLOCK = 1 << 16

Print = Callable[[str], None]
Show = Callable[[int, int], None]  # bytes fetched, bytes in total


def needed_by(recipe: Recipe) -> list[Weights]:
    """Return the published weights that a recipe needs: its CLIP, if that is published, and heads.

    A face head is not published: the face detector is needed to train one, and to find boxes.
    """
    needs = {item.column for item in recipe.of_kind(ScoreFilter).values()}
    heads = {"nsfw": catalogue.NSFW, "face": catalogue.FACE_DETECTOR}
    if recipe.face_detector.every_image:
        needs.add("face")
    if recipe.face_detector.model == "cascade":
        del heads["face"]
    clip = clip_of(recipe)
    return [*([clip] if clip else []), *(file for need, file in heads.items() if need in needs)]


def clip_of(recipe: Recipe) -> Weights | None:
    """Return the weights of the CLIP whose scores a recipe lists; without a list, or by the name `clip`, the default.

    Returns None if it lists those of another CLIP: a recipe always uses the scores of one.
    """
    clips = {"_".join(identity.values()): weights for weights, identity in catalogue.published_clips()}
    default = None if recipe.score_names and CLIP not in recipe.score_names else catalogue.CLIP
    return next((clips[name] for name in recipe.score_names if name in clips), default)


def fetch(file: PublishedFile, folder: Path, inputs: Inputs, print_line: Print, show: Show) -> None:
    """Fetch a published file into a folder unless it is there already, and print a line about it.

    Of two processes that fetch the same file, one waits for the other. An incomplete download is kept as a `.part`
    file. Raises UserError if the file cannot be fetched or has other content.
    """
    path = folder / file.name
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(path, print_line):
                if not path.exists():
                    _download(file, path, inputs, show)
                    print_line(f"{path}: {path.stat().st_size / 1e6:,.1f} MB from {file.url}, {_about(file)}")
                    return
        require_content(file, str(path))
    except OSError as error:
        raise UserError(
            f"{error.filename or path}: {error.strerror or error}; correct this, or choose another --models_folder"
        ) from error
    print_line(f"{path}: already fetched, {_about(file)}")


def _about(file: PublishedFile) -> str:
    checked = "sha256 checked" if file.sha256 else "its publisher states no sha256"
    return f"{checked}: {file.what}, licence {file.licence}"


def _locked(path: Path, print_line: Print) -> AbstractContextManager[object]:
    """Hold the file's lock while the body runs. The lock of a killed process is released, too."""
    lock = FileLock(f"{path}.lock")
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        print_line(f"{path}: waiting for another process that is fetching it")
        return lock.acquire()


def _download(file: PublishedFile, path: Path, inputs: Inputs, show: Show) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        _continue(file.url, part, inputs, show)
    except UserError as error:
        reason = str(error).partition("; ")[0]  # the rest is advice to users of a stage
        stated = f" (sha256 {file.sha256})" if file.sha256 else ""
        raise UserError(
            f"{file.name}: cannot be fetched ({reason}). Run this again, or download {file.url}{stated} on another "
            f"machine and put it at {path}"
        ) from error
    found = file_sha256(str(part)) if file.sha256 else None
    if found != file.sha256:
        part.unlink()
        raise UserError(
            f"{file.name}: the file from {file.url} has sha256 {found} instead of {file.sha256}, and was removed. "
            f"Run this again; if the error persists, get the file elsewhere and put it at {path}"
        )
    part.replace(path)


def _continue(url: str, part: Path, inputs: Inputs, show: Show) -> None:
    """Continue from the end of the `.part` file."""
    total = inputs.size(url)
    with part.open("ab") as out, inputs.open_stream(url) as stream:
        done = stream.seek(out.tell())
        show(done, total)
        while block := stream.read(_BLOCK):
            out.write(block)
            done += len(block)
            show(done, total)
