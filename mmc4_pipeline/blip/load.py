"""Load models of transformers from a folder: nothing is downloaded, and nothing is unpickled."""

from importlib.util import find_spec
from typing import Any

from mmc4_pipeline.clip.extra import require_score_extra
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models.catalogue import HubModel
from mmc4_pipeline.models.clip_choice import file_sha256
from mmc4_pipeline.models.hub import require_model, weights_of


def require_packages(scorer: str) -> None:
    """Raise UserError unless a scorer's packages are there."""
    require_score_extra(f"--scorer {scorer}")
    if find_spec("transformers") is None:
        raise UserError(f"--scorer {scorer} needs transformers: pip install 'mmc4-pipeline[hf]'")


def require(model: HubModel, name: str, scorer: str) -> None:
    """Raise UserError unless a scorer's packages and its model are there."""
    require_packages(scorer)
    require_model(model, name, scorer)


def identity(model: HubModel, name: str, scorer: str) -> dict[str, Any]:
    """Return what scores depend on: the published model's name, or the sha256 of each file of the user's own."""
    if name == model.name:
        return {"model": name}
    files = weights_of(require_model(model, name, scorer))
    return {"model": [file_sha256(str(file)) for file in files]}


def load(model: HubModel, name: str, scorer: str, kind: str, dtype: Any) -> tuple[Any, Any]:
    """Return the model, of a class of transformers, and its processor. Raises UserError if the folder has others.

    `dtype` is PyTorch's type of its numbers; a few parts of a model may insist on float32.
    """
    import transformers

    folder = require_model(model, name, scorer)
    auto: Any = transformers.AutoProcessor
    messages: Any = transformers.utils.logging
    messages.disable_progress_bar()  # of loading weights
    try:
        processor = auto.from_pretrained(folder, local_files_only=True)
        found = getattr(transformers, kind).from_pretrained(
            folder, local_files_only=True, dtype=dtype, output_loading_info=True
        )
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"--scorer {scorer}: {folder}: not a {kind} with its processor ({reason})") from error
    loaded, report = found
    if missing := sorted(report["missing_keys"]):
        raise UserError(f"--scorer {scorer}: {folder}: not a {kind}: it has no weights {missing[0]}")
    return loaded, processor
