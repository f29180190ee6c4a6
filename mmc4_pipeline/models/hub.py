"""Models on the Hugging Face Hub: their files, and the folder with those that were fetched."""

from pathlib import Path

import msgspec

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models.catalogue import TRANSFORMERS_WEIGHTS, HubModel, PublishedFile
from mmc4_pipeline.models.folder import models_folder
from mmc4_pipeline.storage import Inputs

HUB = "https://huggingface.co"
_LISTING = 1 << 22  # bytes


class _Content(msgspec.Struct, frozen=True):
    sha256: str


class _Sibling(msgspec.Struct, frozen=True):
    rfilename: str
    lfs: _Content | None = None


class _Listing(msgspec.Struct, frozen=True):
    """The Hub's description of a model: its latest commit and its files; of large ones it states the sha256."""

    sha: str
    siblings: list[_Sibling]


def files_of(model: HubModel, folder: Path, inputs: Inputs) -> list[PublishedFile]:
    """Return the files of a model that are loaded, those of its weights last: see `is_fetched`.

    Raises UserError, which says which files to put where in `folder`, if the Hub can't be reached or has no weights.
    """
    try:
        with inputs.open_stream(f"{HUB}/api/models/{model.name}?blobs=true") as stream:
            listing = msgspec.json.decode(stream.read(_LISTING), type=_Listing)
        found = _to_load(model, [item for item in listing.siblings if "/" not in item.rfilename])
    except (UserError, msgspec.MsgspecError, FileNotFoundError) as error:
        reason = str(error).partition("; ")[0]
        first, second = model.weights
        raise UserError(
            f"{model.name}: its files cannot be listed ({reason}). Run this again, or download its files "
            f"{', '.join((*model.small, first))} (or {second} if it has no other) from {model.url} on another "
            f"machine and put them into {folder / model.name}"
        ) from error
    return [
        PublishedFile(
            name=f"{model.name}/{item.rfilename}",
            what=model.what,
            url=f"{HUB}/{model.name}/resolve/{listing.sha}/{item.rfilename}",
            sha256=item.lfs.sha256 if item.lfs else None,
            licence=model.licence,
        )
        for item in found
    ]


def _to_load(model: HubModel, files: list[_Sibling]) -> list[_Sibling]:
    small = [item for item in files if any(Path(item.rfilename).match(pattern) for pattern in model.small)]
    for pattern in model.weights:
        index = f"{pattern.replace('*', '')}.index.json"
        if weights := [item for item in files if Path(item.rfilename).match(pattern)]:
            other = [item for item in small if not item.rfilename.endswith(".index.json") or item.rfilename == index]
            return [*other, *sorted(weights, key=lambda item: item.rfilename)]
    raise UserError("it has no weights")


def fetched_model(model: str) -> str | None:
    """Return the folder of a model by its name on the Hub, or by its path. None unless its weights are complete."""
    folder = Path(model) if Path(model).is_dir() else models_folder() / model
    return str(folder) if weights_of(str(folder)) else None


def is_fetched(model: HubModel) -> bool:
    """Return whether the weights of a model are complete in the folder of fetched weights."""
    return bool(weights_of(str(models_folder() / model.name), model.weights))


def weights_of(folder: str, names: tuple[str, ...] = TRANSFORMERS_WEIGHTS) -> list[Path]:
    """Return the files of weights in a model's folder, as in `HubModel.weights`; none if one of them is missing."""
    for pattern in names:
        file = Path(folder) / pattern.replace("*", "")
        if file.is_file():
            return [file]
        index = Path(f"{file}.index.json")
        parts = [Path(folder) / part for part in _parts(index)] if index.is_file() else []
        if parts and all(part.is_file() for part in parts):
            return parts
    return []


def require_model(model: HubModel, name: str, scorer: str) -> str:
    """Return the folder of a scorer's model, which is the published one unless another name or path was chosen.

    Raises UserError, which says what to do, unless all of its weights are there.
    """
    if folder := fetched_model(name):
        return folder
    if name == model.name:
        raise UserError(
            f"--scorer {scorer}: {models_folder() / name} does not have all files of the model; run `mmc4 models fetch "
            f"--scorer {scorer}`, or download them from {model.url} on another machine and put them there"
        )
    raise UserError(f"--scorer {scorer}: model={name}: not a folder with config.json and weights (*.safetensors)")


def _parts(index: Path) -> list[str]:
    return sorted(set(msgspec.json.decode(index.read_bytes())["weight_map"].values()))
