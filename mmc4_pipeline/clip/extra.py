"""Check for the packages that only scoring needs: they are an extra, so that workers that fetch go without PyTorch."""

from importlib.util import find_spec

from mmc4_pipeline.errors import UserError

_PACKAGES = ("torch", "torchvision", "open_clip", "sklearn", "webdataset")


def require_score_extra(command: str) -> None:
    """Raise UserError, for a command that needs the extra, if one of its packages is not installed."""
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(f"{command} needs {', '.join(missing)}: pip install 'mmc4-pipeline[score]'")
